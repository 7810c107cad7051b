/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* CPython's own frames: which belong to one run of its loop, and where each stands. */
#ifndef COTENANT_PROFILE_PYTHON_H
#define COTENANT_PROFILE_PYTHON_H

#define PYTHON_WORD (1ULL << 63)
#define FRAME_MASK (PROFILE_FRAME_BYTES - 1)

static __always_inline bool in_loop(const struct profile_python *python, __u64 address)
{
	for (int i = 0; i < PROFILE_RANGES; i++)
		if (address >= python->ranges[i].begin && address < python->ranges[i].end)
			return true;
	return false;
}

/* The state of the interpreter's thread that is being walked; 0: not found. */
static __always_inline __u64 thread_state(struct walk *walk)
{
	__s32 slot = walk->process.slot ? walk->process.slot : walk->python.slot;
	__u64 state = 0, key, *told;

	if (walk->process.by_thread) {
		key = (__u64)walk->sample.tgid << 41 | walk->fs >> 6;
		told = bpf_map_lookup_elem(&profile_threads, &key);
		return told ? *told : 0;
	}
	if (!slot || bpf_probe_read_user(&state, sizeof(state), (void *)(walk->fs + (__s64)slot)))
		return 0;
	return state;
}

/* Finds the innermost frame, once per walk. */
static __always_inline void look_for_frames(struct walk *walk)
{
	__u64 state = thread_state(walk), frame = 0;
	struct {
		__u64 frame, previous;
	} link = {};

	walk->looked = 1;
	if (!state) {
		walk->sample.python_end = PROFILE_PYTHON_NO_THREAD;
		return;
	}
	if (bpf_probe_read_user(&frame, sizeof(frame), (void *)(state + walk->python.state_frame)))
		goto fault;
	if (walk->python.indirect) {
		walk->run_mark = frame; /* lies in the loop's native frame */
		if (bpf_probe_read_user(&link, sizeof(link),
					(void *)(frame + walk->python.state_cframe)))
			goto fault;
		frame = link.frame;
		walk->linked =
			!bpf_probe_read_user(&walk->outer_frame, sizeof(walk->outer_frame),
					     (void *)(link.previous + walk->python.state_cframe));
	}
	walk->frame = frame;
	return;
fault:
	walk->sample.python_end = PROFILE_PYTHON_FAULT;
}

static __always_inline __u64 scratch_at(struct walk *walk, __u32 offset)
{
	return walk->scratch[(offset & FRAME_MASK) / 8];
}

/* How many bytes of bytecode the frame has come. */
static __always_inline __u32 come(struct walk *walk, __u64 code)
{
	__u32 offset = walk->python.frame_last;
	__u64 word = scratch_at(walk, offset);

	if (!walk->python.last_scale)
		return word - code - walk->python.code_begin;
	return (__u32)(offset & 4 ? word >> 32 : word) * walk->python.last_scale;
}

static __always_inline void keep_python(struct walk *walk, __u64 code)
{
	__u32 line = 0, n = walk->sample.user;

	if (n >= PROFILE_USER_WORDS - 1)
		return;
	/* Not there: the sample is told with line 0, and user space asks again. */
	bpf_probe_read_user(&line, sizeof(line), (void *)(code + walk->python.code_first_line));
	walk->words[n] = PYTHON_WORD | code;
	walk->words[n + 1] = (__u64)come(walk, code) << 32 | line;
	walk->sample.user = n + 2;
}

/* One frame of the interpreter; true: it was the last of this run of its loop. */
static __always_inline bool step_python(struct walk *walk)
{
	const struct profile_python *python = &walk->python;
	__u32 bytes = python->frame_bytes;
	__u64 code;
	__u8 mark;

	if (!walk->frame)
		return true;
	if (bytes > PROFILE_FRAME_BYTES)
		bytes = PROFILE_FRAME_BYTES;
	if (bpf_probe_read_user(walk->scratch, bytes, (void *)walk->frame)) {
		walk->sample.python_end = PROFILE_PYTHON_FAULT;
		walk->frame = 0;
		return true;
	}
	code = scratch_at(walk, python->frame_code) & ~3ULL; /* references carry tags in there */
	mark = ((__u8 *)walk->scratch)[python->frame_mark & FRAME_MASK];
	if (python->kind == PROFILE_PYTHON_SHIM && mark == python->mark) {
		walk->run_mark = walk->frame; /* it lies there, too */
		walk->frame = scratch_at(walk, python->frame_previous);
		return true;
	}
	walk->frame = scratch_at(walk, python->frame_previous);
	keep_python(walk, code);
	return python->kind == PROFILE_PYTHON_ONE ||
	       (python->kind == PROFILE_PYTHON_ENTRY && mark == python->mark);
}

static __always_inline void begin_run(struct walk *walk)
{
	walk->run_user = walk->sample.user;
	walk->run_frame = walk->frame;
}

/* The loop's native frame ends at `cfa`. What the run has there must lie below; else this loop was
 * about to begin its run, or just had ended it, and the frames are those of one further out.
 */
static __always_inline bool is_own_run(struct walk *walk, __u64 cfa)
{
	return !walk->run_mark || walk->run_mark < cfa;
}

static __always_inline void take_back_run(struct walk *walk)
{
	walk->sample.user = walk->run_user;
	walk->frame = walk->run_frame;
}

/* The first run must lead to the next: while a loop begins, its link (_PyCFrame, 3.11 and 3.12) is
 * in place before it points to a frame, and what stands there is whatever was there before.
 */
static __always_inline bool leads_out(struct walk *walk)
{
	bool out = !walk->linked || walk->frame == walk->outer_frame;

	if (!out) {
		walk->run_frame = walk->outer_frame;
		walk->run_mark = 0;
		walk->sample.python_end = PROFILE_PYTHON_FINE;
	}
	walk->linked = 0;
	return out;
}

#endif
