// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Programs that only count, one at each hook by which profiles are taken: what a hit costs by
 * itself, and how often there is one.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

__u64 hits;

static __always_inline int hit(void)
{
	__sync_fetch_and_add(&hits, 1);
	return 0;
}

SEC("perf_event")
int ticked(void *ctx)
{
	return hit();
}

SEC("uprobe")
int reached(void *ctx)
{
	return hit();
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
