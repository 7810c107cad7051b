/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What crosses the border between profile.bpf.c and profile/read.py: this page and nothing else.
 *
 * A stack is a row of words, innermost frame first: those of user space, then those of the kernel,
 * which are plain addresses. A word of user space is one of
 *   1 << 63 | address                 a Python frame, by its code object; the next word holds how
 *                                     many bytes of bytecode the frame had come in its upper, the
 *                                     code's first line in its lower half
 *   1 << 62 | file << 44 | address    native code of a known file, as the file's symbols count
 *   address                           anything else: JIT code, or nobody knows what
 * An address that a call will return to is told less one: it lies in the call, not behind it.
 *
 * A snapshot is a sample whose process, or whose code, was not known yet: its words of user space
 * are the registers ip, sp and bp, and behind all words stand the bytes from sp on, so that the
 * stack can be walked later.
 */
#ifndef COTENANT_PROFILE_H
#define COTENANT_PROFILE_H

enum profile_limit {
	PROFILE_USER_WORDS = 384,
	PROFILE_KERNEL_WORDS = 127,
	PROFILE_WORDS = 512,
	PROFILE_STEPS = 512, /* of the unwinder, per stack */
	PROFILE_COMM = 16,
	PROFILE_CHUNK = 1024, /* words in one entry of the tables */
	PROFILE_FILES = 16384, /* number 0 is nobody's */
	PROFILE_PYTHONS = 256, /* number 0 is nobody's */
	PROFILE_RANGES = 4, /* of code, that an interpreter's loop consists of */
	PROFILE_FRAME_BYTES = 128, /* at most read of an interpreter's frame; power of two */
	PROFILE_TICK_NS = 10000000, /* starts are told in these, as /proc/PID/stat does */
	PROFILE_ADDRESS_BITS = 44,
	PROFILE_PAGE_BITS = 16, /* addresses in one page of an unwind table */
	PROFILE_RBP_LOST = 1, /* in a rule: the caller's rbp is not to be had */
	PROFILE_MOST_DEPTH = 16, /* cgroups above a group that may ask for samples of it */
	PROFILE_REGISTERS = 3, /* words of a snapshot's user space */
	PROFILE_SNAPSHOT_PAGES = 3, /* of a stack, behind the one that its sp lies in */
	PROFILE_PAGE = 4096,
	PROFILE_YOUNG_TICKS = 200, /* so long after its start a process still maps its libraries */
};

/* Which program took the sample. */
enum profile_type {
	PROFILE_CPU,
	PROFILE_OFF_CPU,
	PROFILE_ALLOC,
	PROFILE_FAULTS,
	PROFILE_TYPES,
};

/* How the caller's registers are found from the callee's, at one place in the code. */
enum profile_rule_kind {
	PROFILE_RULE_NONE, /* nothing is said about this place */
	PROFILE_RULE_RSP, /* frame address = rsp + cfa */
	PROFILE_RULE_RBP, /* = rbp + cfa */
	PROFILE_RULE_PLT, /* = rsp + 8, and 8 more from byte `cfa` of each 16 on */
	PROFILE_RULE_START, /* nobody called: the thread began here */
	PROFILE_RULE_SIGNAL, /* the kernel called: all registers stand in a ucontext at rsp */
	PROFILE_RULE_RSP_DEREF, /* = *(rsp + cfa) + 8: hand-written code that aligned its stack */
	PROFILE_RULE_UNSUPPORTED,
	PROFILE_RULE_RBP_DEREF, /* = *(rbp + cfa), and the caller's rbp at *rbp: compilers do so */
};

/* How a stack ended. */
enum profile_end {
	PROFILE_END_COMPLETE, /* at the thread's start */
	PROFILE_END_NO_PROCESS, /* its mappings are not known yet */
	PROFILE_END_NO_MAPPING, /* an address outside of all of them */
	PROFILE_END_NO_TABLE, /* code of a file without an unwind table */
	PROFILE_END_NO_RULE, /* code of which its table says nothing */
	PROFILE_END_UNSUPPORTED, /* a rule that is not followed */
	PROFILE_END_FAULT, /* memory of the stack was not there */
	PROFILE_END_JIT, /* JIT code that keeps no frame pointer */
	PROFILE_END_DEEP, /* more frames than are kept */
	PROFILE_END_SNAPSHOT, /* more stack than its snapshot has */
	PROFILE_ENDS,
};

/* What became of an interpreter's frames. */
enum profile_python_end {
	PROFILE_PYTHON_FINE, /* or none were looked for */
	PROFILE_PYTHON_NO_THREAD, /* where threads keep their state is not known yet */
	PROFILE_PYTHON_FAULT, /* memory of a frame was not there */
};

enum profile_mapping_kind {
	PROFILE_MAPPING_TABLE, /* unwound by the file's table */
	PROFILE_MAPPING_POINTER, /* a file whose code keeps frame pointers, as Go's does */
	PROFILE_MAPPING_JIT, /* no file; frame pointers */
};

/* An interpreter that reads a frame, by version. */
enum profile_python_kind {
	PROFILE_PYTHON_ONE, /* one frame for each run of the interpreter's loop (3.9, 3.10) */
	PROFILE_PYTHON_ENTRY, /* many; the outermost of a run is marked and real (3.11) */
	PROFILE_PYTHON_SHIM, /* many; what is marked stands between two runs, no frame (3.12 on) */
};

/* What user space found out before loading; read-only for the programs. */
struct profile_config {
	unsigned int unified; /* groups are cgroups of the v2 tree; else of v1's cpu hierarchy */
	unsigned int chosen; /* only groups in profile_rates are sampled; else all of them */
	unsigned int tallies; /* entries of the table of blocked time; power of two */
	unsigned int snapshots; /* at most, per CPU and second */
	unsigned long long alloc_every; /* one sample for so many bytes allocated */
	unsigned long long faults_every; /* one sample for so many page faults */
};

/* One part of a process's address space that holds code; sorted by address within a process. */
struct profile_mapping {
	unsigned long long start;
	unsigned long long end;
	unsigned long long bias; /* address in memory less address as the file's symbols count */
	unsigned int file;
	unsigned int kind;
};

struct profile_process {
	unsigned long long
		started; /* ticks since boot: tells a process from the next of its number */
	unsigned int first; /* its mappings */
	unsigned int count;
	int slot; /* where a thread keeps its interpreter's state, from its fs base; 0: see the
		     file's */
	unsigned int by_thread; /* its threads' states are in profile_threads */
};

/* Where the unwind table of a file lies, in words: pages, then rows, then rules of two words. */
struct profile_file {
	unsigned int pages;
	unsigned int first_page; /* addresses >> PROFILE_PAGE_BITS */
	unsigned int page_count; /* 0: there is no table */
	unsigned int rows;
	unsigned int rules;
	unsigned int python; /* the interpreter in it; 0: none */
};

struct profile_range {
	unsigned long long begin;
	unsigned long long end;
};

/* One interpreter: where its loop is, and how its frames look. Offsets are in bytes. */
struct profile_python {
	struct profile_range ranges[PROFILE_RANGES];
	int slot; /* where threads keep their state, from the fs base; 0: not known */
	unsigned int kind;
	unsigned int state_frame; /* in the thread's state: the innermost frame, */
	unsigned int state_cframe; /* or, one step further, in what stands there */
	unsigned int indirect; /* 1: it does take that step */
	unsigned int frame_bytes;
	unsigned int frame_code; /* in a frame */
	unsigned int frame_previous;
	unsigned int frame_last; /* the instruction it has come to */
	unsigned int frame_mark; /* the byte that marks entries and shims, */
	unsigned int mark; /* and its value */
	unsigned int last_scale; /* 0: a pointer; else an index of 4 bytes, times this */
	unsigned int code_first_line; /* in a code object */
	unsigned int code_begin; /* the first instruction */
};

/* A sample as it is told, followed by its words. All from `cgroup` on is the same for samples of
 * one stack.
 */
struct profile_sample {
	unsigned long long at_ns; /* monotonic clock */
	unsigned long long value; /* nanoseconds, bytes or faults; 0: one tick of the CPU's clock */
	unsigned long long stack; /* of blocked tasks: number of their stack, see profile_tally */
	unsigned long long cgroup;
	unsigned long long started;
	unsigned int tgid;
	unsigned int type;
	unsigned int end;
	unsigned int python_end;
	unsigned int user; /* words */
	unsigned int kernel;
	char comm[PROFILE_COMM];
};

/* Time that tasks were blocked at one stack, since the programs were loaded. */
struct profile_tally {
	unsigned long long stack; /* 0: free */
	unsigned long long count;
	unsigned long long ns;
};

/* What each CPU counts. */
struct profile_counts {
	unsigned long long samples; /* told */
	unsigned long long dropped; /* no room in the ring buffer */
	unsigned long long idle; /* the CPU was */
	unsigned long long
		filtered; /* of groups nobody asked for, or skipped to keep to their rate */
	unsigned long long busy; /* came while the same unwinder was at work */
	unsigned long long
		untallied; /* blocked, but no room to count it, or its end was not told */
	unsigned long long runs[PROFILE_TYPES]; /* of the programs */
	unsigned long long ns[PROFILE_TYPES]; /* what those runs took, all of them timed */
};

/* The constants, gathered so that one mention brings all into the type information. */
struct profile_words {
	enum profile_limit limit;
	enum profile_type type;
	enum profile_rule_kind rule;
	enum profile_end end;
	enum profile_python_end python_end;
	enum profile_mapping_kind mapping;
	enum profile_python_kind python;
};

#endif
