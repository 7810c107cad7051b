/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who ran when, on each CPU: kept as slices, and walked backwards to tell whom a wait is due to. */
#ifndef COTENANT_NOISE_SLICES_H
#define COTENANT_NOISE_SLICES_H

/* What interrupts and the hypervisor took of the slice that ends now. */
struct taken {
	__u64 unbooked; /* in all, as far as the kernel books it on no task */
	__u64 irq;
	__u64 steal;
};

static __always_inline __u64 at_most(__u64 ns, __u64 limit)
{
	return ns < limit ? ns : limit;
}

/* The tasks' clock of a run queue stands still for what was taken, as far as the kernel keeps it
 * (update_rq_clock_task, kernel/sched/core.c): that is exact, and what a task's run time is told
 * by. The counter of stolen time is not: on 6.18 it moves by more than the clock was held back.
 * Where the clock leaves stolen time in, the counter for /proc/stat moves with the tick.
 */
static __always_inline struct taken take(struct cpu *cpu, struct rq *rq, __u64 length)
{
	__u64 irq = 0, steal = 0, behind = rq->clock - rq->clock_task;
	struct taken taken = {};

	if (bpf_core_field_exists(struct rq___irq, prev_irq_time))
		irq = ((struct rq___irq *)rq)->prev_irq_time;
	taken.unbooked = at_most(behind - cpu->behind, length);
	taken.irq = at_most(irq - cpu->irq, taken.unbooked);
	if (bpf_core_field_exists(struct rq___steal_rq, prev_steal_time_rq)) {
		taken.steal = taken.unbooked - taken.irq;
	} else if (bpf_core_field_exists(struct rq___steal, prev_steal_time)) {
		steal = ((struct rq___steal *)rq)->prev_steal_time;
		taken.steal = at_most(steal - cpu->steal, length - taken.unbooked);
	}
	cpu->behind = behind;
	cpu->irq = irq;
	cpu->steal = steal;
	return taken;
}

/* Keeps the slice that ends now. Slices of the same group become one, so that a ring reaches far
 * back where tasks of one group wake each other.
 */
static __always_inline void keep_slice(struct cpu *cpu, __u32 who, __u64 now, __u64 irq,
				       __u64 steal)
{
	struct slice *newest = &cpu->slices[cpu->head % SLICES];
	__u64 before = cpu->slices[(cpu->head - 1) % SLICES].end;

	if (newest->who != who || now - before > LONGEST_SLICE) {
		cpu->head++;
		newest = &cpu->slices[cpu->head % SLICES];
		newest->who = who;
		newest->irq_ns = 0;
		newest->steal_ns = 0;
	}
	newest->end = now;
	newest->irq_ns += irq;
	newest->steal_ns += steal;
}

/* Who ran most of a wait, if anybody ran more than half. */
struct chief {
	__u64 ns;
	__u32 who;
	__u32 pad;
};

/* One wait, or the part of it on one CPU. */
struct wait {
	struct desk *desk; /* the victim's, on the CPU where it waited */
	__u64 begin;
	__u64 end;
	__u32 victim;
	bool held; /* it was throttled meanwhile */
	struct chief chief; /* where single waits are told */
};

/* A majority vote: whoever has more than half of the time stands in `chief` at the end. Verified on
 * its own: within the loop over the slices its branches would multiply with every turn.
 */
__noinline int vote(struct chief *chief, __u32 who, __u64 ns)
{
	if (!chief)
		return 0;
	if (chief->who == who) {
		chief->ns += ns;
	} else if (chief->ns >= ns) {
		chief->ns -= ns;
	} else {
		chief->who = who;
		chief->ns = ns - chief->ns;
	}
	return 0;
}

static __always_inline void vote_for(struct wait *wait, __u32 who, __u64 ns)
{
	if (shared.events_ns)
		vote(&wait->chief, who, ns);
}

static __always_inline void blame_reason(struct wait *wait, __u32 reason, __u64 ns)
{
	wait->desk->book.reasons[reason] += ns;
	vote_for(wait, 1u << 31 | reason, ns);
}

static __noinline int spill(struct desk *desk, __u32 victim, __u32 culprit, __u64 ns,
			    __u32 preempted)
{
	static const struct spilled none = {}; /* not on the stack, which is full in here */
	struct spilled_key key = { .victim = victim, .culprit = culprit };
	struct spilled *found;

	found = bpf_map_lookup_elem(&noise_spilled, &key);
	if (!found) {
		bpf_map_update_elem(&noise_spilled, &key, &none, BPF_NOEXIST);
		found = bpf_map_lookup_elem(&noise_spilled, &key);
	}
	if (!found) {
		desk->book.reasons[NOISE_UNKNOWN] += ns;
		__sync_fetch_and_add(&shared.loss.pairs, 1);
		return 0;
	}
	found->round = shared.round;
	__sync_fetch_and_add(&found->ns, ns);
	__sync_fetch_and_add(&found->preempted, preempted);
	return 0;
}

/* The culprit's cell on this desk, a free one, or one that has been silent for long. */
static __always_inline struct cell *cell_of(struct desk *desk, __u32 culprit)
{
	struct cell *cell;

	for (int i = 0; i < CELLS; i++) {
		cell = &desk->cells[i];
		if (cell->culprit == culprit && cell->round)
			return cell;
		if (!cell->round)
			goto take;
	}
	/* Unrolled: as a loop, clang may close it by a fall-through, which Linux 6.1 refuses. */
#pragma clang loop unroll(full)
	for (int i = 0; i < CELLS; i++) {
		cell = &desk->cells[i];
		if (cell->round + CELL_REST < shared.round && cell->ns == cell->told_ns &&
		    cell->preempted == cell->told_preempted)
			goto take;
	}
	return NULL;
take:
	cell->ns = cell->told_ns = 0;
	cell->preempted = cell->told_preempted = 0;
	cell->culprit = culprit;
	return cell;
}

/* Verified on its own, as `bucket_of` is. */
__noinline int blame_group(struct desk *desk, __u32 victim, __u32 culprit, __u64 ns,
			   __u32 preempted)
{
	struct cell *cell;

	if (!desk)
		return 0;
	cell = cell_of(desk, culprit);
	if (!cell)
		return spill(desk, victim, culprit, ns, preempted);
	cell->round = shared.round;
	cell->ns += ns;
	cell->preempted += preempted;
	return 0;
}

/* How much of [begin, end] the group was throttled. Verified on its own. */
__noinline __u64 held_in(struct desk *desk, __u64 begin, __u64 end)
{
	__u64 sum = 0;

	if (!desk)
		return 0;
	for (int i = 0; i < HELD_SPANS; i++) {
		__u64 from = desk->spans[i].begin > begin ? desk->spans[i].begin : begin;
		__u64 to = desk->spans[i].end < end ? desk->spans[i].end : end;

		if (from < to)
			sum += to - from;
	}
	return sum;
}

/* Takes out of [begin, end] of the wait what the group was throttled in it; the rest of it. Who had
 * the CPU then, and whether it was there at all, made no difference.
 */
static __always_inline __u64 not_held(struct wait *wait, __u64 begin, __u64 end)
{
	__u64 ns = end - begin, held;

	if (!wait->held)
		return ns;
	held = at_most(held_in(wait->desk, begin, end), ns);
	if (held)
		blame_reason(wait, NOISE_THROTTLED, held);
	return ns - held;
}

/* Gives a part of the wait to `who`, who held the CPU meanwhile. */
static __always_inline void blame(struct wait *wait, __u32 who, __u64 ns)
{
	if (!ns)
		return;
	if (who == wait->victim) {
		blame_reason(wait, NOISE_SELF, ns);
	} else if (who == NOISE_IDLE) {
		blame_reason(wait, NOISE_IDLE_CPU, ns);
	} else if (who == NOISE_UNSEEN) {
		blame_reason(wait, NOISE_UNKNOWN, ns);
	} else {
		vote_for(wait, who, ns);
		blame_group(wait->desk, wait->victim, who, ns, 0);
	}
}

/* The same, less what interrupts and the hypervisor took of it: their share of the slice. */
static __always_inline void blame_slice(struct wait *wait, struct slice *slice, __u64 length,
					__u64 begin, __u64 end)
{
	__u64 ns = not_held(wait, begin, end), irq, steal;

	if (length && (slice->irq_ns || slice->steal_ns)) {
		irq = ns * slice->irq_ns / length;
		steal = ns * slice->steal_ns / length;
		if (irq + steal <= ns) {
			blame_reason(wait, NOISE_IRQ, irq);
			blame_reason(wait, NOISE_STEAL, steal);
			ns -= irq + steal;
		}
	}
	blame(wait, slice->who, ns);
}

struct walk {
	struct cpu *cpu;
	struct wait *wait;
	__u64 end;
	__u32 head;
};

static long blame_back(__u32 i, struct walk *walk)
{
	struct cpu *cpu = walk->cpu;
	struct wait *wait = walk->wait;
	__u32 at = walk->head - i;
	struct slice *slice = &cpu->slices[at % SLICES];
	__u64 start = cpu->slices[(at - 1) % SLICES].end;
	__u64 begin = start > wait->begin ? start : wait->begin;

	if (!start || start > slice->end)
		return 1; /* not that far back */
	if (begin < walk->end) {
		blame_slice(wait, slice, slice->end - start, begin, walk->end);
		walk->end = begin;
	}
	return walk->end <= wait->begin;
}

/* Walks back over the CPU's slices, from `end` to the beginning of the wait. */
static __always_inline void blame_slices(struct cpu *cpu, struct wait *wait, __u64 end)
{
	struct walk walk = { .cpu = cpu, .wait = wait, .end = end, .head = cpu->head };

	if (!blame_back(0, &walk)) { /* most waits lie within the newest slice */
		walk.head--;
		bpf_loop(SLICES - 2, blame_back, &walk, 0);
	}
	if (walk.end > wait->begin)
		blame_reason(wait, NOISE_UNKNOWN, not_held(wait, wait->begin, walk.end));
}

#endif
