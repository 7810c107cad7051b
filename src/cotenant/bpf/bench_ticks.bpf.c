// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What one tick of a CPU's clock takes in the kernel, whoever samples by it.
 *
 * The clock of perf events is a timer with one handler (perf_swevent_hrtimer,
 * kernel/events/core.c). All that is done for a sample is done in there: a BPF program that walks
 * the stack, or perf's own walk and its copy of the stack for later. `cotenant bench profile`
 * measures every profiler by it.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

struct hrtimer {
	void *function;
} RELOCATED;

struct hw_perf_event {
	struct hrtimer hrtimer;
} RELOCATED;

struct perf_event {
	struct hw_perf_event hw;
	struct task_struct *owner; /* who opened it */
} RELOCATED;

const volatile __u64 handler = 0; /* address of that function */

struct ticking {
	__u64 began;
	__u64 runs;
	__u64 ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ticking);
} bench_ticks SEC(".maps");

/* The process whose events are meant. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} bench_sampler SEC(".maps");

static __always_inline bool is_meant(struct hrtimer *timer)
{
	struct perf_event *event;
	__u32 zero = 0, *meant = bpf_map_lookup_elem(&bench_sampler, &zero);

	if ((unsigned long)timer->function != handler || !meant)
		return false;
	event = (void *)timer - bpf_core_field_offset(struct perf_event, hw.hrtimer);
	return BPF_CORE_READ(event, owner, tgid) == *meant;
}

static __always_inline struct ticking *ticking(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&bench_ticks, &zero);
}

SEC("tp_btf/hrtimer_expire_entry")
int BPF_PROG(tick_begins, struct hrtimer *timer)
{
	struct ticking *now;

	if (!is_meant(timer))
		return 0;
	now = ticking();
	if (now)
		now->began = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/hrtimer_expire_exit")
int BPF_PROG(tick_ended)
{
	struct ticking *now = ticking();

	if (now && now->began) {
		now->runs++;
		now->ns += bpf_ktime_get_ns() - now->began;
		now->began = 0;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
