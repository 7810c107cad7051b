// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Who makes whom wait, booked at the one moment at which it is known: when a task gets the CPU.
 *
 * `switched` runs at every context switch, under the run queue's lock: it ends the slice of the
 * task that leaves, books what the task that comes has waited, and walks back over the CPU's slices
 * to tell who ran meanwhile. `moved` does so for the part of a wait that ends when the task is
 * moved to another CPU. All of it is written by one CPU at a time into memory of its own; `collect`
 * sums it.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "noise.h"
#include "noise/maps.bpf.h"
#include "noise/seats.bpf.h"
#include "noise/slices.bpf.h"
#include "noise/waits.bpf.h"
#include "noise/collect.bpf.h"

static __always_inline __u64 cost_begin(struct noise_cost *cost)
{
	return ++cost->runs % NOISE_TIMED ? 0 : bpf_ktime_get_ns();
}

static __always_inline void cost_end(struct noise_cost *cost, __u64 began)
{
	if (!began)
		return;
	cost->timed++;
	cost->ns += bpf_ktime_get_ns() - began;
}

static __always_inline void begin_slices(struct cpu *cpu, __u64 now)
{
	cpu->slices[cpu->head % SLICES].end = now;
	cpu->slices[cpu->head % SLICES].who = NOISE_UNSEATED;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct rq *rq = next->se.cfs_rq->rq;
	__u32 number = rq->cpu, seat = NOISE_IDLE;
	__u64 now = rq->clock, began, ran;
	struct cpu *cpu = cpu_at(number);
	struct taken taken;

	if (!cpu)
		return 0;
	began = cost_begin(&cpu->cost[NOISE_RUN_SWITCH]);
	taken = take(cpu, rq, now > cpu->since ? now - cpu->since : 0);
	if (next->pid)
		seat = seat_of(cpu, next);
	if (!cpu->since) {
		begin_slices(cpu, now);
	} else if (now >= cpu->since) {
		if (cpu->pid != (__u32)prev->pid)
			catch_up(cpu, number, prev, now);
		else if (cpu->group != group_of(prev))
			cpu->running = prev->pid ? seat_of(cpu, prev) : NOISE_IDLE;
		ran = now - cpu->since;
		if (prev->pid)
			leave(cpu, number, prev, seat, now, ran - at_most(taken.unbooked, ran));
		if (ran)
			keep_slice(cpu, cpu->running, now, taken.irq, taken.steal);
	}
	cpu->since = now;
	cpu->pid = next->pid;
	cpu->running = seat;
	cpu->group = group_of(next);
	if (next->pid)
		arrive(cpu, number, next, seat, now);
	cost_end(&cpu->cost[NOISE_RUN_SWITCH], began);
	return 0;
}

SEC("tp_btf/sched_migrate_task")
int BPF_PROG(moved, struct task_struct *task)
{
	struct cpu *cpu;
	__u64 began;

	if (task->on_rq != MOVING) /* it wakes up elsewhere: it waits from then on */
		return 0;
	cpu = cpu_at(task->se.cfs_rq->rq->cpu);
	if (!cpu)
		return 0;
	began = cost_begin(&cpu->cost[NOISE_RUN_MIGRATE]);
	move(task);
	cost_end(&cpu->cost[NOISE_RUN_MIGRATE], began);
	return 0;
}

/* User space takes the seat back when it has read its last books. */
SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(removed, struct cgroup *cgrp)
{
	__u64 id = cgrp->kn->id;
	struct noise_holder *holder;
	__u32 *seat;

	if ((__u32)cgrp->root->hierarchy_id != config.hierarchy)
		return 0;
	seat = bpf_map_lookup_elem(&noise_seats, &id);
	holder = seat ? bpf_map_lookup_elem(&noise_holders, seat) : NULL;
	if (!holder)
		return 0;
	holder->dead = 1;
	bpf_map_delete_elem(&noise_seats, &id);
	return 0;
}

SEC("syscall")
int collect(void *none)
{
	gather();
	return 0;
}

/* Makes a seat ready for its next holder; its context is the number of the seat. */
SEC("syscall")
int wipe(__u32 *seat)
{
	__u32 number = *seat;

	bpf_loop(config.cpus, wipe_desk, &number, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
