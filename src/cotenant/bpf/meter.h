/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What crosses the border between meter.bpf.c and meter/read.py: this page and nothing else.
 *
 * kernel/records.py is generated from it, through the compiled object's type information; the
 * sizes are compared again when the object is loaded. Plain integers only.
 */
#ifndef COTENANT_METER_H
#define COTENANT_METER_H

#define METER_ABSENT (~0ULL) /* this kernel keeps no such counter, or knows no limit */

enum meter_limit {
	METER_SLOTS = 16384, /* tenants that fit the table; more are counted as lost */
	METER_NOBODY = METER_SLOTS, /* slot of disk entries that are charged to nobody */
	METER_HIERARCHIES = 5, /* trees that are read: cpu, memory, pids, blkio, unified */
	METER_DISKS = 4, /* block devices told apart per v1 cgroup; more share the last entry */
	METER_DISK_LIST = 16384, /* (tenant, device) pairs of one collection */
	METER_PATH = 512,
	METER_NO_SLOT = METER_SLOTS, /* a cgroup that is no tenant's */
	METER_CPUS = 1024, /* CPUs whose per-CPU values are summed */
	METER_TIMED = 1024, /* every so many runs, a program times itself */
};

enum meter_part {
	METER_CPU = 1 << 0,
	METER_THROTTLE = 1 << 1,
	METER_MEMORY = 1 << 2,
	METER_STATES_PART = 1 << 3,
	METER_PIDS = 1 << 4,
	METER_PRESSURE = 1 << 5,
	METER_TRAFFIC = 1 << 6,
	METER_VM = 1 << 7,
};

enum meter_state {
	METER_FILE,
	METER_ANON,
	METER_ANON_HUGE,
	METER_SHMEM,
	METER_FILE_MAPPED,
	METER_DIRTY,
	METER_WRITEBACK,
	METER_SWAP,
	METER_INACTIVE_FILE,
	METER_ACTIVE_FILE,
	METER_STATES,
	METER_KERNEL = METER_STATES, /* kept apart in the record: the newest of model.Memory */
	METER_STATES_ASKED,
};

enum meter_vm_event {
	METER_PGPGIN,
	METER_PGPGOUT,
	METER_PGFAULT,
	METER_PGMAJFAULT,
	METER_EVENTS,
};

enum meter_program {
	METER_RUN_RECEIVED,
	METER_RUN_SENT,
	METER_RUN_BLOCK,
	METER_RUN_LIFE,
	METER_PROGRAMS,
};

/* What user space found out about this host before loading; read-only for the programs. */
struct meter_config {
	unsigned int cpus;
	unsigned int page_size;
	unsigned int
		states_known; /* the places below were found; else memory.stat is left to files */
	unsigned int memory_on_v2; /* memory events are kept per cgroup on v2 only */
	unsigned int counting; /* packets, requests, births and deaths are counted meanwhile */
	unsigned int pressure; /* PSI is switched on */
	unsigned int watched; /* bit per hierarchy number whose births and deaths are told */
	unsigned int booked_every_ns; /* how often the scheduler books a task that keeps its CPU */

	int states[METER_STATES_ASKED]; /* index in vmstats->state or enum value; -1: none */
	int events[METER_EVENTS];
};

/* A cgroup of one hierarchy: ids are unique within a hierarchy only. */
struct meter_key {
	unsigned long long cgroup;
	unsigned int hierarchy;
	unsigned int zero;
};

struct meter_traffic {
	unsigned long long received_bytes;
	unsigned long long received_packets;
	unsigned long long sent_bytes;
	unsigned long long sent_packets;
};

struct meter_disk {
	unsigned int slot;
	unsigned int device; /* major << 20 | minor; 0: all that did not fit */
	unsigned long long read_bytes;
	unsigned long long written_bytes;
	unsigned long long reads;
	unsigned long long writes;
};

struct meter_disks {
	struct meter_disk disk[METER_DISKS];
};

/* One tenant in one collection. `parts` tells which groups below this collection filled. What lies
 * between `run` and `running_run` is the tenant's books: where no byte of it changed, user space
 * keeps what it decoded before.
 */
struct meter_record {
	unsigned long long run; /* number of the collection */
	unsigned long long parts; /* bits of enum meter_part */

	unsigned long long cpu_usage_ns; /* the slice that still runs included */
	unsigned long long cpu_user_ns; /* as the kernel keeps it, before cputime_adjust */
	unsigned long long cpu_system_ns;

	unsigned long long periods;
	unsigned long long throttled_periods;
	unsigned long long throttled_ns;
	unsigned long long quota_us; /* METER_ABSENT: no limit */
	unsigned long long period_us;
	unsigned long long shares;

	/* the order of model.Memory's fields */
	unsigned long long memory_usage; /* bytes */
	unsigned long long memory_limit; /* METER_ABSENT: no limit */
	unsigned long long memory_max_usage;
	unsigned long long memory_failures;
	unsigned long long states[METER_STATES]; /* bytes, by enum meter_state */
	unsigned long long events[METER_EVENTS]; /* by enum meter_vm_event */
	unsigned long long memory_low;
	unsigned long long memory_high;
	unsigned long long memory_max;
	unsigned long long memory_oom;
	unsigned long long memory_oom_kills;
	unsigned long long memory_kernel;

	unsigned long long pids;
	unsigned long long pids_limit; /* METER_ABSENT: no limit */

	unsigned long long pressure_us[6]; /* cpu, memory, io; some and full of each */

	struct meter_traffic traffic;

	unsigned long long vm_bytes;

	unsigned long long running_run; /* for the kernel side: the collection of running_ns, and */
	unsigned long long running_ns; /* time of slices that were not booked yet */
};

/* A cgroup was made or removed. At its removal the books that outlive its processes come along:
 * everything in `last`, where `parts` says so.
 */
struct meter_life {
	struct meter_key key;
	unsigned int made;
	unsigned int cut; /* the path did not fit */
	unsigned long long at_ns;
	struct meter_record last;
	struct meter_disks disks;
	char path[METER_PATH];
};

/* What the last walk met at one step of its way: the next one mostly meets the same. */
struct meter_step {
	unsigned long long serial; /* the kernel's, used for no second cgroup */
	unsigned long long cgroup;
	unsigned int slot;
	unsigned int changes; /* as in meter_shared, when the slot was looked up */
};

/* Counters of what went missing, and of the programs' own cost. One per CPU. */
struct meter_cost {
	unsigned long long runs;
	unsigned long long timed;
	unsigned long long ns;
};

struct meter_loss {
	unsigned long long life; /* the ring buffer was full */
	unsigned long long traffic; /* the traffic table was full */
	unsigned long long disks; /* the disk table was full */
};

/* Words shared while a collection runs: user space writes `run`, `changes` and `tree`, the programs
 * the rest.
 */
struct meter_shared {
	unsigned long long run;
	long long clock_lag; /* monotonic clock less the scheduler's, smallest seen */
	long long clock_at;
	unsigned int disks; /* entries used in meter_disk_list */
	unsigned int changes; /* of who holds which slot */
	unsigned int tree; /* which of the trees is walked, by number in the order of walking */
	unsigned int zero;
	struct meter_loss loss;
};

/* The constants, gathered so that one mention brings all into the type information. */
struct meter_words {
	enum meter_limit limit;
	enum meter_part part;
	enum meter_state state;
	enum meter_vm_event event;
	enum meter_program program;
};

#endif
