/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Registers and the top of the stack of who cannot be walked yet: user space does, a little later.
 *
 * Whoever lives for a few milliseconds is gone before its mappings are known here.
 */
#ifndef COTENANT_PROFILE_SNAPSHOT_H
#define COTENANT_PROFILE_SNAPSHOT_H

#define SECOND_NS 1000000000ULL

/* Whether a later walk may come further: of who is not young, all is known that will be. */
static __always_inline bool is_early(const struct profile_sample *sample)
{
	if (sample->end == PROFILE_END_NO_PROCESS)
		return true;
	return (sample->end == PROFILE_END_NO_MAPPING || sample->end == PROFILE_END_NO_TABLE) &&
	       ticks(bpf_ktime_get_boot_ns()) - sample->started < PROFILE_YOUNG_TICKS;
}

static __always_inline bool is_allowed(struct snapshot *snapshot)
{
	__u64 now = bpf_ktime_get_ns();

	if (now - snapshot->since >= SECOND_NS) {
		snapshot->since = now;
		snapshot->taken = 0;
	}
	return snapshot->taken++ < config.snapshots;
}

/* Copies the stack from sp on behind the words, in pieces that lie in one page each; where it ends.
 */
static __always_inline __u32 copy_stack(struct snapshot *snapshot, __u32 at, __u64 sp)
{
	__u32 piece = PROFILE_PAGE - (sp & (PROFILE_PAGE - 1));

	at &= SNAPSHOT_HEAD - 1;
	if (bpf_probe_read_user(&snapshot->data[at], piece, (void *)sp))
		return at;
	at += piece;
	sp += piece;
	for (int i = 0; i < PROFILE_SNAPSHOT_PAGES; i++) {
		if (bpf_probe_read_user(&snapshot->data[at], PROFILE_PAGE, (void *)sp))
			break;
		at += PROFILE_PAGE;
		sp += PROFILE_PAGE;
	}
	return at;
}

static __always_inline bool put_snapshot(struct walk *walk, struct snapshot *snapshot, void *ctx)
{
	__u64 *words = (__u64 *)snapshot->data;
	struct profile_counts *count = counts();
	__u32 at = PROFILE_REGISTERS * sizeof(__u64);
	long bytes;

	words[0] = walk->first_ip;
	words[1] = walk->first_sp;
	words[2] = walk->first_bp;
	bytes = bpf_get_stack(ctx, &words[PROFILE_REGISTERS], PROFILE_KERNEL_WORDS * sizeof(__u64),
			      0);
	if (bytes > 0)
		at += bytes;
	snapshot->sample = walk->sample;
	snapshot->sample.user = PROFILE_REGISTERS;
	at = copy_stack(snapshot, at, walk->first_sp);
	if (bpf_ringbuf_output(&profile_snapshots, &snapshot->sample, sizeof(snapshot->sample) + at,
			       BPF_RB_NO_WAKEUP))
		return false;
	if (count)
		count->samples++;
	return true;
}

/* Tells a snapshot in place of the sample; false: it was not the time for one, or not the room. */
static __always_inline bool defer(struct walk *walk, void *ctx)
{
	struct snapshot *snapshot;
	__u32 zero = 0;
	bool told;

	if (!is_early(&walk->sample))
		return false;
	snapshot = bpf_map_lookup_elem(&profile_snapshot, &zero);
	if (!snapshot || snapshot->busy || !is_allowed(snapshot))
		return false;
	snapshot->busy = 1;
	told = put_snapshot(walk, snapshot, ctx);
	snapshot->busy = 0;
	return told;
}

#endif
