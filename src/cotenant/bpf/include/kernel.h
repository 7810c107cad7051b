/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The kernel's types, as far as cotenant looks into them.
 *
 * Only the fields in use are named; the loader finds their true offsets in the running kernel's
 * own type information (CO-RE). So the tree builds on any machine, without a dumped vmlinux.h.
 * A `___suffix` names another kernel's version of a type: the loader ignores what follows `___`.
 */
#ifndef COTENANT_KERNEL_H
#define COTENANT_KERNEL_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u16 __sum16;
typedef __u32 __wsum;
typedef _Bool bool;

#define true 1
#define false 0
#ifndef NULL
#define NULL ((void *)0)
#endif

#define RELOCATED __attribute__((preserve_access_index))

/* Map types and flags (include/uapi/linux/bpf.h). */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum {
	BPF_RB_NO_WAKEUP = 1,
};
enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1U << 0,
	BPF_F_MMAPABLE = 1U << 10,
};

/* The context of cgroup_skb programs; user-visible and stable, so not relocated. */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
};

/* x86-64's registers; user-visible and stable, so not relocated. */
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};

/* The context of perf_event programs; likewise. */
struct bpf_perf_event_data {
	struct pt_regs regs;
	__u64 sample_period;
	__u64 addr;
};

enum cgroup_subsys_id {
	cpu_cgrp_id = 0,
	memory_cgrp_id = 1,
	io_cgrp_id = 2,
	pids_cgrp_id = 3,
	CGROUP_SUBSYS_COUNT = 16,
};

struct kernfs_node {
	__u64 id;
} RELOCATED;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	__u64 serial_nr;
	struct cgroup_subsys_state *parent;
	unsigned int flags;
} RELOCATED;

struct task_cputime {
	__u64 stime;
	__u64 utime;
	unsigned long long sum_exec_runtime;
} RELOCATED;

struct cgroup_base_stat {
	struct task_cputime cputime;
} RELOCATED;

struct cgroup_root {
	int hierarchy_id;
} RELOCATED;

struct psi_group {
	__u64 total[12];
} RELOCATED;

/* The same, as newer compilers describe it: not one array of 12 but 2 of 6. */
struct psi_group___nested {
	__u64 total[2][6];
} RELOCATED;

struct cgroup {
	struct cgroup_subsys_state self;
	int level;
	struct kernfs_node *kn;
	struct cgroup_subsys_state *subsys[CGROUP_SUBSYS_COUNT];
	struct cgroup_root *root;
	struct cgroup_base_stat bstat;
	struct psi_group *psi;
} RELOCATED;

/* CPU: task groups, run queues and the task that runs. */
struct cfs_bandwidth {
	__s64 period;
	__u64 quota;
	int nr_periods;
	int nr_throttled;
	__u64 throttled_time;
} RELOCATED;

struct sched_entity {
	__u64 exec_start;
	__u64 sum_exec_runtime;
	struct cfs_rq *cfs_rq;
} RELOCATED;

struct sched_entity___delayed { /* since 6.12 */
	unsigned char sched_delayed;
} RELOCATED;

struct sched_info {
	__u64 run_delay;
	__u64 last_arrival;
	__u64 last_queued;
} RELOCATED;

struct css_set {
	struct cgroup *dfl_cgrp;
} RELOCATED;

struct mm_struct {
	unsigned long total_vm;
} RELOCATED;

struct thread_struct { /* x86-64 */
	unsigned long fsbase;
} RELOCATED;

struct task_struct {
	int pid;
	int tgid;
	unsigned int flags;
	unsigned int __state;
	__u64 start_boottime;
	struct task_struct *group_leader;
	struct thread_struct thread;
	unsigned int on_rq; /* a byte since 7.2: the loader fits the load */
	struct sched_entity se;
	struct sched_info sched_info;
	struct css_set *cgroups;
	struct task_group *sched_task_group;
	struct mm_struct *mm;
	char comm[16];
} RELOCATED;

struct task_struct___state { /* before 5.14 */
	long state;
} RELOCATED;

struct task_struct___throttled { /* since 6.18 */
	bool throttled;
} RELOCATED;

struct rq {
	struct task_struct *curr;
	__u64 clock;
	__u64 clock_task;
	int cpu;
} RELOCATED;

struct rq___irq { /* CONFIG_IRQ_TIME_ACCOUNTING */
	__u64 prev_irq_time;
} RELOCATED;

struct rq___steal { /* CONFIG_PARAVIRT */
	__u64 prev_steal_time;
} RELOCATED;

struct rq___steal_rq { /* CONFIG_PARAVIRT_TIME_ACCOUNTING */
	__u64 prev_steal_time_rq;
} RELOCATED;

struct cfs_rq {
	struct rq *rq;
	__u64 throttled_clock_pelt_time;
	int throttle_count;
} RELOCATED;

struct cfs_rq___self { /* since 6.6 */
	__u64 throttled_clock_self;
	__u64 throttled_clock_self_time;
} RELOCATED;

struct task_group {
	struct cgroup_subsys_state css;
	struct sched_entity **se;
	struct cfs_rq **cfs_rq;
	unsigned long shares;
	struct task_group *parent;
	struct cfs_bandwidth cfs_bandwidth;
} RELOCATED;

struct cfs_tg_state {
	struct cfs_rq cfs_rq;
	struct sched_entity se;
} RELOCATED;

struct task_group___percpu {
	struct cfs_rq *cfs_rq;
} RELOCATED;

/* Memory. */
typedef struct {
	long counter;
} atomic_long_t;

typedef struct {
	__s64 counter;
} atomic64_t;

struct page_counter {
	atomic_long_t usage;
	unsigned long failcnt;
	unsigned long watermark;
	unsigned long max;
} RELOCATED;

/* Its values differ from kernel to kernel: user space looks them up. */
enum vm_event_item {
	PGPGIN,
};

struct memcg_vmstats {
	long state[1];
	unsigned long events[1];
} RELOCATED;

enum memcg_memory_event {
	MEMCG_LOW,
	MEMCG_HIGH,
	MEMCG_MAX,
	MEMCG_OOM,
	MEMCG_OOM_KILL,
	MEMCG_EVENTS_IN_USE,
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
	struct memcg_vmstats *vmstats;
	atomic_long_t memory_events[MEMCG_EVENTS_IN_USE];
} RELOCATED;

struct pids_cgroup {
	struct cgroup_subsys_state css;
	atomic64_t counter;
	atomic64_t limit;
} RELOCATED;

/* Block IO. */
enum req_flag_bits {
	__REQ_SYNC = 11,
};

struct gendisk {
	int major;
	int first_minor;
} RELOCATED;

struct request_queue {
	struct gendisk *disk;
} RELOCATED;

struct hlist_node {
	struct hlist_node *next;
} RELOCATED;

struct hlist_head {
	struct hlist_node *first;
} RELOCATED;

struct blkg_iostat {
	__u64 bytes[3];
	__u64 ios[3];
} RELOCATED;

struct blkg_iostat_set {
	struct blkg_iostat cur;
} RELOCATED;

struct blkcg {
	struct cgroup_subsys_state css;
	struct hlist_head blkg_list;
} RELOCATED;

struct blkcg_gq {
	struct request_queue *q;
	struct hlist_node blkcg_node;
	struct blkcg *blkcg;
	struct blkg_iostat_set iostat;
} RELOCATED;

struct bio {
	struct blkcg_gq *bi_blkg;
} RELOCATED;

struct request {
	struct request_queue *q;
	__u32 cmd_flags;
	unsigned int __data_len;
	struct bio *bio;
} RELOCATED;

/* The context of iter/cgroup programs (kernel/bpf/cgroup_iter.c). */
struct bpf_iter_meta {
	__u64 seq_num;
} RELOCATED;

struct bpf_iter__cgroup {
	struct bpf_iter_meta *meta;
	struct cgroup *cgroup;
} RELOCATED;

#endif
