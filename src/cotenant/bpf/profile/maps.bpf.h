/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The maps: what user space tells about processes and their code, and what it is told. */
#ifndef COTENANT_PROFILE_MAPS_H
#define COTENANT_PROFILE_MAPS_H

const volatile struct profile_config config SEC(".rodata.config") = {};
/* Never used: it brings the constants into the object's type information. */
const struct profile_words *constants __attribute__((unused));

/* --- told by user space */

struct chunk {
	__u32 words[PROFILE_CHUNK];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct chunk);
} profile_tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROFILE_FILES);
	__type(key, __u32);
	__type(value, struct profile_file);
} profile_files SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROFILE_PYTHONS);
	__type(key, __u32);
	__type(value, struct profile_python);
} profile_pythons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct profile_mapping);
} profile_mappings SEC(".maps");

/* By process, as the host numbers it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct profile_process);
} profile_processes SEC(".maps");

/* An interpreter's state by thread, for processes whose threads keep it nowhere to be found. The
 * key is the process << 41 | the thread's fs base >> 6: threads' numbers differ between namespaces.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u64);
} profile_threads SEC(".maps");

/* Counts up before mappings are used again for others: what was found by them no longer holds. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} profile_epoch SEC(".maps");

/* By cgroup: one sample of so many is taken; 0: none. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} profile_rates SEC(".maps");

/* --- told to user space */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} profile_samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} profile_snapshots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct profile_counts);
} profile_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct profile_tally);
} profile_tallies SEC(".maps");

/* --- the programs' own */

/* Since when a task is blocked, and where. By thread. */
struct blocked {
	__u64 since;
	__u64 stack;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct blocked);
} profile_blocked SEC(".maps");

/* How the caller's registers are found. */
struct rule {
	__s32 cfa;
	__s16 rbp; /* where the caller's was saved, from the frame address; 0: it is unchanged */
	__u8 kind;
};

/* What mappings and tables say of one address. Return addresses come again in nearly every sample;
 * to search for one anew takes some twenty places in memory, all of them cold.
 */
struct place {
	__u64 ip; /* 0: nothing is known */
	__u64 address; /* as the file's symbols count */
	__u32 first; /* of the mappings that it was found in */
	__u32 epoch;
	__u32 file;
	__u32 python;
	__u32 mapping; /* kind */
	struct rule rule;
};

#define PLACE_BITS 8
#define HASH_FACTOR 0x9e3779b97f4a7c15ULL /* 2^64 / the golden ratio: Knuth's choice */

/* Registers and where the walk stands. */
struct walk {
	__u64 ip;
	__u64 sp;
	__u64 bp;
	__u64 fs;
	__u64 first_ip; /* the same where the walk began */
	__u64 first_sp;
	__u64 first_bp;
	__u64 frame; /* the interpreter's next one; 0: not looked for, or none left */
	__u64 run_frame; /* the same as this run of the interpreter's loop began; */
	__u64 run_mark; /* what of the run lies in the native frame of the loop; 0: not known */
	__u64 outer_frame; /* where the run further out stands, told besides `frame`, */
	__u32 linked; /* 1: to which the first run is to lead */
	__u32 late; /* 1: the first loop has no frame yet, or no more */
	__u32 short_of_one; /* 1: the last loop that was met had none left */
	__u32 run_user; /* and words told by then */
	__u32 state;
	__u32 looked; /* for the interpreter's frames of this thread */
	__u32 busy;
	__u32 counter; /* of samples that could have been taken, for rates */
	__u32 epoch;
	__u64 left; /* bytes or faults until the next sample */
	struct profile_process process;
	struct profile_python python;
	__u64 scratch[PROFILE_FRAME_BYTES / 8];
	struct profile_sample sample; /* what is told: this and the words behind it */
	__u64 words[PROFILE_WORDS];
	struct place places[1 << PLACE_BITS]; /* found by walks before */
};

/* One for each type of sample: a tick of the clock may come while the others are at work. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PROFILE_TYPES);
	__type(key, __u32);
	__type(value, struct walk);
} profile_walks SEC(".maps");

#define SNAPSHOT_HEAD 2048 /* room for its words; power of two */

struct snapshot {
	__u64 since; /* of the second that is counted */
	__u32 taken; /* in it */
	__u32 busy;
	struct profile_sample sample; /* what is told: this and what follows */
	__u8 data[SNAPSHOT_HEAD + (1 + PROFILE_SNAPSHOT_PAGES) * PROFILE_PAGE];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct snapshot);
} profile_snapshot SEC(".maps");

static __always_inline struct profile_counts *counts(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&profile_counts, &zero);
}

static __always_inline __u64 ticks(__u64 ns)
{
	return ns / PROFILE_TICK_NS;
}

#endif
