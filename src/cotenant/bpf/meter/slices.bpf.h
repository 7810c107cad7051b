/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Running slices: time a task on a CPU has used since the scheduler last booked it. */
#ifndef COTENANT_METER_SLICES_H
#define COTENANT_METER_SLICES_H

struct slices {
	struct task_group *root;
	__s64 now;
	__s64 lag;
	bool book; /* second pass: book the slices; first pass: find the clocks' lag */
};

/* Adds `ns` to every tenant that holds the cgroup. */
static __always_inline void book_running(struct cgroup *cgrp, __u64 ns)
{
	for (int depth = 0; depth < MAX_DEPTH && cgrp; depth++) {
		__u32 slot;
		struct meter_record *record = record_of(cgroup_id(cgrp), 0, &slot);

		if (record) {
			if (record->running_run != shared.run) {
				record->running_run = shared.run;
				record->running_ns = 0;
			}
			record->running_ns += ns;
		}
		cgrp = cgroup_parent(cgrp);
	}
}

static long one_slice(__u32 cpu, struct slices *slices)
{
	struct rq *rq = rq_of(slices->root, cpu);
	struct task_struct *task;
	__s64 clock, since, unbooked;

	if (!rq)
		return 0;
	clock = BPF_CORE_READ(rq, clock);
	if (!slices->book) {
		if (clock && slices->now - clock < slices->lag)
			slices->lag = slices->now - clock;
		return 0;
	}
	task = BPF_CORE_READ(rq, curr);
	if (!task || !BPF_CORE_READ(task, pid))
		return 0; /* pid 0 idles */
	since = slices->now - slices->lag - clock;
	unbooked = BPF_CORE_READ(rq, clock_task) - BPF_CORE_READ(task, se.exec_start);
	if (since > config.booked_every_ns) /* overdue: a hypervisor has the CPU, not the task */
		since = config.booked_every_ns;
	if (since > 0) /* else the run queue looked at its clock after us */
		unbooked += since;
	if (unbooked > 0) /* else it was booked between our two reads */
		book_running(BPF_CORE_READ(task, cgroups, dfl_cgrp), unbooked);
	return 0;
}

/* The scheduler's clock cannot be read from here; each run queue keeps when it last looked at it.
 * The smallest distance ever seen between that and the monotonic clock is the distance of the two
 * clocks. It may grow again by the rate at which NTP slews, 500 parts per million at most.
 */
static __always_inline void book_slices(void)
{
	struct task_group *group = bpf_get_current_task_btf()->sched_task_group;
	struct slices slices = {};

	for (int depth = 0; depth < MAX_DEPTH; depth++) {
		struct task_group *above = BPF_CORE_READ(group, parent);

		if (!above)
			break;
		group = above;
	}
	slices.root = group;
	slices.now = bpf_ktime_get_ns();
	slices.lag = 0x7fffffffffffffffLL;
	if (shared.clock_at)
		slices.lag = shared.clock_lag + (__u64)(slices.now - shared.clock_at) / 2000;
	bpf_loop(config.cpus, one_slice, &slices, 0);
	shared.clock_lag = slices.lag;
	shared.clock_at = slices.now;
	slices.book = true;
	bpf_loop(config.cpus, one_slice, &slices, 0);
}

#endif
