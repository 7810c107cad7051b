"""What crosses the border to the kernel. Made by scripts/gen_records.py: do not edit.

Each layout holds `format` (for the struct module), `size` in bytes, and `fields`: the name of every
value in order, arrays as `name[0]`, structs inside as `outer.inner`.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Layout(NamedTuple):
    """How one C struct lies in memory."""

    name: str
    size: int
    format: str
    fields: tuple[str, ...]

    def slice(self, first: str, last: str) -> slice:
        """Where the values from `first` to `last`, both included, stand in an unpacked tuple."""
        return slice(self.fields.index(first), self.fields.index(last) + 1)


def _names(words: str) -> tuple[str, ...]:
    return tuple(words.split())


# meter.h

METER_SLOTS: Final = 16384
METER_NOBODY: Final = 16384
METER_HIERARCHIES: Final = 5
METER_DISKS: Final = 4
METER_DISK_LIST: Final = 16384
METER_PATH: Final = 512
METER_NO_SLOT: Final = 16384
METER_CPUS: Final = 1024
METER_TIMED: Final = 1024

METER_CPU: Final = 1
METER_THROTTLE: Final = 2
METER_MEMORY: Final = 4
METER_STATES_PART: Final = 8
METER_PIDS: Final = 16
METER_PRESSURE: Final = 32
METER_TRAFFIC: Final = 64
METER_VM: Final = 128

METER_RUN_RECEIVED: Final = 0
METER_RUN_SENT: Final = 1
METER_RUN_BLOCK: Final = 2
METER_RUN_LIFE: Final = 3
METER_PROGRAMS: Final = 4

METER_FILE: Final = 0
METER_ANON: Final = 1
METER_ANON_HUGE: Final = 2
METER_SHMEM: Final = 3
METER_FILE_MAPPED: Final = 4
METER_DIRTY: Final = 5
METER_WRITEBACK: Final = 6
METER_SWAP: Final = 7
METER_INACTIVE_FILE: Final = 8
METER_ACTIVE_FILE: Final = 9
METER_STATES: Final = 10
METER_KERNEL: Final = 10
METER_STATES_ASKED: Final = 11

METER_PGPGIN: Final = 0
METER_PGPGOUT: Final = 1
METER_PGFAULT: Final = 2
METER_PGMAJFAULT: Final = 3
METER_EVENTS: Final = 4

METER_CONFIG_LAYOUT: Final = Layout(
    "meter_config",
    92,
    "=IIIIIIIIiiiiiiiiiiiiiii",
    _names(
        "cpus page_size states_known memory_on_v2 counting pressure watched booked_every_ns "
        "states[0] states[1] states[2] states[3] states[4] states[5] states[6] states[7] "
        "states[8] states[9] states[10] events[0] events[1] events[2] events[3] "
    ),
)

METER_COST_LAYOUT: Final = Layout(
    "meter_cost",
    24,
    "=QQQ",
    _names("runs timed ns"),
)

METER_DISK_LAYOUT: Final = Layout(
    "meter_disk",
    40,
    "=IIQQQQ",
    _names("slot device read_bytes written_bytes reads writes"),
)

METER_DISKS_LAYOUT: Final = Layout(
    "meter_disks",
    160,
    "=IIQQQQIIQQQQIIQQQQIIQQQQ",
    _names(
        "disk[0].slot disk[0].device disk[0].read_bytes disk[0].written_bytes disk[0].reads "
        "disk[0].writes disk[1].slot disk[1].device disk[1].read_bytes disk[1].written_bytes "
        "disk[1].reads disk[1].writes disk[2].slot disk[2].device disk[2].read_bytes "
        "disk[2].written_bytes disk[2].reads disk[2].writes disk[3].slot disk[3].device "
        "disk[3].read_bytes disk[3].written_bytes disk[3].reads disk[3].writes "
    ),
)

METER_KEY_LAYOUT: Final = Layout(
    "meter_key",
    16,
    "=QII",
    _names("cgroup hierarchy zero"),
)

METER_LIFE_LAYOUT: Final = Layout(
    "meter_life",
    1104,
    "=QIIIIQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQIIQQQQIIQQQQIIQQQQIIQQQQ512s",
    _names(
        "key.cgroup key.hierarchy key.zero made cut at_ns last.run last.parts "
        "last.cpu_usage_ns last.cpu_user_ns last.cpu_system_ns last.periods "
        "last.throttled_periods last.throttled_ns last.quota_us last.period_us last.shares "
        "last.memory_usage last.memory_limit last.memory_max_usage last.memory_failures "
        "last.states[0] last.states[1] last.states[2] last.states[3] last.states[4] "
        "last.states[5] last.states[6] last.states[7] last.states[8] last.states[9] "
        "last.events[0] last.events[1] last.events[2] last.events[3] last.memory_low "
        "last.memory_high last.memory_max last.memory_oom last.memory_oom_kills "
        "last.memory_kernel last.pids last.pids_limit last.pressure_us[0] last.pressure_us[1] "
        "last.pressure_us[2] last.pressure_us[3] last.pressure_us[4] last.pressure_us[5] "
        "last.traffic.received_bytes last.traffic.received_packets last.traffic.sent_bytes "
        "last.traffic.sent_packets last.vm_bytes last.running_run last.running_ns "
        "disks.disk[0].slot disks.disk[0].device disks.disk[0].read_bytes "
        "disks.disk[0].written_bytes disks.disk[0].reads disks.disk[0].writes "
        "disks.disk[1].slot disks.disk[1].device disks.disk[1].read_bytes "
        "disks.disk[1].written_bytes disks.disk[1].reads disks.disk[1].writes "
        "disks.disk[2].slot disks.disk[2].device disks.disk[2].read_bytes "
        "disks.disk[2].written_bytes disks.disk[2].reads disks.disk[2].writes "
        "disks.disk[3].slot disks.disk[3].device disks.disk[3].read_bytes "
        "disks.disk[3].written_bytes disks.disk[3].reads disks.disk[3].writes path "
    ),
)

METER_LOSS_LAYOUT: Final = Layout(
    "meter_loss",
    24,
    "=QQQ",
    _names("life traffic disks"),
)

METER_RECORD_LAYOUT: Final = Layout(
    "meter_record",
    400,
    "=QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ",
    _names(
        "run parts cpu_usage_ns cpu_user_ns cpu_system_ns periods throttled_periods "
        "throttled_ns quota_us period_us shares memory_usage memory_limit memory_max_usage "
        "memory_failures states[0] states[1] states[2] states[3] states[4] states[5] states[6] "
        "states[7] states[8] states[9] events[0] events[1] events[2] events[3] memory_low "
        "memory_high memory_max memory_oom memory_oom_kills memory_kernel pids pids_limit "
        "pressure_us[0] pressure_us[1] pressure_us[2] pressure_us[3] pressure_us[4] "
        "pressure_us[5] traffic.received_bytes traffic.received_packets traffic.sent_bytes "
        "traffic.sent_packets vm_bytes running_run running_ns "
    ),
)

METER_SHARED_LAYOUT: Final = Layout(
    "meter_shared",
    64,
    "=QqqIIIIQQQ",
    _names("run clock_lag clock_at disks changes tree zero loss.life loss.traffic loss.disks"),
)

METER_STEP_LAYOUT: Final = Layout(
    "meter_step",
    24,
    "=QQII",
    _names("serial cgroup slot changes"),
)

METER_TRAFFIC_LAYOUT: Final = Layout(
    "meter_traffic",
    32,
    "=QQQQ",
    _names("received_bytes received_packets sent_bytes sent_packets"),
)

# noise.h

NOISE_FIRST_EXPONENT: Final = 8
NOISE_LAST_EXPONENT: Final = 36
NOISE_PER_OCTAVE: Final = 4
NOISE_BUCKETS: Final = 118

NOISE_COUNT: Final = 1
NOISE_HISTOGRAM: Final = 2
NOISE_BLAME: Final = 3

NOISE_DEPTH: Final = 16
NOISE_TIMED: Final = 1024
NOISE_PAIRS: Final = 16384
NOISE_EVENTS_BYTES: Final = 262144
NOISE_COMM: Final = 16

NOISE_RUN_SWITCH: Final = 0
NOISE_RUN_MIGRATE: Final = 1
NOISE_PROGRAMS: Final = 2

NOISE_SELF: Final = 0
NOISE_THROTTLED: Final = 1
NOISE_IDLE_CPU: Final = 2
NOISE_IRQ: Final = 3
NOISE_STEAL: Final = 4
NOISE_UNKNOWN: Final = 5
NOISE_REASONS: Final = 6

NOISE_UNSEATED: Final = 0
NOISE_KERNEL: Final = 1
NOISE_FIRST_SEAT: Final = 2
NOISE_IDLE: Final = -1
NOISE_UNSEEN: Final = -2

NOISE_BOOK_LAYOUT: Final = Layout(
    "noise_book",
    576,
    "=QQQQQQQQQQQQQIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIII",
    _names(
        "round ran_ns waits waited_ns voluntary involuntary preempted_self reasons[0] "
        "reasons[1] reasons[2] reasons[3] reasons[4] reasons[5] buckets[0] buckets[1] "
        "buckets[2] buckets[3] buckets[4] buckets[5] buckets[6] buckets[7] buckets[8] "
        "buckets[9] buckets[10] buckets[11] buckets[12] buckets[13] buckets[14] buckets[15] "
        "buckets[16] buckets[17] buckets[18] buckets[19] buckets[20] buckets[21] buckets[22] "
        "buckets[23] buckets[24] buckets[25] buckets[26] buckets[27] buckets[28] buckets[29] "
        "buckets[30] buckets[31] buckets[32] buckets[33] buckets[34] buckets[35] buckets[36] "
        "buckets[37] buckets[38] buckets[39] buckets[40] buckets[41] buckets[42] buckets[43] "
        "buckets[44] buckets[45] buckets[46] buckets[47] buckets[48] buckets[49] buckets[50] "
        "buckets[51] buckets[52] buckets[53] buckets[54] buckets[55] buckets[56] buckets[57] "
        "buckets[58] buckets[59] buckets[60] buckets[61] buckets[62] buckets[63] buckets[64] "
        "buckets[65] buckets[66] buckets[67] buckets[68] buckets[69] buckets[70] buckets[71] "
        "buckets[72] buckets[73] buckets[74] buckets[75] buckets[76] buckets[77] buckets[78] "
        "buckets[79] buckets[80] buckets[81] buckets[82] buckets[83] buckets[84] buckets[85] "
        "buckets[86] buckets[87] buckets[88] buckets[89] buckets[90] buckets[91] buckets[92] "
        "buckets[93] buckets[94] buckets[95] buckets[96] buckets[97] buckets[98] buckets[99] "
        "buckets[100] buckets[101] buckets[102] buckets[103] buckets[104] buckets[105] "
        "buckets[106] buckets[107] buckets[108] buckets[109] buckets[110] buckets[111] "
        "buckets[112] buckets[113] buckets[114] buckets[115] buckets[116] buckets[117] "
    ),
)

NOISE_CONFIG_LAYOUT: Final = Layout(
    "noise_config",
    20,
    "=IIIII",
    _names("cpus seats unified hierarchy events_gap_ns"),
)

NOISE_COST_LAYOUT: Final = Layout(
    "noise_cost",
    24,
    "=QQQ",
    _names("runs timed ns"),
)

NOISE_EVENT_LAYOUT: Final = Layout(
    "noise_event",
    56,
    "=QQQIIII16s",
    _names("at_ns waited_ns culprit_ns victim culprit cpu pid comm"),
)

NOISE_HOLDER_LAYOUT: Final = Layout(
    "noise_holder",
    144,
    "=QIIQQQQQQQQQQQQQQQQ",
    _names(
        "cgroup dead depth above[0] above[1] above[2] above[3] above[4] above[5] above[6] "
        "above[7] above[8] above[9] above[10] above[11] above[12] above[13] above[14] "
        "above[15] "
    ),
)

NOISE_LOSS_LAYOUT: Final = Layout(
    "noise_loss",
    56,
    "=QQQQQQQ",
    _names("unseated unstamped backwards unseen carried pairs events"),
)

NOISE_PAIR_LAYOUT: Final = Layout(
    "noise_pair",
    24,
    "=IIQQ",
    _names("victim culprit ns preempted"),
)

NOISE_SHARED_LAYOUT: Final = Layout(
    "noise_shared",
    160,
    "=QQQQQQQQQQQQQQQQQQQQ",
    _names(
        "level events_ns free_end free_begin round changed pairs cost[0].runs cost[0].timed "
        "cost[0].ns cost[1].runs cost[1].timed cost[1].ns loss.unseated loss.unstamped "
        "loss.backwards loss.unseen loss.carried loss.pairs loss.events "
    ),
)

# profile.h

PROFILE_END_COMPLETE: Final = 0
PROFILE_END_NO_PROCESS: Final = 1
PROFILE_END_NO_MAPPING: Final = 2
PROFILE_END_NO_TABLE: Final = 3
PROFILE_END_NO_RULE: Final = 4
PROFILE_END_UNSUPPORTED: Final = 5
PROFILE_END_FAULT: Final = 6
PROFILE_END_JIT: Final = 7
PROFILE_END_DEEP: Final = 8
PROFILE_END_SNAPSHOT: Final = 9
PROFILE_ENDS: Final = 10

PROFILE_USER_WORDS: Final = 384
PROFILE_KERNEL_WORDS: Final = 127
PROFILE_WORDS: Final = 512
PROFILE_STEPS: Final = 512
PROFILE_COMM: Final = 16
PROFILE_CHUNK: Final = 1024
PROFILE_FILES: Final = 16384
PROFILE_PYTHONS: Final = 256
PROFILE_RANGES: Final = 4
PROFILE_FRAME_BYTES: Final = 128
PROFILE_TICK_NS: Final = 10000000
PROFILE_ADDRESS_BITS: Final = 44
PROFILE_PAGE_BITS: Final = 16
PROFILE_RBP_LOST: Final = 1
PROFILE_MOST_DEPTH: Final = 16
PROFILE_REGISTERS: Final = 3
PROFILE_SNAPSHOT_PAGES: Final = 3
PROFILE_PAGE: Final = 4096
PROFILE_YOUNG_TICKS: Final = 200

PROFILE_MAPPING_TABLE: Final = 0
PROFILE_MAPPING_POINTER: Final = 1
PROFILE_MAPPING_JIT: Final = 2

PROFILE_PYTHON_FINE: Final = 0
PROFILE_PYTHON_NO_THREAD: Final = 1
PROFILE_PYTHON_FAULT: Final = 2

PROFILE_PYTHON_ONE: Final = 0
PROFILE_PYTHON_ENTRY: Final = 1
PROFILE_PYTHON_SHIM: Final = 2

PROFILE_RULE_NONE: Final = 0
PROFILE_RULE_RSP: Final = 1
PROFILE_RULE_RBP: Final = 2
PROFILE_RULE_PLT: Final = 3
PROFILE_RULE_START: Final = 4
PROFILE_RULE_SIGNAL: Final = 5
PROFILE_RULE_RSP_DEREF: Final = 6
PROFILE_RULE_UNSUPPORTED: Final = 7
PROFILE_RULE_RBP_DEREF: Final = 8

PROFILE_CPU: Final = 0
PROFILE_OFF_CPU: Final = 1
PROFILE_ALLOC: Final = 2
PROFILE_FAULTS: Final = 3
PROFILE_TYPES: Final = 4

PROFILE_CONFIG_LAYOUT: Final = Layout(
    "profile_config",
    32,
    "=IIIIQQ",
    _names("unified chosen tallies snapshots alloc_every faults_every"),
)

PROFILE_COUNTS_LAYOUT: Final = Layout(
    "profile_counts",
    112,
    "=QQQQQQQQQQQQQQ",
    _names(
        "samples dropped idle filtered busy untallied runs[0] runs[1] runs[2] runs[3] ns[0] "
        "ns[1] ns[2] ns[3] "
    ),
)

PROFILE_FILE_LAYOUT: Final = Layout(
    "profile_file",
    24,
    "=IIIIII",
    _names("pages first_page page_count rows rules python"),
)

PROFILE_MAPPING_LAYOUT: Final = Layout(
    "profile_mapping",
    32,
    "=QQQII",
    _names("start end bias file kind"),
)

PROFILE_PROCESS_LAYOUT: Final = Layout(
    "profile_process",
    24,
    "=QIIiI",
    _names("started first count slot by_thread"),
)

PROFILE_PYTHON_LAYOUT: Final = Layout(
    "profile_python",
    120,
    "=QQQQQQQQiIIIIIIIIIIIII",
    _names(
        "ranges[0].begin ranges[0].end ranges[1].begin ranges[1].end ranges[2].begin "
        "ranges[2].end ranges[3].begin ranges[3].end slot kind state_frame state_cframe "
        "indirect frame_bytes frame_code frame_previous frame_last frame_mark mark last_scale "
        "code_first_line code_begin "
    ),
)

PROFILE_RANGE_LAYOUT: Final = Layout(
    "profile_range",
    16,
    "=QQ",
    _names("begin end"),
)

PROFILE_SAMPLE_LAYOUT: Final = Layout(
    "profile_sample",
    80,
    "=QQQQQIIIIII16s",
    _names("at_ns value stack cgroup started tgid type end python_end user kernel comm"),
)

PROFILE_TALLY_LAYOUT: Final = Layout(
    "profile_tally",
    24,
    "=QQQ",
    _names("stack count ns"),
)
