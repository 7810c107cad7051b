// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* meter.bpf.c for kernels where one flush serves every controller: Linux 6.1 to 6.16. */
#define METER_TREE_FLUSH
#include "meter.bpf.c"
