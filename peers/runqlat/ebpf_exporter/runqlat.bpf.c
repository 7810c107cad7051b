// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Run-queue waits for ebpf_exporter, which ships no such example since it left bcc behind (v2).
 *
 * Written as its examples are: tp_btf, a hash by pid, a per-CPU histogram by its own macros
 * (maps.bpf.h, taken from its module when this is built). One histogram of the host, without labels:
 * what costs it least.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "maps.bpf.h"

#define MAX_SLOT 26 /* of microseconds: 67 s */

struct runqlat_key_t {
	u64 bucket;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, u32);
	__type(value, u64);
} runqlat_queued SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, MAX_SLOT + 2);
	__type(key, struct runqlat_key_t);
	__type(value, u64);
} runqlat_seconds SEC(".maps");

static int queued(struct task_struct *task)
{
	u32 pid = task->pid;
	u64 ts;

	if (!pid)
		return 0;
	ts = bpf_ktime_get_ns();
	bpf_map_update_elem(&runqlat_queued, &pid, &ts, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(sched_wakeup, struct task_struct *task)
{
	return queued(task);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(sched_wakeup_new, struct task_struct *task)
{
	return queued(task);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct runqlat_key_t key = {};
	u32 pid = next->pid;
	u64 *ts, us;

	if (prev->__state == 0) /* TASK_RUNNING: it waits from now on */
		queued(prev);
	ts = bpf_map_lookup_elem(&runqlat_queued, &pid);
	if (!ts)
		return 0;
	us = (bpf_ktime_get_ns() - *ts) / 1000;
	bpf_map_delete_elem(&runqlat_queued, &pid);
	increment_exp2_histogram_nosync(&runqlat_seconds, key, us, MAX_SLOT);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
