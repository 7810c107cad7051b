// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Where the time goes: whole stacks of native and interpreted code, told as they are sampled.
 *
 * Each program does the same: it asks whether the group is to be sampled, walks the stack of the
 * running thread up to where the thread began, and puts the words into a ring buffer. What it needs
 * to know about processes and their code, user space has put into maps before. Blocked time is
 * summed up in the kernel: a stack is told once, then counted.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "profile.h"
#include "profile/maps.bpf.h"
#include "profile/native.bpf.h"
#include "profile/python.bpf.h"
#include "profile/walk.bpf.h"
#include "profile/snapshot.bpf.h"
#include "profile/sample.bpf.h"
#include "profile/blocked.bpf.h"
#include "profile/lives.bpf.h"

SEC("perf_event")
int ticked(struct bpf_perf_event_data *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct walk *walk;

	if (!task->pid) {
		count_idle();
		return 0;
	}
	walk = begin_sample(task, PROFILE_CPU);
	if (!walk)
		return 0;
	if (ctx->regs.cs & USER_MODE)
		stand_at(walk, ctx->regs.ip, ctx->regs.sp, ctx->regs.bp);
	else
		stand_at_entry(walk, task);
	end_sample(walk, ctx, task, 0);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	unsigned int state = state_of(prev);

	if (prev->pid && !preempt && state && !(state & TASK_DEAD))
		block(ctx, prev);
	if (next->pid)
		unblock(next);
	return 0;
}

SEC("tp_btf/page_fault_user")
int BPF_PROG(faulted, unsigned long address, struct pt_regs *regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct walk *walk = begin_sample(task, PROFILE_FAULTS);
	__u64 times;

	if (!walk)
		return 0;
	times = due(walk, 1, config.faults_every);
	if (times) {
		stand_at_entry(walk, task);
		end_sample(walk, ctx, task, times);
	} else {
		add_cost(walk, PROFILE_FAULTS);
		leave_sample(walk);
	}
	return 0;
}

static __always_inline int allocated(struct pt_regs *ctx, __u64 bytes)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct walk *walk = begin_sample(task, PROFILE_ALLOC);
	__u64 times;

	if (!walk)
		return 0;
	times = due(walk, bytes, config.alloc_every);
	if (times) {
		stand_at(walk, ctx->ip, ctx->sp, ctx->bp);
		end_sample(walk, ctx, task, times);
	} else {
		add_cost(walk, PROFILE_ALLOC);
		leave_sample(walk);
	}
	return 0;
}

SEC("uprobe")
int allocated_first(struct pt_regs *ctx)
{
	return allocated(ctx, ctx->di);
}

SEC("uprobe")
int allocated_second(struct pt_regs *ctx)
{
	return allocated(ctx, ctx->si);
}

/* Without a block to begin with, realloc(3) goes on as malloc, which is counted there. */
SEC("uprobe")
int reallocated(struct pt_regs *ctx)
{
	return ctx->di ? allocated(ctx, ctx->si) : 0;
}

SEC("uprobe")
int allocated_third(struct pt_regs *ctx)
{
	return allocated(ctx, ctx->dx);
}

SEC("uprobe")
int allocated_product(struct pt_regs *ctx)
{
	return allocated(ctx, ctx->di * ctx->si);
}

/* CPython's own allocator takes what is larger from malloc, which is counted there. */
#define PYTHON_SMALL 512

SEC("uprobe")
int allocated_python_second(struct pt_regs *ctx)
{
	return ctx->si <= PYTHON_SMALL ? allocated(ctx, ctx->si) : 0;
}

SEC("uprobe")
int reallocated_python(struct pt_regs *ctx)
{
	return ctx->si && ctx->dx <= PYTHON_SMALL ? allocated(ctx, ctx->dx) : 0;
}

SEC("uprobe")
int allocated_python_product(struct pt_regs *ctx)
{
	__u64 bytes = ctx->si * ctx->dx;

	return bytes <= PYTHON_SMALL ? allocated(ctx, bytes) : 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	inherit(parent, child);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(executed, struct task_struct *task)
{
	__u32 tgid = task->tgid;

	bpf_map_delete_elem(&profile_processes, &tgid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
