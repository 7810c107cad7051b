/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where a task group keeps its run queue and its entity of each CPU.
 *
 * For long in arrays of pointers, `se` and `cfs_rq`; in 7.2 in per-CPU memory, as struct
 * cfs_tg_state, without `se`. A program may follow a per-CPU pointer only from a variable it knows:
 * how far `runqueues` of a CPU lies from `runqueues` itself is how far all its variables do.
 */
#ifndef COTENANT_METER_GROUPS_H
#define COTENANT_METER_GROUPS_H

static __always_inline bool groups_are_arrays(void)
{
	return bpf_core_field_exists(((struct task_group *)0)->se);
}

#ifdef METER_MEMCG_KFUNCS

extern const struct rq runqueues __ksym;

/* Addresses of `runqueues`, first of the variable itself, then of each CPU's. They are written here
 * once, which makes plain numbers of pointers that the verifier would not let us subtract.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 + METER_CPUS);
	__type(key, __u32);
	__type(value, __u64);
} meter_runqueues SEC(".maps");

static long find_rq(__u32 cpu, void *unused)
{
	__u32 at = cpu + 1;
	__u64 *address = bpf_map_lookup_elem(&meter_runqueues, &at);
	const struct rq *rq = bpf_per_cpu_ptr(&runqueues, cpu);

	if (address && rq)
		*address = (__u64)rq;
	return 0;
}

static __always_inline void find_runqueues(void)
{
	__u32 at = 0;
	__u64 *address = bpf_map_lookup_elem(&meter_runqueues, &at);

	if (!address || *address)
		return;
	*address = (__u64)&runqueues;
	bpf_loop(config.cpus, find_rq, NULL, 0);
}

static __always_inline __u64 runqueues_at(__u32 at)
{
	__u64 *address = bpf_map_lookup_elem(&meter_runqueues, &at);

	return address ? *address : 0;
}

static __always_inline struct rq *percpu_rq(__u32 cpu)
{
	return (struct rq *)runqueues_at(cpu + 1);
}

static __always_inline __u64 percpu_ran(struct task_group *group, __u32 cpu)
{
	struct task_group___percpu *percpu = (void *)group;
	struct cfs_tg_state *state = (void *)BPF_CORE_READ(percpu, cfs_rq);
	__u64 rq = runqueues_at(cpu + 1);

	if (!state || !rq)
		return 0;
	state = (void *)state + (rq - runqueues_at(0));
	return BPF_CORE_READ(state, se.sum_exec_runtime);
}

#else

static __always_inline void find_runqueues(void)
{
}

static __always_inline struct rq *percpu_rq(__u32 cpu)
{
	return NULL;
}

static __always_inline __u64 percpu_ran(struct task_group *group, __u32 cpu)
{
	return 0;
}

#endif

/* The CPU's run queue; `root` is the root task group. NULL where it cannot be reached. */
static __always_inline struct rq *rq_of(struct task_group *root, __u32 cpu)
{
	struct cfs_rq *cfs_rq = NULL;

	if (!groups_are_arrays())
		return percpu_rq(cpu);
	bpf_probe_read_kernel(&cfs_rq, sizeof(cfs_rq), BPF_CORE_READ(root, cfs_rq) + cpu);
	return cfs_rq ? BPF_CORE_READ(cfs_rq, rq) : NULL;
}

/* How long the group's tasks ran on the CPU, those of the real-time classes left out. */
static __always_inline __u64 ran_on(struct task_group *group, __u32 cpu)
{
	struct sched_entity *se = NULL;

	if (!groups_are_arrays())
		return percpu_ran(group, cpu);
	bpf_probe_read_kernel(&se, sizeof(se), BPF_CORE_READ(group, se) + cpu);
	return se ? BPF_CORE_READ(se, sum_exec_runtime) : 0;
}

#endif
