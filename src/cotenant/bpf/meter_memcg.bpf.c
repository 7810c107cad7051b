// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* meter.bpf.c for kernels that hand out memory.stat by functions: Linux 7.0 and newer. */
#define METER_MEMCG_KFUNCS
#include "meter.bpf.c"
