/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What every sample begins and ends with. */
#ifndef COTENANT_PROFILE_SAMPLE_H
#define COTENANT_PROFILE_SAMPLE_H

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define USER_MODE 3 /* bits of the code segment */

static __always_inline struct cgroup *cgroup_of(struct task_struct *task)
{
	struct cgroup *cgrp;

	if (config.unified)
		return task->cgroups->dfl_cgrp;
	cgrp = task->sched_task_group->css.cgroup;
	if (!cgrp) /* an autogroup is no cgroup */
		cgrp = task->sched_task_group->parent->css.cgroup;
	return cgrp;
}

/* One sample of how many is asked for of this group, by itself or by one above; 0: none. */
static __always_inline __u32 rate_of(struct cgroup *cgrp)
{
	__u64 id = BPF_CORE_READ(cgrp, kn, id);
	__u32 *every = bpf_map_lookup_elem(&profile_rates, &id);
	struct cgroup_subsys_state *above;

	if (every)
		return *every;
	if (!config.chosen)
		return 1;
	above = BPF_CORE_READ(cgrp, self.parent);
	for (int i = 0; i < PROFILE_MOST_DEPTH && above; i++) {
		id = BPF_CORE_READ(above, cgroup, kn, id);
		every = bpf_map_lookup_elem(&profile_rates, &id);
		if (every)
			return *every;
		above = BPF_CORE_READ(above, parent);
	}
	return 0;
}

static __always_inline void count_idle(void)
{
	struct profile_counts *count = counts();

	if (count)
		count->idle++;
}

static __always_inline void leave_sample(struct walk *walk)
{
	walk->busy = 0;
}

/* A walk of this CPU's, or NULL: nobody asked for this group, or not this time. */
static __always_inline struct walk *begin_sample(struct task_struct *task, __u32 type)
{
	struct profile_counts *count = counts();
	struct cgroup *cgrp = cgroup_of(task);
	struct walk *walk;
	__u32 every;

	walk = bpf_map_lookup_elem(&profile_walks, &type);
	if (!walk || !count)
		return NULL;
	every = rate_of(cgrp);
	if (!every || (every > 1 && ++walk->counter % every)) {
		count->filtered++;
		return NULL;
	}
	if (walk->busy) {
		count->busy++;
		return NULL;
	}
	walk->busy = 1;
	walk->sample.at_ns = bpf_ktime_get_ns();
	walk->sample.type = type;
	walk->sample.stack = 0;
	walk->sample.cgroup = BPF_CORE_READ(cgrp, kn, id);
	return walk;
}

/* Where the thread left user space. */
static __always_inline void stand_at_entry(struct walk *walk, struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	stand_at(walk, BPF_CORE_READ(regs, ip), BPF_CORE_READ(regs, sp), BPF_CORE_READ(regs, bp));
}

/* How many bytes or faults the samples stand for that fall into what came; 0: none does. From one
 * sample to the next it is `every` on average, and never the same: a loop that allocates in turns
 * would else be sampled at the same turns over and over.
 */
static __always_inline __u64 due(struct walk *walk, __u64 came, __u64 every)
{
	__u64 times, next;

	if (!every)
		return 0;
	if (came < walk->left) {
		walk->left -= came;
		return 0;
	}
	came -= walk->left;
	times = 1 + came / every;
	came %= every;
	next = bpf_get_prandom_u32() % (2 * every) + 1;
	if (next <= came) {
		times++;
		next = came + bpf_get_prandom_u32() % (2 * every) + 1;
	}
	walk->left = next - came;
	return times * every;
}

/* Walks both stacks and names the process. */
static __always_inline void fill(struct walk *walk, void *ctx, struct task_struct *task)
{
	struct profile_sample *sample = &walk->sample;
	struct task_struct *leader = task->group_leader;
	__u32 user;
	long bytes;

	sample->tgid = task->tgid;
	sample->user = 0;
	sample->python_end = PROFILE_PYTHON_FINE;
	BPF_CORE_READ_STR_INTO(&sample->comm, leader, comm);
	if (task->flags & PF_KTHREAD) {
		sample->started = 0;
		sample->end = PROFILE_END_COMPLETE;
	} else {
		sample->started = ticks(BPF_CORE_READ(leader, start_boottime));
		walk_user(walk, task);
	}
	user = sample->user;
	if (user > PROFILE_USER_WORDS)
		user = PROFILE_USER_WORDS;
	bytes = bpf_get_stack(ctx, &walk->words[user], PROFILE_KERNEL_WORDS * sizeof(__u64), 0);
	sample->kernel = bytes > 0 ? (__u32)bytes / sizeof(__u64) : 0;
}

/* Puts the sample into the ring buffer; false: there was no room. */
static __always_inline bool tell(struct walk *walk)
{
	__u32 size = sizeof(walk->sample) +
		     ((walk->sample.user + walk->sample.kernel) & (PROFILE_WORDS - 1)) * 8;
	struct profile_counts *count = counts();
	long full;

	/* Nobody is woken: user space drains by the clock. */
	full = bpf_ringbuf_output(&profile_samples, &walk->sample, size, BPF_RB_NO_WAKEUP);
	if (count) {
		count->samples += !full;
		count->dropped += !!full;
	}
	return !full;
}

static __always_inline void add_cost(struct walk *walk, __u64 type)
{
	struct profile_counts *count = counts();

	if (!count)
		return;
	barrier_var(type); /* else clang bounds a copy of it, which Linux 6.1 does not follow */
	type &= PROFILE_TYPES - 1;
	count->runs[type]++;
	count->ns[type] += bpf_ktime_get_ns() - walk->sample.at_ns;
}

static __always_inline void end_sample(struct walk *walk, void *ctx, struct task_struct *task,
				       __u64 value)
{
	__u64 type = walk->sample.type;

	fill(walk, ctx, task);
	walk->sample.value = value;
	if (!defer(walk, ctx))
		tell(walk);
	add_cost(walk, type);
	leave_sample(walk);
}

#endif
