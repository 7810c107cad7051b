/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From a native frame to its caller's: by the file's unwind table, or by the frame pointer. */
#ifndef COTENANT_PROFILE_NATIVE_H
#define COTENANT_PROFILE_NATIVE_H

#define MAPPING_STEPS 16 /* of the search: 2^16 mappings in one process */
#define ROW_STEPS 16 /* a page of 2^16 addresses has no more rows */

/* x86-64's ucontext, as the kernel leaves it on the stack for a signal's handler
 * (arch/x86/include/uapi/asm/sigcontext.h): uc_mcontext begins at 40.
 */
#define UCONTEXT_RBP (40 + 10 * 8)
#define UCONTEXT_RSP (40 + 15 * 8)
#define UCONTEXT_RIP (40 + 16 * 8)

#define BEHIND_CALL 16 /* bytes: a call, a look at its answer, and two jumps */
#define CLONE_CALL 56 /* arch/x86/entry/syscalls/syscall_64.tbl */
#define CLONE3_CALL 435

struct ucontext_part {
	__u64 rbp, rbx, rdx, rax, rcx, rsp, rip;
};

static __always_inline __u32 word_at(__u32 index)
{
	__u32 at = index / PROFILE_CHUNK;
	struct chunk *chunk = bpf_map_lookup_elem(&profile_tables, &at);

	return chunk ? chunk->words[index % PROFILE_CHUNK] : 0;
}

/* Of `count` mappings from `first` on, the one that holds the address, plus 1; 0: none does.
 *
 * A global function, as the next: the verifier looks at it once, not at every turn of the walk.
 */
__noinline __u32 find_mapping(__u32 first, __u32 count, __u64 ip)
{
	__u32 low = first, high = first + count;

	for (int i = 0; i < MAPPING_STEPS && low < high; i++) {
		__u32 middle = (low + high) / 2;
		struct profile_mapping *at = bpf_map_lookup_elem(&profile_mappings, &middle);

		if (!at)
			return 0;
		if (at->start > ip)
			high = middle;
		else if (at->end > ip)
			return middle + 1;
		else
			low = middle + 1;
	}
	return 0;
}

/* The row that covers a place in a page of a table, from row `low` on; 0: none does. */
__noinline __u32 find_row(__u32 low, __u32 high, __u32 in_page)
{
	__u32 found = 0;

	for (int i = 0; i <= ROW_STEPS && low < high; i++) {
		__u32 middle = (low + high) / 2, row = word_at(middle);

		if ((row & 0xffff) <= in_page) {
			found = row;
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return found;
}

/* The rule for an address of the file; false: its table has none. Rule 0 of any table is NONE, so
 * that a row that was not found says the same.
 */
static __always_inline bool rule_of(const struct profile_file *file, __u64 address,
				    struct rule *rule)
{
	__u32 page = (address >> PROFILE_PAGE_BITS) - file->first_page, at = file->pages + page,
	      word;

	if (page >= file->page_count)
		return false;
	word = find_row(file->rows + word_at(at), file->rows + word_at(at + 1),
			address & ((1 << PROFILE_PAGE_BITS) - 1));
	at = file->rules + (word >> 16) * 2;
	rule->cfa = word_at(at);
	word = word_at(at + 1);
	rule->rbp = (__s16)(word & 0xffff);
	rule->kind = word >> 16;
	return rule->kind != PROFILE_RULE_NONE;
}

static __always_inline long end_walk(struct walk *walk, __u32 end)
{
	walk->sample.end = end;
	return 1;
}

static __always_inline bool is_known(const struct place *place, const struct walk *walk)
{
	return place->ip == walk->ip && place->first == walk->process.first &&
	       place->epoch == walk->epoch;
}

/* What is known of the walk's address, found out if need be; PROFILE_END_COMPLETE, or why nothing
 * is. A rule that was not found is looked for again: its table may come.
 */
static __always_inline __u32 find_place(struct walk *walk, struct place *place)
{
	__u32 number = find_mapping(walk->process.first, walk->process.count, walk->ip) - 1;
	struct profile_mapping *mapping = bpf_map_lookup_elem(&profile_mappings, &number);
	struct profile_file *file;
	struct rule rule = {};

	place->ip = 0;
	if (!mapping)
		return PROFILE_END_NO_MAPPING;
	number = mapping->file;
	file = bpf_map_lookup_elem(&profile_files, &number);
	if (!file)
		return PROFILE_END_NO_MAPPING;
	place->address = walk->ip - mapping->bias;
	place->first = walk->process.first;
	place->epoch = walk->epoch;
	place->file = number;
	place->python = file->python;
	place->mapping = mapping->kind;
	if (mapping->kind == PROFILE_MAPPING_TABLE && !rule_of(file, place->address, &rule)) {
		place->rule = rule;
		return file->page_count ? PROFILE_END_NO_RULE : PROFILE_END_NO_TABLE;
	}
	place->rule = rule;
	place->ip = walk->ip;
	return PROFILE_END_COMPLETE;
}

static __always_inline long back_from_signal(struct walk *walk)
{
	struct ucontext_part saved;

	if (bpf_probe_read_user(&saved, sizeof(saved), (void *)(walk->sp + UCONTEXT_RBP)))
		return end_walk(walk, PROFILE_END_FAULT);
	walk->ip = saved.rip;
	walk->sp = saved.rsp;
	walk->bp = saved.rbp;
	return 0;
}

/* To the caller of a frame whose address (CFA) is known; the caller's rbp was saved at `saved_bp`,
 * or is still there where that is 0.
 */
static __always_inline long return_to(struct walk *walk, __u64 cfa, __u64 saved_bp)
{
	struct {
		__u64 bp, back;
	} both = {};
	__u64 back = 0, bp = walk->bp;

	if (saved_bp == cfa - sizeof(both)) { /* as a rule: one beside the other */
		if (bpf_probe_read_user(&both, sizeof(both), (void *)saved_bp))
			return end_walk(walk, PROFILE_END_FAULT);
		back = both.back;
		bp = both.bp;
	} else if (bpf_probe_read_user(&back, sizeof(back), (void *)(cfa - 8))) {
		return end_walk(walk, PROFILE_END_FAULT);
	} else if (saved_bp == cfa + PROFILE_RBP_LOST)
		bp = PROFILE_RBP_LOST; /* whoever needs it will find no memory there */
	else if (saved_bp && bpf_probe_read_user(&bp, sizeof(bp), (void *)saved_bp))
		return end_walk(walk, PROFILE_END_FAULT);
	if (!back)
		return end_walk(walk, PROFILE_END_COMPLETE);
	walk->ip = back - 1;
	walk->sp = cfa;
	walk->bp = bp;
	return 0;
}

/* Go's chain of frame pointers leads from one stack to another and back. A JIT's does not: there a
 * frame pointer below the stack pointer is something else.
 */
static __always_inline long step_by_pointer(struct walk *walk, __u32 kind)
{
	if (!walk->bp) /* how Go, and JITs' entry code, mark a thread's first frame */
		return end_walk(walk, PROFILE_END_COMPLETE);
	if (kind == PROFILE_MAPPING_JIT && walk->bp < walk->sp)
		return end_walk(walk, PROFILE_END_JIT);
	return return_to(walk, walk->bp + 16, walk->bp);
}

/* Whether a system call is made by the code right before that address. A global function, see
 * find_mapping().
 */
__noinline int is_behind_call(__u64 ip)
{
	__u8 code[BEHIND_CALL] = {};

	if (bpf_probe_read_user(code, sizeof(code), (void *)(ip - sizeof(code))))
		return 0;
	for (int i = 0; i < BEHIND_CALL - 1; i++)
		if (code[i] == 0x0f && code[i + 1] == 0x05)
			return 1;
	return 0;
}

/* From a system call, or right behind it, without a rule: the C library's clone and clone3 have
 * none there, as what is true of the caller would be wrong in the new thread, which begins with
 * nobody's stack and with 0 for an answer (sysdeps/unix/sysv/linux/x86_64/clone.S of glibc). The
 * caller has pushed nothing.
 */
static __always_inline long step_from_call(struct walk *walk)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	__s64 number = BPF_CORE_READ(regs, orig_ax); /* below 0: interrupted, the call is over */
	__u64 back = 0;

	if ((number < 0 || number == CLONE_CALL || number == CLONE3_CALL) &&
	    !BPF_CORE_READ(regs, ax))
		return end_walk(walk, PROFILE_END_COMPLETE);
	if (bpf_probe_read_user(&back, sizeof(back), (void *)walk->sp) ||
	    !find_mapping(walk->process.first, walk->process.count, back))
		return end_walk(walk, PROFILE_END_NO_RULE);
	return return_to(walk, walk->sp + 8, 0);
}

/* Code of which its file's table says nothing, such as what V8 compiled before it was linked: it
 * keeps frame pointers. Believed where that leads back to known code.
 */
static __always_inline long step_unruled(struct walk *walk)
{
	__u64 back = 0;

	if (walk->ip == walk->first_ip && walk->sp == walk->first_sp && is_behind_call(walk->ip))
		return step_from_call(walk);
	if (!walk->bp)
		return end_walk(walk, PROFILE_END_COMPLETE);
	if (walk->bp < walk->sp ||
	    bpf_probe_read_user(&back, sizeof(back), (void *)(walk->bp + 8)) ||
	    !find_mapping(walk->process.first, walk->process.count, back))
		return end_walk(walk, PROFILE_END_NO_RULE);
	return return_to(walk, walk->bp + 16, walk->bp);
}

/* The address of this frame (CFA), and where the caller's rbp was saved; 0: the walk is over. */
static __always_inline __u64 frame_address(struct walk *walk, const struct rule *rule,
					   __u64 *saved_bp)
{
	__u64 cfa = 0;

	switch (rule->kind) {
	case PROFILE_RULE_RSP:
		cfa = walk->sp + (__s64)rule->cfa;
		break;
	case PROFILE_RULE_RBP:
		cfa = walk->bp + (__s64)rule->cfa;
		break;
	case PROFILE_RULE_PLT:
		cfa = walk->sp + 8 + ((walk->ip & 15) >= (__u64)(__u32)rule->cfa ? 8 : 0);
		break;
	case PROFILE_RULE_RSP_DEREF:
		if (!bpf_probe_read_user(&cfa, sizeof(cfa), (void *)(walk->sp + (__s64)rule->cfa)))
			cfa += 8;
		break;
	case PROFILE_RULE_RBP_DEREF:
		bpf_probe_read_user(&cfa, sizeof(cfa), (void *)(walk->bp + (__s64)rule->cfa));
		*saved_bp = walk->bp;
		break;
	case PROFILE_RULE_START:
		end_walk(walk, PROFILE_END_COMPLETE);
		return 0;
	default:
		end_walk(walk, PROFILE_END_UNSUPPORTED);
		return 0;
	}
	if (!cfa)
		end_walk(walk, PROFILE_END_FAULT);
	if (rule->rbp)
		*saved_bp = cfa + rule->rbp;
	return cfa;
}

#endif
