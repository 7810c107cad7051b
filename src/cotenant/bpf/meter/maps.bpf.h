/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The meter's maps and settings, and the kernel functions it calls where they exist. */
#ifndef COTENANT_METER_MAPS_H
#define COTENANT_METER_MAPS_H

#define MAX_DEPTH 16 /* levels walked towards the root */
#define MAX_DISKS 16 /* block devices looked at per cgroup and collection */
#define REQUEST_READ 0 /* enum req_op, include/linux/blk_types.h */
#define REQUEST_WRITE 1
#define REQUEST_MASK 0xff
#define NOBODYS 0 /* no cgroup has this id (fs/kernfs/dir.c counts from 1) */

const volatile struct meter_config config SEC(".rodata.config") = {};
/* Never used: they bring these types into the object's type information. */
const struct meter_words *words __attribute__((unused));
const struct meter_life *told __attribute__((unused));

struct meter_shared shared SEC(".data.shared");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, METER_SLOTS * METER_HIERARCHIES);
	__type(key, struct meter_key);
	__type(value, __u32);
} meter_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, METER_SLOTS);
	__type(key, __u32);
	__type(value, struct meter_record);
} meter_records SEC(".maps");

/* The way of the last walk, tree by tree. Looked up by the number of the step, it is read in the
 * order of memory: in meter_slots each cgroup costs two or three misses of the cache.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, METER_SLOTS * METER_HIERARCHIES);
	__type(key, __u32);
	__type(value, struct meter_step);
} meter_steps SEC(".maps");

/* The first process of the tenant in each slot, 0 for none: whose virtual size is read. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, METER_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} meter_main_pids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, METER_DISK_LIST);
	__type(key, __u32);
	__type(value, struct meter_disk);
} meter_disk_list SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, METER_SLOTS);
	__type(key, __u64); /* cgroup id in the unified tree */
	__type(value, struct meter_traffic);
} meter_traffic_of SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, METER_SLOTS);
	__type(key, __u64); /* cgroup id in the blkio tree; NOBODYS */
	__type(value, struct meter_disks);
} meter_disks_of SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 * 1024 * 1024);
} meter_lives SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, METER_PROGRAMS);
	__type(key, __u32);
	__type(value, struct meter_cost);
} meter_costs SEC(".maps");

/* Whole vmstats arrays are copied here in one go: one read costs what fourteen would each. */
struct meter_scratch {
	long state[128];
	unsigned long events[128];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct meter_scratch);
} meter_scratches SEC(".maps");

/* Kernel functions. An object names only those that its kernel has: to look for one that is absent,
 * libbpf up to 1.2 must list the kernel's modules, which takes CAP_SYS_ADMIN. So the same source is
 * compiled once per set of functions, and user space opens the object that fits (programs.py).
 *
 * Up to 6.16 one flush served every controller (cgroup_rstat_flush); then each controller got a
 * tree of its own and the function a new name and argument (commit a97915559f5c).
 */
#ifdef METER_TREE_FLUSH
extern void cgroup_rstat_flush(struct cgroup *cgrp) __ksym;
#else
extern void css_rstat_flush(struct cgroup_subsys_state *css) __ksym;
extern struct task_struct *bpf_task_from_pid(__s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *task) __ksym;
#endif
#ifdef METER_MEMCG_KFUNCS
extern struct mem_cgroup *bpf_get_mem_cgroup(struct cgroup_subsys_state *css) __ksym;
extern void bpf_put_mem_cgroup(struct mem_cgroup *memcg) __ksym;
extern unsigned long bpf_mem_cgroup_page_state(struct mem_cgroup *memcg, int item) __ksym;
extern unsigned long bpf_mem_cgroup_vm_events(struct mem_cgroup *memcg,
					      enum vm_event_item event) __ksym;
#endif

#endif
