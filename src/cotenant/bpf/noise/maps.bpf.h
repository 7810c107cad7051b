/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The maps: what each CPU keeps to itself, and what user space reads. */
#ifndef COTENANT_NOISE_MAPS_H
#define COTENANT_NOISE_MAPS_H

#define SLICES 256 /* slices a CPU remembers; power of two */
#define SEAT_CACHE 256 /* power of two */
#define TASKS 65536 /* power of two */
#define CELLS 12 /* culprits that a group has room for on each CPU; more go to noise_spilled */
#define CELL_REST 60 /* collections after which the room of a silent pair goes to another */
#define HELD_SPANS 4 /* spans of throttling remembered per group and CPU; power of two */
#define LONGEST_SLICE (1000 * 1000 * 1000) /* slices of one group are joined up to here */

const volatile struct noise_config config SEC(".rodata.config") = {};
/* Never used: they bring these types into the object's type information. */
const struct noise_words *words __attribute__((unused));
const struct noise_event *told __attribute__((unused));
const struct noise_holder *holds __attribute__((unused));
const struct noise_pair *pair __attribute__((unused));

struct noise_shared shared SEC(".data.shared");

/* Somebody ran until `end`, from the end of the slice before. */
struct slice {
	__u64 end;
	__u32 who; /* seat, NOISE_IDLE or NOISE_UNSEEN */
	__u32 irq_ns; /* taken out of it by interrupts and by the hypervisor */
	__u32 steal_ns;
	__u32 pad;
};

struct seat_cached {
	__u64 cgroup;
	__u64 seat;
};

/* What a CPU keeps. Written under its run queue's lock only. */
struct cpu {
	__u64 since; /* when the task that runs now began to; 0: no switch was seen yet */
	__u64 behind; /* the tasks' clock, at that time */
	__u64 irq; /* the run queue's counters */
	__u64 steal;
	void *group; /* where the running task stood then, and its seat */
	__u32 running;
	__u32 spare; /* a seat taken for a group that another CPU seated first */
	__u32 head; /* newest slice */
	__u32 pid; /* of the task that runs, as far as it was seen to come */
	struct noise_cost cost[NOISE_PROGRAMS];
	struct seat_cached cache[SEAT_CACHE];
	struct slice slices[SLICES];
};

/* A culprit's part in the waits of one group. The CPU writes, the collection only `told_*`. */
struct cell {
	__u32 culprit;
	__u32 round; /* of the last change; 0: free */
	__u64 ns;
	__u64 told_ns;
	__u32 preempted;
	__u32 told_preempted;
};

/* From when to when a group was throttled on one CPU. */
struct span {
	__u64 begin;
	__u64 end;
};

/* All that one CPU keeps of one group. Written under that CPU's run queue's lock only. */
struct desk {
	struct noise_book book;
	__u64 throttled; /* the kernel's counter of throttled time when we last looked */
	__u64 throttled_at; /* a task left for it; 0: none did */
	__u64 event_at;
	__u32 spans_used;
	__u32 pad;
	struct span spans[HELD_SPANS];
	struct cell cells[CELLS];
};

struct spilled {
	__u64 ns;
	__u64 told_ns;
	__u64 preempted;
	__u64 told_preempted;
	__u64 round; /* of the last change */
};

struct spilled_key {
	__u32 victim;
	__u32 culprit;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* one per CPU, set before loading, as below */
	__type(key, __u32);
	__type(value, struct cpu);
} noise_cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* one per CPU and seat */
	__type(key, __u32);
	__type(value, struct desk);
} noise_desks SEC(".maps");

/* What a task had waited in all when it last began to run, and when its move was last accounted:
 * so a wait goes on when the task is moved to another CPU, where the kernel begins anew. By the low
 * bits of the pid; the high ones are kept with the value.
 */
struct task_kept {
	__u64 at_arrival;
	__u64 accounted;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TASKS);
	__type(key, __u32);
	__type(value, struct task_kept);
} noise_tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* seats */
	__type(key, __u64); /* cgroup id */
	__type(value, __u32);
} noise_seats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* seats */
	__type(key, __u32);
	__type(value, struct noise_holder);
} noise_holders SEC(".maps");

/* A ring of free seats, filled by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* seats */
	__type(key, __u32);
	__type(value, __u64);
} noise_free SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct spilled_key);
	__type(value, struct spilled);
} noise_spilled SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, NOISE_EVENTS_BYTES);
} noise_events SEC(".maps");

/* Filled by `collect`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* seats */
	__type(key, __u32);
	__type(value, struct noise_book);
} noise_books SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* seats */
	__type(key, __u32);
	__type(value, __u64);
} noise_changed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NOISE_PAIRS);
	__type(key, __u32);
	__type(value, struct noise_pair);
} noise_pairs SEC(".maps");

static __always_inline struct cpu *cpu_at(__u32 number)
{
	return bpf_map_lookup_elem(&noise_cpus, &number);
}

static __always_inline struct desk *desk_at(__u32 number, __u32 seat)
{
	__u32 at = seat * config.cpus + number;

	return bpf_map_lookup_elem(&noise_desks, &at);
}

#endif
