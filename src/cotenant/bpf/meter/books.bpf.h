/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* One part of a record each, read from the kernel's own books. */
#ifndef COTENANT_METER_BOOKS_H
#define COTENANT_METER_BOOKS_H

static __always_inline void read_cpu(struct meter_record *record, struct cgroup *cgrp)
{
	struct task_cputime time;

	BPF_CORE_READ_INTO(&time.sum_exec_runtime, cgrp, bstat.cputime.sum_exec_runtime);
	BPF_CORE_READ_INTO(&time.utime, cgrp, bstat.cputime.utime);
	BPF_CORE_READ_INTO(&time.stime, cgrp, bstat.cputime.stime);
	record->cpu_usage_ns = time.sum_exec_runtime;
	if (record->running_run == shared.run)
		record->cpu_usage_ns += record->running_ns;
	record->cpu_user_ns = time.utime;
	record->cpu_system_ns = time.stime;
	record->parts |= METER_CPU;
}

static __always_inline void read_throttle(struct meter_record *record,
					  struct cgroup_subsys_state *css)
{
	struct task_group *group = (void *)css;
	__u64 quota = BPF_CORE_READ(group, cfs_bandwidth.quota);

	record->periods = BPF_CORE_READ(group, cfs_bandwidth.nr_periods);
	record->throttled_periods = BPF_CORE_READ(group, cfs_bandwidth.nr_throttled);
	record->throttled_ns = BPF_CORE_READ(group, cfs_bandwidth.throttled_time);
	record->quota_us = quota == METER_ABSENT ? quota : quota / 1000; /* RUNTIME_INF: no limit */
	record->period_us = (__u64)BPF_CORE_READ(group, cfs_bandwidth.period) / 1000;
	record->shares = BPF_CORE_READ(group, shares) >> 10; /* scale_load_down, 64-bit */
	record->parts |= METER_THROTTLE;
}

static __always_inline __u64 pages_to_bytes(__u64 pages)
{
	/* PAGE_COUNTER_MAX is LONG_MAX / PAGE_SIZE on 64-bit */
	return pages >= 0x7fffffffffffffffULL / config.page_size ? METER_ABSENT :
								   pages * config.page_size;
}

static __always_inline __u64 memory_event(struct mem_cgroup *memcg, int event)
{
	atomic_long_t count = {};

	bpf_probe_read_kernel(&count, sizeof(count),
			      (void *)__builtin_preserve_access_index(&memcg->memory_events) +
				      event * sizeof(count));
	return count.counter;
}

/* v1 counts these too but shows them to nobody: what the files do not tell, no tier tells. */
static __always_inline __u64 v2_event(struct mem_cgroup *memcg, int event)
{
	return config.memory_on_v2 ? memory_event(memcg, event) : METER_ABSENT;
}

#ifdef METER_MEMCG_KFUNCS
static __always_inline __u64 ask_state(struct mem_cgroup *memcg, int item)
{
	return item < 0 ? METER_ABSENT : bpf_mem_cgroup_page_state(memcg, item);
}

static __always_inline void read_states(struct meter_record *record, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = bpf_get_mem_cgroup(&cgrp->self);

	if (!memcg)
		return;
	for (int i = 0; i < METER_STATES; i++)
		record->states[i] = ask_state(memcg, config.states[i]);
	record->memory_kernel = ask_state(memcg, config.states[METER_KERNEL]);
	for (int i = 0; i < METER_EVENTS; i++)
		record->events[i] = config.events[i] < 0 ?
					    METER_ABSENT :
					    bpf_mem_cgroup_vm_events(memcg, config.events[i]);
	bpf_put_mem_cgroup(memcg);
	record->parts |= METER_STATES_PART;
}

#else

static __always_inline __u64 state_bytes(struct meter_scratch *scratch, int index)
{
	long pages = scratch->state[index & 127];

	if (index < 0)
		return METER_ABSENT;
	return pages < 0 ? 0 : (__u64)pages * config.page_size;
}

/* memcg->vmstats came with 6.0's per-memcg allocation; its arrays are indexed through a table that
 * no program can see since 6.10. User space proved the indices in `config` against memory.stat.
 */
static __always_inline void read_states(struct meter_record *record, struct cgroup *cgrp)
{
	struct mem_cgroup *memcg = (void *)css_of(cgrp, memory_cgrp_id);
	struct memcg_vmstats *stats = BPF_CORE_READ(memcg, vmstats);
	__u32 zero = 0;
	struct meter_scratch *scratch = bpf_map_lookup_elem(&meter_scratches, &zero);
	__u64 states = bpf_core_field_size(stats->state);
	__u64 events = bpf_core_field_size(stats->events);

	if (!config.states_known || !scratch || !stats || states > sizeof(scratch->state) ||
	    events > sizeof(scratch->events))
		return;
	bpf_probe_read_kernel(scratch->state, states,
			      (void *)__builtin_preserve_access_index(&stats->state));
	bpf_probe_read_kernel(scratch->events, events,
			      (void *)__builtin_preserve_access_index(&stats->events));
	for (int i = 0; i < METER_STATES; i++)
		record->states[i] = state_bytes(scratch, config.states[i]);
	record->memory_kernel = state_bytes(scratch, config.states[METER_KERNEL]);
	for (int i = 0; i < METER_EVENTS; i++)
		record->events[i] = config.events[i] < 0 ? METER_ABSENT :
							   scratch->events[config.events[i] & 127];
	record->parts |= METER_STATES_PART;
}

#endif

static __always_inline void read_memory(struct meter_record *record,
					struct cgroup_subsys_state *css)
{
	struct mem_cgroup *memcg = (void *)css;

	record->memory_usage = pages_to_bytes(BPF_CORE_READ(memcg, memory.usage.counter));
	record->memory_limit = pages_to_bytes(BPF_CORE_READ(memcg, memory.max));
	record->memory_max_usage = pages_to_bytes(BPF_CORE_READ(memcg, memory.watermark));
	record->memory_failures = config.memory_on_v2 ? METER_ABSENT : /* v2 counts max events */
							BPF_CORE_READ(memcg, memory.failcnt);
	record->memory_low = v2_event(memcg, MEMCG_LOW);
	record->memory_high = v2_event(memcg, MEMCG_HIGH);
	record->memory_max = v2_event(memcg, MEMCG_MAX);
	record->memory_oom = v2_event(memcg, MEMCG_OOM);
	record->memory_oom_kills = memory_event(memcg, MEMCG_OOM_KILL);
	record->parts |= METER_MEMORY;
}

static __always_inline void read_pids(struct meter_record *record, struct cgroup_subsys_state *css)
{
	struct pids_cgroup *pids = (void *)css;
	__u64 limit = BPF_CORE_READ(pids, limit.counter);

	record->pids = BPF_CORE_READ(pids, counter.counter);
	record->pids_limit = limit > (1 << 22) ? METER_ABSENT : limit; /* PID_MAX_LIMIT + 1: none */
	record->parts |= METER_PIDS;
}

static __always_inline void *pressure_totals(struct psi_group *psi)
{
	struct psi_group___nested *nested = (void *)psi;

	if (bpf_core_field_exists(nested->total))
		return __builtin_preserve_access_index(&nested->total);
	return __builtin_preserve_access_index(&psi->total);
}

static __always_inline void read_pressure(struct meter_record *record, struct cgroup *cgrp)
{
	struct psi_group *psi;
	__u64 total[6] = {};

	if (!config.pressure || !bpf_core_field_exists(cgrp->psi))
		return;
	psi = BPF_CORE_READ(cgrp, psi);
	if (!psi)
		return;
	bpf_probe_read_kernel(total, sizeof(total), pressure_totals(psi));
	for (int i = 0; i < 2; i++) { /* enum psi_states: io, memory, cpu; some, then full */
		record->pressure_us[i] = total[4 + i] / 1000;
		record->pressure_us[2 + i] = total[2 + i] / 1000;
		record->pressure_us[4 + i] = total[i] / 1000;
	}
	record->parts |= METER_PRESSURE;
}

#ifdef METER_TREE_FLUSH

static __always_inline void read_vm(struct meter_record *record, __u32 slot)
{
	/* From /proc: bpf_task_from_pid came in 6.2, and this object serves 6.1 too. */
}

#else

static __always_inline void read_vm(struct meter_record *record, __u32 slot)
{
	__u64 *pid = bpf_map_lookup_elem(&meter_main_pids, &slot);
	struct task_struct *task;
	struct mm_struct *mm;

	if (!pid || !*pid)
		return;
	task = bpf_task_from_pid(*pid);
	if (!task)
		return;
	mm = BPF_CORE_READ(task, mm);
	if (mm) {
		record->vm_bytes = BPF_CORE_READ(mm, total_vm) * config.page_size;
		record->parts |= METER_VM;
	}
	bpf_task_release(task);
}

#endif

#endif
