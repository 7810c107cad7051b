/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Births and deaths, and the books that the dead leave behind. */
#ifndef COTENANT_METER_LAST_H
#define COTENANT_METER_LAST_H

struct meter_total {
	struct task_group *group;
	__u64 ns;
};

static long add_ran(__u32 cpu, struct meter_total *total)
{
	total->ns += ran_on(total->group, cpu);
	return 0;
}

/* The group's entities hold what it ran on each CPU, exact and without a flush. */
static __always_inline void last_cpu(struct meter_record *last, struct cgroup_subsys_state *css)
{
	struct meter_total total = { .group = (void *)css };

	bpf_loop(config.cpus, add_ran, &total, 0);
	if (total.ns) { /* nothing at all: not reached on this kernel, or it never ran */
		last->cpu_usage_ns = total.ns;
		last->parts |= METER_CPU;
	}
	read_throttle(last, css);
}

/* What died goes on in the cgroup above: the books of a container keep what its units used. */
static __always_inline void last_traffic(struct meter_life *life, struct cgroup *cgrp)
{
	__u64 id = life->key.cgroup, above;
	struct meter_traffic *kept, none = {};
	struct cgroup *parent = cgroup_parent(cgrp);

	life->last.parts |= METER_TRAFFIC;
	if (!bpf_map_lookup_elem(&meter_traffic_of, &id))
		return;
	sum_traffic(id, &life->last.traffic);
	bpf_map_delete_elem(&meter_traffic_of, &id);
	if (!parent)
		return;
	above = cgroup_id(parent);
	bpf_map_update_elem(&meter_traffic_of, &above, &none, BPF_NOEXIST);
	kept = bpf_map_lookup_elem(&meter_traffic_of, &above);
	if (kept)
		add_traffic(kept, &life->last.traffic);
}

static __always_inline void add_disk(struct meter_disk *to, struct meter_disk *more)
{
	to->read_bytes += more->read_bytes;
	to->written_bytes += more->written_bytes;
	to->reads += more->reads;
	to->writes += more->writes;
}

static __always_inline void last_disks(struct meter_life *life, struct cgroup *cgrp)
{
	__u64 id = life->key.cgroup;
	struct cgroup *parent = cgroup_parent(cgrp);
	struct meter_disks *kept;

	if (!bpf_map_lookup_elem(&meter_disks_of, &id))
		return;
	for (__u32 cpu = 0; cpu < METER_CPUS && cpu < config.cpus; cpu++) {
		struct meter_disks *disks = bpf_map_lookup_percpu_elem(&meter_disks_of, &id, cpu);

		if (!disks)
			break;
		for (int i = 0; i < METER_DISKS; i++)
			if (disks->disk[i].reads || disks->disk[i].writes)
				add_disk(disk_of(&life->disks, disks->disk[i].device),
					 &disks->disk[i]);
	}
	bpf_map_delete_elem(&meter_disks_of, &id);
	kept = parent ? disks_of(cgroup_id(parent)) : NULL;
	if (!kept)
		return;
	for (int i = 0; i < METER_DISKS; i++)
		if (life->disks.disk[i].reads || life->disks.disk[i].writes)
			add_disk(disk_of(kept, life->disks.disk[i].device), &life->disks.disk[i]);
}

static __always_inline void last_books(struct meter_life *life, struct cgroup *cgrp)
{
	struct cgroup_subsys_state *css;

	css = css_of(cgrp, cpu_cgrp_id);
	if (css)
		last_cpu(&life->last, css);
	css = css_of(cgrp, memory_cgrp_id);
	if (css)
		read_memory(&life->last, css);
	if (life->key.hierarchy == 0)
		last_traffic(life, cgrp);
	else if (css_of(cgrp, io_cgrp_id))
		last_disks(life, cgrp);
}

static __always_inline int tell_life(struct cgroup *cgrp, const char *path, bool made)
{
	__u32 hierarchy = cgrp->root->hierarchy_id;
	struct meter_life *life;
	__u64 began;
	long length;

	if (hierarchy > 31 || !(config.watched & (1u << hierarchy)))
		return 0;
	began = cost_begin(METER_RUN_LIFE);
	life = bpf_ringbuf_reserve(&meter_lives, sizeof(*life), 0);
	if (!life) {
		__sync_fetch_and_add(&shared.loss.life, 1);
		return 0;
	}
	__builtin_memset(life, 0, sizeof(*life) - METER_PATH);
	life->key.cgroup = cgrp->kn->id;
	life->key.hierarchy = hierarchy;
	life->made = made;
	life->at_ns = bpf_ktime_get_ns();
	length = bpf_probe_read_kernel_str(life->path, METER_PATH, path);
	life->cut = length < 0 || length == METER_PATH;
	if (!made)
		last_books(life, cgrp);
	bpf_ringbuf_submit(life, 0);
	cost_end(METER_RUN_LIFE, began);
	return 0;
}

#endif
