// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Programs that do nothing, one at each hook by which run-queue waits are measured.
 *
 * The kernel's statistics charge every run of a program with two looks at the clock. What these
 * show is that charge; `cotenant bench noise` takes it off what others show at the same hook.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch)
{
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(sched_wakeup)
{
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(sched_wakeup_new)
{
	return 0;
}

SEC("tp_btf/sched_migrate_task")
int BPF_PROG(sched_migrate)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
