/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which seat a task's group holds. Seats are given here and taken back by user space. */
#ifndef COTENANT_NOISE_SEATS_H
#define COTENANT_NOISE_SEATS_H

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define CSS_ONLINE 2 /* include/linux/cgroup-defs.h */

/* Changes whenever the task changes its group; never looked into, only compared. */
static __always_inline void *group_of(struct task_struct *task)
{
	return config.unified ? (void *)task->cgroups : (void *)task->sched_task_group;
}

/* The cgroup whose share of the CPU the task uses. On v2 its own cgroup, whether or not the cpu
 * controller is on there; else that of its task group, since the v2 tree of a hybrid host is
 * empty. An autogroup is no cgroup: what is above it counts (kernel/sched/autogroup.c).
 */
static __always_inline struct cgroup *cgroup_of(struct task_struct *task)
{
	struct cgroup *cgrp;

	if (config.unified)
		return task->cgroups->dfl_cgrp;
	cgrp = task->sched_task_group->css.cgroup;
	if (!cgrp)
		cgrp = task->sched_task_group->parent->css.cgroup;
	return cgrp;
}

static __always_inline __u32 free_seat(struct cpu *cpu)
{
	__u32 seat = cpu->spare, at;
	__u64 taken, *found;

	if (seat) {
		cpu->spare = 0;
		return seat;
	}
	if (shared.free_begin >= shared.free_end)
		return NOISE_UNSEATED;
	taken = __sync_fetch_and_add(&shared.free_begin, 1);
	if (taken >= shared.free_end) { /* another CPU took the last one meanwhile */
		__sync_fetch_and_add(&shared.free_begin, -1);
		return NOISE_UNSEATED;
	}
	at = taken % config.seats;
	found = bpf_map_lookup_elem(&noise_free, &at);
	return found ? *found : NOISE_UNSEATED;
}

static __noinline __u32 take_seat(struct cpu *cpu, struct cgroup *cgrp)
{
	__u64 id = BPF_CORE_READ(cgrp, kn, id);
	struct cgroup_subsys_state *above;
	struct noise_holder *holder;
	__u32 seat = free_seat(cpu), *other;

	holder = bpf_map_lookup_elem(&noise_holders, &seat);
	if (!seat || !holder) {
		__sync_fetch_and_add(&shared.loss.unseated, 1);
		return NOISE_UNSEATED;
	}
	if (bpf_map_update_elem(&noise_seats, &id, &seat, BPF_NOEXIST)) {
		cpu->spare = seat;
		other = bpf_map_lookup_elem(&noise_seats, &id);
		return other ? *other : NOISE_UNSEATED;
	}
	above = BPF_CORE_READ(cgrp, self.parent);
	for (int i = 0; i < NOISE_DEPTH && above; i++) {
		holder->above[i] = BPF_CORE_READ(above, cgroup, kn, id);
		holder->depth = i + 1;
		above = BPF_CORE_READ(above, parent);
	}
	holder->cgroup = id;
	/* Removed meanwhile, and `removed` may have come too early to find the seat. */
	if (!(BPF_CORE_READ(cgrp, self.flags) & CSS_ONLINE)) {
		holder->dead = 1;
		bpf_map_delete_elem(&noise_seats, &id);
	}
	return seat;
}

static __noinline __u32 look_up_seat(struct cpu *cpu, struct cgroup *cgrp)
{
	__u64 id = BPF_CORE_READ(cgrp, kn, id);
	__u32 *found;

	/* A dying task may still switch after its cgroup was removed: nobody would ever take back
	 * the seat. What is above it goes on.
	 */
	for (int i = 0; i < NOISE_DEPTH && !(BPF_CORE_READ(cgrp, self.flags) & CSS_ONLINE); i++) {
		struct cgroup_subsys_state *above = BPF_CORE_READ(cgrp, self.parent);

		if (!above)
			break;
		cgrp = BPF_CORE_READ(above, cgroup);
		id = BPF_CORE_READ(cgrp, kn, id);
	}
	found = bpf_map_lookup_elem(&noise_seats, &id);
	return found ? *found : take_seat(cpu, cgrp);
}

static __always_inline __u32 seat_of(struct cpu *cpu, struct task_struct *task)
{
	struct cgroup *cgrp = cgroup_of(task);
	struct seat_cached *cached;
	__u64 id;

	if (task->flags & PF_KTHREAD && !cgrp->level)
		return NOISE_KERNEL;
	id = cgrp->kn->id;
	cached = &cpu->cache[id % SEAT_CACHE];
	if (cached->cgroup != id) {
		__u32 seat = look_up_seat(cpu, cgrp);

		if (seat == NOISE_UNSEATED)
			return seat; /* perhaps there is one next time */
		cached->seat = seat;
		cached->cgroup = id;
	}
	return cached->seat;
}

#endif
