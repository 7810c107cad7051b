/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Small steps the other files share: ids, parents, controllers, slots, and the cost of a run. */
#ifndef COTENANT_METER_WALK_H
#define COTENANT_METER_WALK_H

static __always_inline __u64 cost_begin(__u32 program)
{
	struct meter_cost *cost = bpf_map_lookup_elem(&meter_costs, &program);

	if (!cost || ++cost->runs % METER_TIMED)
		return 0;
	return bpf_ktime_get_ns();
}

static __always_inline void cost_end(__u32 program, __u64 began)
{
	struct meter_cost *cost;

	if (!began)
		return;
	cost = bpf_map_lookup_elem(&meter_costs, &program);
	if (cost) {
		cost->timed++;
		cost->ns += bpf_ktime_get_ns() - began;
	}
}

static __always_inline __u64 cgroup_id(struct cgroup *cgrp)
{
	return BPF_CORE_READ(cgrp, kn, id);
}

/* The cgroup above, NULL above the root. `self` is a css whose `cgroup` is its owner. */
static __always_inline struct cgroup *cgroup_parent(struct cgroup *cgrp)
{
	struct cgroup_subsys_state *above = BPF_CORE_READ(cgrp, self.parent);

	return above ? BPF_CORE_READ(above, cgroup) : NULL;
}

static __always_inline struct meter_record *record_of(__u64 cgroup, __u32 hierarchy, __u32 *slot)
{
	struct meter_key key = { .cgroup = cgroup, .hierarchy = hierarchy };
	__u32 *found = bpf_map_lookup_elem(&meter_slots, &key);

	if (!found)
		return NULL;
	*slot = *found;
	return bpf_map_lookup_elem(&meter_records, found);
}

/* The cgroup met at step `number` of the walk, its id and its slot, from the last walk's way where
 * that still holds. A cgroup's serial number is never used again (css_serial_nr_next), and lies
 * nearer than its id.
 */
static __always_inline void step_to(struct meter_step *step, struct cgroup *cgrp, __u64 number,
				    __u32 hierarchy)
{
	__u32 at = shared.tree * METER_SLOTS + number, *slot;
	struct meter_step *known = NULL;
	struct meter_key key = {};

	if (number < METER_SLOTS)
		known = bpf_map_lookup_elem(&meter_steps, &at);
	if (known && known->serial == cgrp->self.serial_nr && known->changes == shared.changes) {
		*step = *known;
		return;
	}
	key.cgroup = cgrp->kn->id;
	key.hierarchy = hierarchy;
	slot = bpf_map_lookup_elem(&meter_slots, &key);
	step->serial = cgrp->self.serial_nr;
	step->cgroup = key.cgroup;
	step->slot = slot ? *slot : METER_NO_SLOT;
	step->changes = shared.changes;
	if (known)
		*known = *step;
}

#define css_of(cgrp, id)                                                                           \
	(bpf_core_enum_value_exists(enum cgroup_subsys_id, id) ?                                   \
		 css_at(cgrp, bpf_core_enum_value(enum cgroup_subsys_id, id)) :                    \
		 NULL)

/* A plain load, so that the pointer keeps its type and may be handed to a kernel function. */
static __always_inline struct cgroup_subsys_state *css_at(struct cgroup *cgrp, __u64 index)
{
	void *subsys = (void *)cgrp + bpf_core_field_offset(struct cgroup, subsys);

	return *(struct cgroup_subsys_state **)(subsys + index * sizeof(void *));
}

#endif
