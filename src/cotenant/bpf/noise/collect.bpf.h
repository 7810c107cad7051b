/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Sums what the CPUs keep into what user space reads: only groups that were touched since. */
#ifndef COTENANT_NOISE_COLLECT_H
#define COTENANT_NOISE_COLLECT_H

struct gathering {
	struct noise_book *book;
	__u32 seat;
	__u64 round; /* books touched in it or later are told */
	bool changed;
};

static __always_inline void tell_pair(__u32 victim, __u32 culprit, __u64 ns, __u64 preempted)
{
	__u32 at = shared.pairs;
	struct noise_pair *pair = bpf_map_lookup_elem(&noise_pairs, &at);

	if (!pair)
		return;
	pair->victim = victim;
	pair->culprit = culprit;
	pair->ns = ns;
	pair->preempted = preempted;
	shared.pairs = at + 1;
}

/* A cell may change hands while we look: its CPU names the new culprit before it counts for it. */
static __always_inline void tell_cell(struct cell *cell, __u32 victim)
{
	volatile __u32 *culprit = &cell->culprit;
	__u32 who = *culprit, preempted;
	__u64 ns, told;

	if (!cell->round || shared.pairs >= NOISE_PAIRS)
		return;
	ns = *(volatile __u64 *)&cell->ns;
	told = cell->told_ns;
	preempted = *(volatile __u32 *)&cell->preempted;
	if (*culprit != who || (ns == told && preempted == cell->told_preempted))
		return;
	tell_pair(victim, who, ns - told, preempted - cell->told_preempted);
	cell->told_ns = ns;
	cell->told_preempted = preempted;
}

static long is_changed(__u32 number, struct gathering *gathering)
{
	struct desk *desk = desk_at(number, gathering->seat);

	if (desk && desk->book.round >= gathering->round)
		gathering->changed = true;
	return gathering->changed;
}

/* A wait may end while we look: it is counted first and sorted into its bucket then, so buckets are
 * read first, and never hold more than was counted.
 */
static long add_desk(__u32 number, struct gathering *gathering)
{
	struct noise_book *sum = gathering->book, *book;
	struct desk *desk = desk_at(number, gathering->seat);

	if (!desk || !sum)
		return 0;
	book = &desk->book;
	if (!book->round)
		return 0;
	for (int i = 0; i < NOISE_BUCKETS; i++)
		sum->buckets[i] += book->buckets[i];
	barrier();
	sum->ran_ns += book->ran_ns;
	sum->waits += book->waits;
	sum->waited_ns += book->waited_ns;
	sum->voluntary += book->voluntary;
	sum->involuntary += book->involuntary;
	sum->preempted_self += book->preempted_self;
	for (int i = 0; i < NOISE_REASONS; i++)
		sum->reasons[i] += book->reasons[i];
	for (int i = 0; i < CELLS; i++)
		tell_cell(&desk->cells[i], gathering->seat);
	return 0;
}

static long gather_seat(__u32 seat, struct gathering *gathering)
{
	static const struct noise_book none = {};
	__u32 at = shared.changed;
	struct noise_book *book = bpf_map_lookup_elem(&noise_books, &seat);
	__u64 *changed = bpf_map_lookup_elem(&noise_changed, &at);

	gathering->seat = seat;
	gathering->changed = false;
	bpf_loop(config.cpus, is_changed, gathering, 0);
	if (!gathering->changed || !book || !changed)
		return 0;
	bpf_map_update_elem(&noise_books, &seat, &none, BPF_ANY);
	book->round = shared.round;
	gathering->book = book;
	bpf_loop(config.cpus, add_desk, gathering, 0);
	*changed = seat;
	shared.changed = at + 1;
	return 0;
}

static long tell_spilled(void *map, struct spilled_key *key, struct spilled *spilled, void *none)
{
	__u64 ns = spilled->ns, preempted = spilled->preempted;

	if (ns == spilled->told_ns && preempted == spilled->told_preempted) {
		if (spilled->round + CELL_REST < shared.round)
			bpf_map_delete_elem(map, key);
		return 0;
	}
	if (shared.pairs >= NOISE_PAIRS)
		return 0;
	tell_pair(key->victim, key->culprit, ns - spilled->told_ns,
		  preempted - spilled->told_preempted);
	spilled->told_ns = ns;
	spilled->told_preempted = preempted;
	return 0;
}

static long add_cost(__u32 number, void *none)
{
	struct cpu *cpu = cpu_at(number);

	if (!cpu)
		return 0;
	for (int i = 0; i < NOISE_PROGRAMS; i++) {
		shared.cost[i].runs += cpu->cost[i].runs;
		shared.cost[i].timed += cpu->cost[i].timed;
		shared.cost[i].ns += cpu->cost[i].ns;
	}
	return 0;
}

/* A program that read the round just before it was raised may still write: the books of the last
 * two rounds are looked at. Where last time's table of pairs was full, a group may have been silent
 * since and yet have something untold: all books that were ever touched are looked at.
 */
static __always_inline void gather(void)
{
	struct gathering gathering = {};
	__u64 given = shared.free_begin + NOISE_FIRST_SEAT; /* seats are first given in order */

	gathering.round = shared.pairs < NOISE_PAIRS ? shared.round - 1 : 1;
	shared.changed = 0;
	shared.pairs = 0;
	shared.round++;
	bpf_loop(given < config.seats ? given : config.seats, gather_seat, &gathering, 0);
	bpf_for_each_map_elem(&noise_spilled, tell_spilled, NULL, 0);
	__builtin_memset(shared.cost, 0, sizeof(shared.cost));
	bpf_loop(config.cpus, add_cost, NULL, 0);
}

static long wipe_desk(__u32 number, __u32 *seat)
{
	static const struct desk clean = {};
	__u32 at = *seat * config.cpus + number;

	bpf_map_update_elem(&noise_desks, &at, &clean, BPF_ANY);
	return 0;
}

#endif
