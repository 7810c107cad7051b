/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A forked process has its parent's mappings at once, before user space hears of it. */
#ifndef COTENANT_PROFILE_LIVES_H
#define COTENANT_PROFILE_LIVES_H

static __always_inline void inherit(struct task_struct *parent, struct task_struct *child)
{
	__u32 from = parent->tgid, to = child->tgid;
	struct profile_process *known, copy;

	if (child->pid != child->tgid) /* a thread */
		return;
	known = bpf_map_lookup_elem(&profile_processes, &from);
	if (!known)
		return;
	copy = *known;
	copy.started = ticks(BPF_CORE_READ(child, start_boottime));
	bpf_map_update_elem(&profile_processes, &to, &copy, BPF_ANY);
}

#endif
