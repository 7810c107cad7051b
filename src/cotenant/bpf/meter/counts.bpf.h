/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What no book of the kernel holds per cgroup, counted here: packets, and block requests on v1. */
#ifndef COTENANT_METER_COUNTS_H
#define COTENANT_METER_COUNTS_H

static __always_inline void sum_traffic(__u64 cgroup, struct meter_traffic *sum)
{
	for (__u32 cpu = 0; cpu < METER_CPUS && cpu < config.cpus; cpu++) {
		struct meter_traffic *part =
			bpf_map_lookup_percpu_elem(&meter_traffic_of, &cgroup, cpu);

		if (!part)
			return;
		sum->received_bytes += part->received_bytes;
		sum->received_packets += part->received_packets;
		sum->sent_bytes += part->sent_bytes;
		sum->sent_packets += part->sent_packets;
	}
}

static __always_inline void add_traffic(struct meter_traffic *to, struct meter_traffic *more)
{
	to->received_bytes += more->received_bytes;
	to->received_packets += more->received_packets;
	to->sent_bytes += more->sent_bytes;
	to->sent_packets += more->sent_packets;
}

/* Parents are walked before their children, so each record was cleared before it is added to. */
static __always_inline void give_traffic(struct cgroup *cgrp, __u64 id)
{
	struct meter_traffic sum = {};

	if (!bpf_map_lookup_elem(&meter_traffic_of, &id))
		return;
	sum_traffic(id, &sum);
	for (int depth = 0; depth < MAX_DEPTH && cgrp; depth++) {
		__u32 slot;
		struct meter_record *record = record_of(cgroup_id(cgrp), 0, &slot);

		if (record && record->run == shared.run)
			add_traffic(&record->traffic, &sum);
		cgrp = cgroup_parent(cgrp);
	}
}

static __always_inline void list_disk(struct meter_disk *disk, __u32 slot)
{
	__u32 at = shared.disks;
	struct meter_disk *entry = bpf_map_lookup_elem(&meter_disk_list, &at);

	if (!entry) {
		shared.loss.disks++;
		return;
	}
	*entry = *disk;
	entry->slot = slot;
	shared.disks = at + 1;
}

/* v2: the kernel's own book, the list of (cgroup, device) pairs behind io.stat. */
static __always_inline void list_devices(struct cgroup_subsys_state *css, __u32 slot)
{
	struct blkcg *blkcg = (void *)css;
	struct hlist_node *node = BPF_CORE_READ(blkcg, blkg_list.first);

	for (int i = 0; i < MAX_DISKS && node; i++) {
		struct blkcg_gq *pair =
			(void *)node - bpf_core_field_offset(struct blkcg_gq, blkcg_node);
		struct gendisk *device = BPF_CORE_READ(pair, q, disk);
		struct blkg_iostat io = {};
		struct meter_disk disk = {};

		BPF_CORE_READ_INTO(&io.bytes, pair, iostat.cur.bytes);
		BPF_CORE_READ_INTO(&io.ios, pair, iostat.cur.ios);
		disk.read_bytes = io.bytes[0];
		disk.written_bytes = io.bytes[1];
		disk.reads = io.ios[0];
		disk.writes = io.ios[1];
		if (device && (disk.reads || disk.writes)) {
			disk.device = BPF_CORE_READ(device, major) << 20 |
				      BPF_CORE_READ(device, first_minor);
			list_disk(&disk, slot);
		}
		node = BPF_CORE_READ(node, next);
	}
}

/* All entries counted under an id, for the record in a slot. */
static __always_inline void list_disks(__u64 id, __u32 slot)
{
	for (__u32 cpu = 0; cpu < METER_CPUS && cpu < config.cpus; cpu++) {
		struct meter_disks *disks = bpf_map_lookup_percpu_elem(&meter_disks_of, &id, cpu);

		if (!disks)
			break;
		for (int i = 0; i < METER_DISKS; i++)
			if (disks->disk[i].reads || disks->disk[i].writes)
				list_disk(&disks->disk[i], slot);
	}
}

/* v1: what `block_issued` counted, one entry for the cgroup and each tenant around it. */
static __always_inline void give_disks(struct cgroup *cgrp, __u64 id, __u32 hierarchy)
{
	if (!bpf_map_lookup_elem(&meter_disks_of, &id))
		return;
	for (int depth = 0; depth < MAX_DEPTH && cgrp; depth++) {
		__u32 slot;

		if (record_of(cgroup_id(cgrp), hierarchy, &slot))
			list_disks(id, slot);
		cgrp = cgroup_parent(cgrp);
	}
}

/* What nobody is charged for: part of the whole host, and an account of its own. */
static __always_inline void give_nobodys_disks(struct cgroup *root, __u32 hierarchy)
{
	__u32 slot;

	if (record_of(cgroup_id(root), hierarchy, &slot))
		list_disks(NOBODYS, slot);
	list_disks(NOBODYS, METER_NOBODY);
}

static __always_inline struct meter_traffic *traffic_of(struct __sk_buff *skb)
{
	struct meter_traffic none = {}, *traffic;
	__u64 id = bpf_skb_cgroup_id(skb);

	traffic = bpf_map_lookup_elem(&meter_traffic_of, &id);
	if (traffic)
		return traffic;
	bpf_map_update_elem(&meter_traffic_of, &id, &none, BPF_NOEXIST);
	traffic = bpf_map_lookup_elem(&meter_traffic_of, &id);
	if (!traffic)
		__sync_fetch_and_add(&shared.loss.traffic, 1);
	return traffic;
}

static __always_inline struct meter_disk *disk_of(struct meter_disks *disks, __u32 device)
{
	for (int i = 0; i < METER_DISKS - 1; i++) {
		struct meter_disk *disk = &disks->disk[i];

		if (disk->device == device)
			return disk;
		if (!disk->device) {
			disk->device = device;
			return disk;
		}
	}
	return &disks->disk[METER_DISKS - 1];
}

static __always_inline struct meter_disks *disks_of(__u64 id)
{
	static const struct meter_disks none = {};
	struct meter_disks *disks = bpf_map_lookup_elem(&meter_disks_of, &id);

	if (disks)
		return disks;
	bpf_map_update_elem(&meter_disks_of, &id, &none, BPF_NOEXIST);
	disks = bpf_map_lookup_elem(&meter_disks_of, &id);
	if (!disks)
		__sync_fetch_and_add(&shared.loss.traffic, 1);
	return disks;
}

/* Whose a request is: its cgroup's, or nobody's.
 *
 * On v1 pages know no block cgroup: write-back finds the owner of a page only where memory and io
 * are both on v2 (inode_cgwb_enabled, include/linux/backing-dev.h). Else a bio is charged to the
 * task that sends it off (bio_associate_blkg, block/blk-cgroup.c), and the flusher is a kernel
 * thread in the root, whoever wrote into the page. What someone waits for bears REQ_SYNC: fsync
 * (wbc_to_write_flags, include/linux/writeback.h), O_DIRECT (dio_bio_write_op, block/fops.c and
 * fs/iomap/direct-io.c), the journal. So an asynchronous write of the root is write-back, of data
 * or of the file system's own blocks, or memory swapped out. The sender's name would tell no
 * more, and at this point is that of who empties the queue: often a kernel thread for anyone.
 * Where sync(2) waits for pages that its first round left, these are taken for the root's own.
 */
static __always_inline __u64 owner_of(struct request *request, struct blkcg *blkcg)
{
	__u32 sync = bpf_core_enum_value_exists(enum req_flag_bits, __REQ_SYNC) ?
			     bpf_core_enum_value(enum req_flag_bits, __REQ_SYNC) :
			     __REQ_SYNC;

	if (!blkcg->css.parent && (request->cmd_flags & REQUEST_MASK) == REQUEST_WRITE &&
	    !(request->cmd_flags >> sync & 1))
		return NOBODYS;
	return blkcg->css.cgroup->kn->id;
}

/* A request counts when it goes to the device: all bios merged into it by then belong to one
 * cgroup (blk_cgroup_mergeable). One that comes back unserved is taken off again.
 */
static __always_inline void count_request(struct request *request, int sign)
{
	__u32 op = request->cmd_flags & REQUEST_MASK;
	struct gendisk *device = request->q->disk;
	struct meter_disks *disks;
	struct meter_disk *disk;
	struct bio *bio = request->bio;

	if (op > REQUEST_WRITE || !device || !bio || !bio->bi_blkg)
		return;
	disks = disks_of(owner_of(request, bio->bi_blkg->blkcg));
	if (!disks)
		return;
	disk = disk_of(disks, device->major << 20 | device->first_minor);
	if (op == REQUEST_READ) {
		disk->read_bytes += sign * (__u64)request->__data_len;
		disk->reads += sign;
	} else {
		disk->written_bytes += sign * (__u64)request->__data_len;
		disk->writes += sign;
	}
}

#endif
