// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What every tenant uses, read where the kernel keeps it.
 *
 * `meter` walks one cgroup tree (an iterator is attached to the root of each) and writes into the
 * record of every cgroup that user space gave a slot; the trees are joined by the slot, so that
 * user space decodes one record per tenant and makes no system call per tenant. The array is
 * mapped, not streamed: the iterator's seq file ends after one buffer of 32 KB with EOPNOTSUPP,
 * since the walk lets go of cgroup_mutex between two reads (kernel/bpf/cgroup_iter.c).
 *
 * The small programs count what no book of the kernel holds per cgroup: packets at the socket, and
 * block requests on cgroup v1. `cgroup_made` and `cgroup_removed` tell births and deaths.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "meter.h"
#include "meter/maps.bpf.h"
#include "meter/walk.bpf.h"
#include "meter/groups.bpf.h"
#include "meter/slices.bpf.h"
#include "meter/books.bpf.h"
#include "meter/counts.bpf.h"
#include "meter/last.bpf.h"

/* Pending per-CPU counts are folded into the books once per tree, at its root: a flush takes a
 * global lock, one per cgroup would make the meter the noisy neighbour. Where each controller has
 * a tree of its own, the verifier lets a program flush the CPU books alone (a controller's css is
 * no trusted pointer): memory is flushed by user space, which reads the root's memory.stat first,
 * and block devices are read from io.stat.
 */
static __always_inline void flush(struct cgroup *root)
{
#ifdef METER_TREE_FLUSH
	cgroup_rstat_flush(root);
#else
	css_rstat_flush(&root->self);
#endif
}

static __always_inline void begin_record(struct meter_record *record)
{
	record->run = shared.run;
	record->parts = 0;
	__builtin_memset(&record->traffic, 0, sizeof(record->traffic));
}

/* The parts that the v2 tree alone holds: CPU books, PSI, sockets. */
static __always_inline void read_unified(struct meter_record *record, struct cgroup *cgrp)
{
	read_cpu(record, cgrp);
	read_pressure(record, cgrp);
	if (config.counting)
		record->parts |= METER_TRAFFIC;
}

SEC("iter.s/cgroup")
int meter(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *cgrp = ctx->cgroup;
	struct cgroup_subsys_state *css;
	struct meter_step step = {};
	struct meter_record *record;
	__u32 hierarchy;

	if (!cgrp)
		return 0;
	hierarchy = cgrp->root->hierarchy_id;
	if (ctx->meta->seq_num == 0) {
		flush(cgrp);
		find_runqueues();
		if (hierarchy == 0)
			book_slices();
	}
	step_to(&step, cgrp, ctx->meta->seq_num, hierarchy);
	record = bpf_map_lookup_elem(&meter_records, &step.slot); /* NULL for METER_NO_SLOT */
	if (record) {
		if (record->run != shared.run)
			begin_record(record);
		if (hierarchy == 0)
			read_unified(record, cgrp);
		if (!(record->parts & METER_VM)) /* in the first tree that has the cgroup */
			read_vm(record, step.slot);
		css = css_of(cgrp, cpu_cgrp_id);
		if (css)
			read_throttle(record, css);
		css = css_of(cgrp, memory_cgrp_id);
		if (css) {
			read_memory(record, css);
			read_states(record, cgrp);
		}
		css = css_of(cgrp, pids_cgrp_id);
		if (css)
			read_pids(record, css);
#ifdef METER_TREE_FLUSH
		css = css_of(cgrp, io_cgrp_id);
		if (css && hierarchy == 0)
			list_devices(css, step.slot);
#endif
	}
	if (!config.counting)
		return 0;
	if (hierarchy == 0)
		give_traffic(cgrp, step.cgroup);
	else if (css_of(cgrp, io_cgrp_id)) {
		if (ctx->meta->seq_num == 0)
			give_nobodys_disks(cgrp, hierarchy);
		give_disks(cgrp, step.cgroup, hierarchy);
	}
	return 0;
}

SEC("cgroup_skb/ingress")
int received(struct __sk_buff *skb)
{
	__u64 began = cost_begin(METER_RUN_RECEIVED);
	struct meter_traffic *traffic = traffic_of(skb);

	if (traffic) {
		traffic->received_bytes += skb->len;
		traffic->received_packets++;
	}
	cost_end(METER_RUN_RECEIVED, began);
	return 1;
}

SEC("cgroup_skb/egress")
int sent(struct __sk_buff *skb)
{
	__u64 began = cost_begin(METER_RUN_SENT);
	struct meter_traffic *traffic = traffic_of(skb);

	if (traffic) {
		traffic->sent_bytes += skb->len;
		traffic->sent_packets++;
	}
	cost_end(METER_RUN_SENT, began);
	return 1;
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(block_issued, struct request *request)
{
	__u64 began = cost_begin(METER_RUN_BLOCK);

	count_request(request, 1);
	cost_end(METER_RUN_BLOCK, began);
	return 0;
}

SEC("tp_btf/block_rq_requeue")
int BPF_PROG(block_requeued, struct request *request)
{
	count_request(request, -1);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_made, struct cgroup *cgrp, const char *path)
{
	return tell_life(cgrp, path, true);
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_removed, struct cgroup *cgrp, const char *path)
{
	return tell_life(cgrp, path, false);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
