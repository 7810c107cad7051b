/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Time off the CPU: a task that blocks leaves the number of its stack, and is counted as it comes
 * back. Only the task itself can be walked, as it leaves: later its memory is not at hand.
 */
#ifndef COTENANT_PROFILE_BLOCKED_H
#define COTENANT_PROFILE_BLOCKED_H

#define PROBES 8 /* places looked at for a stack */
#define TASK_DEAD 0x80 /* include/linux/sched.h: it goes, and never comes back */
#define HASH_SEED 0xcbf29ce484222325ULL

static __always_inline unsigned int state_of(struct task_struct *task)
{
	if (bpf_core_field_exists(task->__state))
		return BPF_CORE_READ(task, __state);
	return BPF_CORE_READ((struct task_struct___state *)task, state);
}

struct hashing {
	struct walk *walk;
	__u64 hash;
};

static long hash_word(__u32 index, void *context)
{
	struct hashing *hashing = context;

	if (index >= PROFILE_WORDS)
		return 1;
	hashing->hash = (hashing->hash ^ hashing->walk->words[index]) * HASH_FACTOR;
	hashing->hash ^= hashing->hash >> 29;
	return 0;
}

/* A number for the process and its stack. Two stacks of one number are one in 2^64. */
static __always_inline __u64 number_of(struct walk *walk)
{
	struct profile_sample *sample = &walk->sample;
	struct hashing hashing = { .walk = walk, .hash = HASH_SEED };

	hashing.hash = (hashing.hash ^ sample->cgroup) * HASH_FACTOR;
	hashing.hash = (hashing.hash ^ sample->started << 32 ^ sample->tgid) * HASH_FACTOR;
	bpf_loop(sample->user + sample->kernel, hash_word, &hashing, 0);
	return hashing.hash ? hashing.hash : 1;
}

static __always_inline struct profile_tally *tally_at(__u64 stack, int probe)
{
	__u32 at = (stack + probe) & (config.tallies - 1);

	return bpf_map_lookup_elem(&profile_tallies, &at);
}

static __always_inline struct profile_tally *tally_of(__u64 stack)
{
	for (int i = 0; i < PROBES; i++) {
		struct profile_tally *tally = tally_at(stack, i);

		if (tally && tally->stack == stack)
			return tally;
	}
	return NULL;
}

/* Takes a free place for a stack that user space then knows; false: there is none. */
static __always_inline bool take_tally(struct walk *walk)
{
	__u64 stack = walk->sample.stack;

	for (int i = 0; i < PROBES; i++) {
		struct profile_tally *tally = tally_at(stack, i);

		if (tally && !tally->stack &&
		    !__sync_val_compare_and_swap(&tally->stack, 0, stack)) {
			if (tell(walk))
				return true;
			tally->stack = 0;
			return false;
		}
	}
	return false;
}

static __always_inline void block(void *ctx, struct task_struct *task)
{
	struct walk *walk = begin_sample(task, PROFILE_OFF_CPU);
	struct profile_counts *count = counts();
	struct blocked blocked = {};
	__u32 tid = task->pid;
	bool room;

	if (!walk)
		return;
	stand_at_entry(walk, task);
	fill(walk, ctx, task);
	blocked.stack = walk->sample.stack = number_of(walk);
	room = tally_of(blocked.stack) || take_tally(walk);
	blocked.since = bpf_ktime_get_ns();
	if (room && bpf_map_update_elem(&profile_blocked, &tid, &blocked, BPF_NOEXIST)) {
		/* Full; or it came back without being told of, which some switches are not. */
		bpf_map_update_elem(&profile_blocked, &tid, &blocked, BPF_ANY);
		room = false;
	}
	if (!room && count)
		count->untallied++;
	add_cost(walk, PROFILE_OFF_CPU);
	leave_sample(walk);
}

static __always_inline void unblock(struct task_struct *task)
{
	__u32 tid = task->pid;
	struct blocked *blocked = bpf_map_lookup_elem(&profile_blocked, &tid);
	struct profile_tally *tally;

	if (!blocked)
		return;
	tally = tally_of(blocked->stack);
	if (tally) {
		__sync_fetch_and_add(&tally->count, 1);
		__sync_fetch_and_add(&tally->ns, bpf_ktime_get_ns() - blocked->since);
	}
	bpf_map_delete_elem(&profile_blocked, &tid);
}

#endif
