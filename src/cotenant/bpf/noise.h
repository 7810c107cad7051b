/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What crosses the border between noise.bpf.c and noise/read.py: this page and nothing else.
 *
 * Times are nanoseconds on the run queue's clock, durations nanoseconds. A group is a cgroup of the
 * tree that the CPU is scheduled by; each that ever ran holds a seat, a small number.
 */
#ifndef COTENANT_NOISE_H
#define COTENANT_NOISE_H

enum noise_limit {
	NOISE_DEPTH = 16, /* cgroups above a group that are told */
	NOISE_TIMED = 1024, /* every so many runs, a program times itself */
	NOISE_PAIRS = 16384, /* pairs that one collection can tell; the rest comes with the next */
	NOISE_EVENTS_BYTES = 262144,
	NOISE_COMM = 16,
};

/* Waits are counted in buckets that grow by 2^(1/4), at the bounds that Prometheus' native
 * histograms of schema 2 have: 2^(k/4) seconds. Bucket 0 holds all below 2^-22 s (238 ns), bucket
 * 1 begins there, the last begins at 128 s.
 */
enum noise_bucket {
	NOISE_FIRST_EXPONENT = 8, /* in units of 2^-30 s */
	NOISE_LAST_EXPONENT = 36,
	NOISE_PER_OCTAVE = 4,
	NOISE_BUCKETS = (NOISE_LAST_EXPONENT - NOISE_FIRST_EXPONENT + 1) * NOISE_PER_OCTAVE + 2,
};

enum noise_seat {
	NOISE_UNSEATED, /* groups for which there was no seat left */
	NOISE_KERNEL, /* kernel threads that belong to no tenant */
	NOISE_FIRST_SEAT, /* the first that a group can get */
	NOISE_IDLE = 0xffffffff, /* who ran: nobody */
	NOISE_UNSEEN = 0xfffffffe, /* who ran: not told by the kernel */
};

/* How much is done; lowered when the programs cost more than they may. */
enum noise_level {
	NOISE_COUNT = 1, /* waits, their sum, switches, CPU time */
	NOISE_HISTOGRAM, /* and their distribution */
	NOISE_BLAME, /* and who ran meanwhile */
};

/* What a wait was spent on, where it was not another group's time on the CPU. */
enum noise_reason {
	NOISE_SELF, /* tasks of the same group ran */
	NOISE_THROTTLED, /* held back by the CPU quota of its own group or one above */
	NOISE_IDLE_CPU, /* the CPU was free, and on its way */
	NOISE_IRQ, /* interrupts, where the scheduler's clock leaves them out */
	NOISE_STEAL, /* the hypervisor ran somebody else */
	NOISE_UNKNOWN, /* longer ago than the CPU's slices are kept, or cells full */
	NOISE_REASONS,
};

enum noise_program {
	NOISE_RUN_SWITCH,
	NOISE_RUN_MIGRATE,
	NOISE_PROGRAMS,
};

/* What user space found out about this host before loading; read-only for the programs. */
struct noise_config {
	unsigned int cpus; /* possible CPUs */
	unsigned int seats;
	unsigned int unified; /* the CPU is scheduled by the v2 tree; else by v1's cpu hierarchy */
	unsigned int hierarchy; /* its number; ids of cgroups are unique in one hierarchy only */
	unsigned int events_gap_ns; /* a group tells at most one long wait per CPU in so long */
};

/* Books of one group; in the kernel one per CPU, told as their sum. `buckets` wrap at 2^32. */
struct noise_book {
	unsigned long long round; /* collection after which they were last touched */
	unsigned long long ran_ns;
	unsigned long long waits;
	unsigned long long waited_ns;
	unsigned long long voluntary; /* switches away by its own will */
	unsigned long long involuntary; /* switches away of tasks that would have run on */
	unsigned long long preempted_self; /* of these, in favour of the same group */
	unsigned long long reasons[NOISE_REASONS];
	unsigned int buckets[NOISE_BUCKETS];
};

/* What one group ran while another waited, since the last collection. */
struct noise_pair {
	unsigned int victim;
	unsigned int culprit;
	unsigned long long ns;
	unsigned long long preempted; /* times the culprit took the CPU from a running victim */
};

/* Who holds a seat. */
struct noise_holder {
	unsigned long long cgroup; /* 0: nobody */
	unsigned int dead; /* its cgroup was removed */
	unsigned int depth;
	unsigned long long above[NOISE_DEPTH]; /* ids of the cgroups it is in, nearest first */
};

struct noise_event {
	unsigned long long at_ns; /* monotonic clock, when it got the CPU */
	unsigned long long waited_ns;
	unsigned long long culprit_ns; /* at least so much of it is the culprit's */
	unsigned int victim;
	unsigned int culprit; /* who ran most of it; a seat, NOISE_IDLE, or 1 << 31 | reason */
	unsigned int cpu;
	unsigned int pid;
	char comm[NOISE_COMM];
};

struct noise_cost {
	unsigned long long runs;
	unsigned long long timed;
	unsigned long long ns;
};

/* What is missing in the books, counted. */
struct noise_loss {
	unsigned long long unseated; /* groups that found no seat: booked on seat 0 */
	unsigned long long unstamped; /* waits without a stamp, or with one made in sleep */
	unsigned long long backwards; /* waits that would have been negative */
	unsigned long long unseen; /* times the task that left was not the one that had come */
	unsigned long long carried; /* tasks moved in mid-wait whose wait so far is not known */
	unsigned long long pairs; /* the table of pairs was full: told as unknown */
	unsigned long long events; /* long waits not told: the limit, or a full buffer */
};

/* Shared words. User space writes the first lines, the programs the others. */
struct noise_shared {
	unsigned long long level; /* enum noise_level */
	unsigned long long events_ns; /* tell single waits of at least so long; 0: none */
	unsigned long long free_end; /* seats put into the list of free ones, ever */
	unsigned long long free_begin; /* seats taken out of it */
	unsigned long long round; /* number of the collection to come */
	unsigned long long changed; /* entries used in noise_changed */
	unsigned long long pairs; /* entries used in noise_pairs */
	struct noise_cost cost[NOISE_PROGRAMS]; /* as of the last collection */
	struct noise_loss loss;
};

/* The constants, gathered so that one mention brings all into the type information. */
struct noise_words {
	enum noise_limit limit;
	enum noise_bucket bucket;
	enum noise_seat seat;
	enum noise_level level;
	enum noise_reason reason;
	enum noise_program program;
};

#endif
