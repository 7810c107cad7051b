/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a task waited, read off the kernel's own stamps when it begins to run.
 *
 * The scheduler stamps a task when it becomes runnable and not running (sched_info.last_queued) and
 * adds what it waited to sched_info.run_delay, both under the run queue's lock and on its clock:
 * what /proc/PID/schedstat shows (kernel/sched/stats.h, CONFIG_SCHED_INFO). At the sched_switch
 * tracepoint the stamp of the next task still stands: __schedule() passes it before
 * context_switch(), where sched_info_arrive() clears the stamp (kernel/sched/core.c). So no program
 * hangs on wake-ups, and wake-ups of running tasks, new tasks, preempted ones and delayed dequeues
 * are the scheduler's to tell apart.
 *
 * No stamp: a task preempted in the kernel when it had already set its state to sleep
 * (sched_info_depart() asks for TASK_RUNNING). A wrong one: see `mark_asleep`.
 */
#ifndef COTENANT_NOISE_WAITS_H
#define COTENANT_NOISE_WAITS_H

#define MOVING 2 /* TASK_ON_RQ_MIGRATING, kernel/sched/sched.h */
#define TAG_BITS 6 /* of a pid: 22 bits in all, 16 are the index */
#define ASLEEP (~0ULL >> TAG_BITS)
#define MOVE_NS (1000 * 1000) /* a move takes less, however far apart two CPUs' clocks are */

/* In units of 2^-30 s, near enough: off by less than 1e-4 beyond 34 s, exact to 1e-9 below. */
static __always_inline __u64 to_binary(__u64 ns)
{
	if (ns >> 35)
		return ns + (ns >> 13) * 604;
	return ns + ((ns * 316718722) >> 32);
}

/* A function of its own for the verifier, too: its branches do not multiply those around it. */
__noinline __u32 bucket_of(__u64 ns)
{
	__u64 units = to_binary(ns), rest = units;
	__u32 exponent = 0, part;

	if (units >> NOISE_FIRST_EXPONENT == 0)
		return 0;
	for (int bits = 32; bits; bits /= 2)
		if (rest >> bits) {
			rest >>= bits;
			exponent += bits;
		}
	if (exponent > NOISE_LAST_EXPONENT)
		return NOISE_BUCKETS - 1;
	part = (units << (63 - exponent)) >> 32; /* from 2^31 to 2^32 */
	return 1 + (exponent - NOISE_FIRST_EXPONENT) * NOISE_PER_OCTAVE + (part >= 0x9837f052) +
	       (part >= 0xb504f334) + (part >= 0xd744fccb); /* 2^31 * 2^(1/4), 2^(2/4), 2^(3/4) */
}

static __always_inline __u64 tagged(__u32 pid, __u64 ns)
{
	return ns << TAG_BITS | pid / TASKS;
}

static __always_inline struct task_kept *kept_of(__u32 pid)
{
	__u32 at = pid % TASKS;

	return bpf_map_lookup_elem(&noise_tasks, &at);
}

/* What of the task's waits came after `kept`: -1 where that is not known. What exceeds the time
 * since it last ran is a leftover of another task with its pid, or of switches we did not see.
 */
static __always_inline __s64 waited_after(struct task_struct *task, __u64 kept, __u64 now)
{
	__u64 in_all = task->sched_info.run_delay, last = task->sched_info.last_arrival, ns;

	if (!last && !kept) /* it never ran, and was not moved before */
		return in_all;
	if (!kept || (kept ^ (__u32)task->pid / TASKS) & ((1 << TAG_BITS) - 1))
		return -1;
	ns = (in_all << TAG_BITS >> TAG_BITS) - (kept >> TAG_BITS);
	return ns > now - last ? -1 : (__s64)ns;
}

/* What is kept of the task that had its pid before is nothing to one that never ran. It is to run
 * before it can die, so what is kept of its own moves is younger than any arrival.
 */
static __always_inline void forget_predecessor(struct task_struct *task, struct task_kept *kept)
{
	if (!task->sched_info.last_arrival && kept->at_arrival)
		kept->at_arrival = kept->accounted = 0;
}

static __always_inline bool is_delayed(struct task_struct *task)
{
	return bpf_core_field_exists(struct sched_entity___delayed, sched_delayed) &&
	       ((struct sched_entity___delayed *)&task->se)->sched_delayed;
}

/* Since 6.12 a task that goes to sleep may stay queued for a while (commit 152e11f6df29). If it is
 * moved just then, it gets a stamp as if it waited, and that stands until it runs again: all its
 * sleep would count as a wait, as it does in /proc/PID/schedstat. So it is noted when it was moved.
 */
static __always_inline void mark_asleep(struct task_struct *task, struct task_kept *kept, __u64 now)
{
	kept->accounted = tagged(task->pid, ASLEEP);
	kept->at_arrival = now;
}

static __always_inline bool is_marked(struct task_struct *task, struct task_kept *kept)
{
	return kept->accounted == tagged(task->pid, ASLEEP);
}

/* Whether the stamp of a marked task is that of its move. Begins to keep its waits anew. */
static __always_inline bool stamped_asleep(struct task_struct *task, struct task_kept *kept,
					   __u64 queued, __u64 now)
{
	bool wrong = queued < kept->at_arrival + MOVE_NS;
	__u64 in_all = task->sched_info.run_delay;

	kept->at_arrival = kept->accounted =
		tagged(task->pid, wrong ? in_all + now - queued : in_all);
	return wrong;
}

/* Whether the task leaves the CPU because its group's quota is spent. Since 6.18 it is taken off
 * one by one and marked, before with its whole group (commit e1fad12dcb66).
 */
static __always_inline bool is_throttled(struct task_struct *task)
{
	if (bpf_core_field_exists(struct task_struct___throttled, throttled))
		return ((struct task_struct___throttled *)task)->throttled;
	return task->se.cfs_rq->throttle_count > 0;
}

/* The kernel's own count of time in which the task's group could not run on this CPU: for lack of
 * quota, its own or one above. Since 6.6 (commit 677ea015f231); before, only on the clock of load
 * tracking, which follows the speed of the CPU.
 */
static __always_inline __u64 throttled_time(struct cfs_rq *cfs_rq)
{
	if (bpf_core_field_exists(struct cfs_rq___self, throttled_clock_self_time))
		return ((struct cfs_rq___self *)cfs_rq)->throttled_clock_self_time;
	return cfs_rq->throttled_clock_pelt_time;
}

static __always_inline void note_throttled(struct desk *desk, struct task_struct *task, __u64 now)
{
	__u64 began = 0;

	if (desk->throttled_at)
		return;
	if (bpf_core_field_exists(struct cfs_rq___self, throttled_clock_self))
		began = ((struct cfs_rq___self *)task->se.cfs_rq)->throttled_clock_self;
	desk->throttled_at = began && began < now ? began : now;
}

/* The first task of a group to run after the group was throttled finds the kernel's counter moved,
 * by as much as it was. It began when a task left for it; with none, when this one was queued.
 */
static __always_inline void note_unthrottled(struct desk *desk, __u64 counter, __u64 queued,
					     __u64 now)
{
	__u64 length = counter - desk->throttled;
	struct span *span;

	desk->throttled = counter;
	if (desk->throttled_at || desk->spans_used || desk->book.waits) {
		span = &desk->spans[desk->spans_used++ % HELD_SPANS];
		span->begin = desk->throttled_at ? desk->throttled_at : queued;
		span->end = span->begin + length < now ? span->begin + length : now;
	}
	desk->throttled_at = 0;
}

static __always_inline void look_at_throttling(struct desk *desk, __u32 seat,
					       struct task_struct *task, __u64 queued, __u64 now)
{
	__u64 counter = throttled_time(task->se.cfs_rq);

	if (counter != desk->throttled && seat != NOISE_UNSEATED) /* many share that desk */
		note_unthrottled(desk, counter, queued, now);
}

/* Verified on its own, as `bucket_of` is. */
__noinline bool was_held(struct desk *desk, __u64 begin)
{
	if (!desk)
		return false;
	for (int i = 0; i < HELD_SPANS; i++)
		if (desk->spans[i].end > begin)
			return true;
	return false;
}

static __always_inline void tell_event(struct cpu *cpu, __u32 number, struct wait *wait,
				       struct task_struct *task, __u64 waited)
{
	struct noise_event *event;

	if (wait->end - wait->desk->event_at < config.events_gap_ns) {
		__sync_fetch_and_add(&shared.loss.events, 1);
		return;
	}
	event = bpf_ringbuf_reserve(&noise_events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&shared.loss.events, 1);
		return;
	}
	wait->desk->event_at = wait->end;
	event->at_ns = bpf_ktime_get_ns();
	event->waited_ns = waited;
	event->culprit_ns = wait->chief.ns;
	event->victim = wait->victim;
	event->culprit = wait->chief.who;
	event->cpu = number;
	event->pid = task->pid;
	BPF_CORE_READ_STR_INTO(&event->comm, task, comm);
	bpf_ringbuf_submit(event, 0);
}

/* The task that leaves: what it used, and whether it wanted to go. A task stays queued under the
 * same condition as for the kernel's own PSI (psi_sched_switch() in kernel/sched/core.c): the
 * tracepoint's `preempt` tells only of preemption inside the kernel.
 */
static __always_inline void leave(struct cpu *cpu, __u32 number, struct task_struct *task,
				  __u32 next, __u64 now, __u64 ran)
{
	__u32 seat = cpu->running;
	struct desk *desk = desk_at(number, seat);
	bool queued = task->on_rq == 1 && !is_delayed(task);

	if (!desk)
		return;
	desk->book.round = shared.round;
	desk->book.ran_ns += ran;
	if (!queued) {
		desk->book.voluntary++;
		return;
	}
	desk->book.involuntary++;
	if (is_throttled(task))
		note_throttled(desk, task, now);
	else if (next == seat)
		desk->book.preempted_self++;
	else if (next != NOISE_IDLE && shared.level >= NOISE_BLAME)
		blame_group(desk, seat, next, 0, 1);
}

static __always_inline void book_wait(struct desk *desk, __u64 ns)
{
	__u32 bucket;

	desk->book.round = shared.round;
	desk->book.waits++;
	desk->book.waited_ns += ns;
	if (shared.level < NOISE_HISTOGRAM)
		return;
	bucket = bucket_of(ns);
	if (bucket < NOISE_BUCKETS)
		desk->book.buckets[bucket]++;
}

/* The task that leaves is not the one that was seen to come: the kernel did not tell of a switch
 * (seen on a Firecracker guest, one in 5,000). It stamped it, though: there ended whatever ran
 * before, which nobody is blamed for, and the wait of this one.
 */
static __noinline int catch_up(struct cpu *cpu, __u32 number, struct task_struct *task, __u64 now)
{
	__u64 arrived = task->pid ? task->sched_info.last_arrival : now;
	__u32 seat = task->pid ? seat_of(cpu, task) : NOISE_IDLE;
	struct wait wait = { .victim = seat, .end = arrived };
	struct task_kept *kept;
	__s64 ns, rest;

	if (arrived > cpu->since && arrived <= now) {
		keep_slice(cpu, NOISE_UNSEEN, arrived, 0, 0);
		cpu->since = arrived;
	}
	cpu->running = seat;
	__sync_fetch_and_add(&shared.loss.unseen, 1);
	kept = kept_of(task->pid);
	wait.desk = task->pid ? desk_at(number, seat) : NULL;
	if (!wait.desk || !kept || is_marked(task, kept))
		return 0;
	ns = waited_after(task, kept->at_arrival, ~0ULL);
	rest = waited_after(task, kept->accounted, ~0ULL);
	kept->at_arrival = kept->accounted = tagged(task->pid, task->sched_info.run_delay);
	if (ns < 0 || rest < 0 || rest > ns)
		return 0;
	wait.begin = arrived - rest;
	look_at_throttling(wait.desk, seat, task, wait.begin, arrived);
	book_wait(wait.desk, ns);
	if (shared.level < NOISE_BLAME)
		return 0;
	wait.held = wait.desk->spans_used && was_held(wait.desk, wait.begin);
	if (cpu->since == arrived)
		blame_slices(cpu, &wait, arrived);
	else
		blame_reason(&wait, NOISE_UNKNOWN, rest);
	return 0;
}

/* The task that comes: what it waited, and who ran meanwhile. */
static __always_inline void arrive(struct cpu *cpu, __u32 number, struct task_struct *task,
				   __u32 seat, __u64 now)
{
	__u64 queued = task->sched_info.last_queued;
	struct desk *desk = desk_at(number, seat);
	struct task_kept *kept = kept_of(task->pid);
	struct wait wait = { .desk = desk, .begin = queued, .end = now, .victim = seat };
	__s64 before, unaccounted;
	__u64 waited;

	if (!desk || !kept)
		return;
	desk->book.round = shared.round;
	look_at_throttling(desk, seat, task, queued, now);
	if (!queued || queued > now) {
		__sync_fetch_and_add(queued ? &shared.loss.backwards : &shared.loss.unstamped, 1);
		kept->at_arrival = kept->accounted = 0;
		return;
	}
	if (is_marked(task, kept) && stamped_asleep(task, kept, queued, now)) {
		__sync_fetch_and_add(&shared.loss.unstamped, 1);
		return;
	}
	waited = now - queued;
	forget_predecessor(task, kept);
	before = waited_after(task, kept->at_arrival, now);
	unaccounted = waited_after(task, kept->accounted, now);
	if (before > 0 && unaccounted > 0) { /* it ran in between, unseen: another wait, not this */
		desk->book.waited_ns += unaccounted;
		desk->book.reasons[NOISE_UNKNOWN] += unaccounted;
		before -= unaccounted;
	}
	kept->at_arrival = kept->accounted = tagged(task->pid, task->sched_info.run_delay + waited);
	if (before > 0)
		waited += before;
	book_wait(desk, waited);
	if (shared.level < NOISE_BLAME)
		return;
	wait.held = desk->spans_used && was_held(desk, queued);
	blame_slices(cpu, &wait, now);
	if (shared.events_ns && waited >= shared.events_ns)
		tell_event(cpu, number, &wait, task, waited);
}

/* The task is taken off this CPU's queue while it waits, and put into another's. The kernel has
 * just added what it waited here; the run queue's lock is still held.
 */
static __always_inline void move(struct task_struct *task)
{
	struct rq *rq = task->se.cfs_rq->rq;
	__u64 now = rq->clock;
	__u32 number = rq->cpu, seat;
	struct cpu *cpu = cpu_at(number);
	struct task_kept *kept = kept_of(task->pid);
	struct wait wait = { .end = now };
	struct desk *desk;
	__s64 ns;

	if (!kept)
		return;
	if (is_delayed(task))
		mark_asleep(task, kept, now);
	if (!cpu || !cpu->since || is_marked(task, kept))
		return;
	seat = seat_of(cpu, task);
	desk = desk_at(number, seat);
	forget_predecessor(task, kept);
	ns = waited_after(task, kept->accounted, now);
	kept->accounted = tagged(task->pid, task->sched_info.run_delay);
	if (ns < 0) { /* when it runs, only what it waits from here on counts */
		__sync_fetch_and_add(&shared.loss.carried, 1);
		if (task->sched_info.last_arrival)
			kept->at_arrival = kept->accounted;
	}
	if (ns <= 0 || !desk || shared.level < NOISE_BLAME)
		return;
	wait.desk = desk;
	wait.victim = seat;
	wait.begin = now - ns;
	wait.held = desk->spans_used && was_held(desk, wait.begin);
	desk->book.round = shared.round;
	if (now > cpu->since) { /* the slice that runs */
		__u64 begin = wait.begin > cpu->since ? wait.begin : cpu->since;

		blame(&wait, cpu->running, not_held(&wait, begin, now));
		now = begin;
	}
	if (now > wait.begin)
		blame_slices(cpu, &wait, now);
}

#endif
