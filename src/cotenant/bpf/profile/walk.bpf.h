/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The walk up a thread's stack: native frames, and the interpreter's in their place. */
#ifndef COTENANT_PROFILE_WALK_H
#define COTENANT_PROFILE_WALK_H

enum walk_state {
	AT_NATIVE, /* a native frame comes next */
	AT_PYTHON, /* frames of this run of the interpreter's loop */
	AT_LOOP, /* the native frame of that loop: passed, not told */
};

#define FILE_WORD (1ULL << 62)

static __always_inline void keep_native(struct walk *walk, __u32 file, __u64 address)
{
	__u32 n = walk->sample.user;

	if (n >= PROFILE_USER_WORDS)
		return;
	walk->words[n] = file ? FILE_WORD | (__u64)file << PROFILE_ADDRESS_BITS |
					 (address & ((1ULL << PROFILE_ADDRESS_BITS) - 1)) :
				walk->ip;
	walk->sample.user = n + 1;
}

/* Nobody called what a handler returns to: its address is no return address, told less one. */
static __always_inline void keep_as_signal(struct walk *walk)
{
	__u32 last = walk->sample.user - 1;

	if (last < PROFILE_USER_WORDS)
		walk->words[last]++;
}

/* Whether the interpreter's loop runs here; then its frames are looked for. */
static __always_inline bool begins_python(struct walk *walk, const struct place *place)
{
	__u32 number = place->python;
	struct profile_python *python;

	if (!number)
		return false;
	python = bpf_map_lookup_elem(&profile_pythons, &number);
	if (!python || !in_loop(python, place->address))
		return false;
	if (!walk->looked) {
		walk->python = *python;
		look_for_frames(walk);
		if (walk->late)
			return false;
	}
	walk->short_of_one = !walk->frame;
	return walk->frame != 0;
}

/* One frame. 1: the walk is over. */
static long step(__u32 index, void *context)
{
	struct walk *walk = *(struct walk **)context;
	__u32 end = PROFILE_END_COMPLETE;
	__u64 cfa, saved_bp = 0;
	struct place *place;

	if (walk->state == AT_PYTHON) {
		if (step_python(walk))
			walk->state = AT_LOOP;
		return 0;
	}
	if (walk->sample.user >= PROFILE_USER_WORDS - 1)
		return end_walk(walk, PROFILE_END_DEEP);
	place = &walk->places[(walk->ip ^ walk->process.first) * HASH_FACTOR >> (64 - PLACE_BITS)];
	if (!is_known(place, walk))
		end = find_place(walk, place);
	if (end == PROFILE_END_NO_MAPPING) {
		keep_native(walk, 0, 0);
		return end_walk(walk, end);
	}
	if (walk->state == AT_NATIVE) {
		if (begins_python(walk, place)) {
			begin_run(walk);
			walk->state = AT_PYTHON;
			return 0;
		}
		keep_native(walk, place->file, place->address);
	}
	if (place->mapping != PROFILE_MAPPING_TABLE)
		return step_by_pointer(walk, place->mapping);
	if (end == PROFILE_END_NO_TABLE)
		return end_walk(walk, end);
	if (end == PROFILE_END_NO_RULE)
		return step_unruled(walk);
	if (place->rule.kind == PROFILE_RULE_SIGNAL) {
		keep_as_signal(walk);
		return back_from_signal(walk);
	}
	cfa = frame_address(walk, &place->rule, &saved_bp);
	if (!cfa)
		return 1;
	if (walk->state == AT_LOOP) {
		walk->state = AT_NATIVE;
		if (!leads_out(walk) || !is_own_run(walk, cfa)) {
			take_back_run(walk);
			keep_native(walk, place->file, place->address);
		} else {
			walk->run_mark = 0;
		}
	}
	return return_to(walk, cfa, saved_bp);
}

/* User space may have learnt of a fork one tick late. */
static __always_inline bool is_start(__u64 told, __u64 started)
{
	return told == started || told == started + 1;
}

static __always_inline void stand_at(struct walk *walk, __u64 ip, __u64 sp, __u64 bp)
{
	walk->ip = ip;
	walk->sp = sp;
	walk->bp = bp;
}

/* From the leaf up. `late`: the first loop of the interpreter has no frame yet, or no more. */
static __noinline int walk_from_leaf(struct walk *walk, __u32 late)
{
	stand_at(walk, walk->first_ip, walk->first_sp, walk->first_bp);
	walk->sample.user = 0;
	walk->sample.end = PROFILE_END_DEEP; /* if the walk runs out of steps */
	walk->state = AT_NATIVE;
	walk->late = late;
	walk->looked = 0;
	walk->frame = 0;
	walk->run_mark = 0;
	walk->linked = 0;
	walk->short_of_one = 0;
	bpf_loop(PROFILE_STEPS, step, &walk, 0);
	return 0;
}

/* Fills the sample with the thread's stack in user space. */
static __always_inline void walk_user(struct walk *walk, struct task_struct *task)
{
	struct profile_process *process;
	__u32 tgid = task->tgid, zero = 0, *epoch = bpf_map_lookup_elem(&profile_epoch, &zero);

	walk->epoch = epoch ? *epoch : 0;
	walk->fs = task->thread.fsbase;
	walk->first_ip = walk->ip;
	walk->first_sp = walk->sp;
	walk->first_bp = walk->bp;
	if (!task->mm) { /* it ends, and gave its memory back: it has no stack any more */
		walk->sample.end = PROFILE_END_COMPLETE;
		return;
	}
	process = bpf_map_lookup_elem(&profile_processes, &tgid);
	if (!process || !is_start(process->started, walk->sample.started)) {
		keep_native(walk, 0, 0);
		walk->sample.end = PROFILE_END_NO_PROCESS;
		return;
	}
	walk->process = *process;
	walk_from_leaf(walk, 0);
	/* While a loop of 3.9 or 3.10 begins or ends, the frames are those of the loops further
	 * out: then the outermost is left with none.
	 */
	if (walk->short_of_one && walk->python.kind == PROFILE_PYTHON_ONE &&
	    walk->sample.python_end == PROFILE_PYTHON_FINE)
		walk_from_leaf(walk, 1);
}

#endif
