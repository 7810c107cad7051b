"""From words to names: what a stack's words mean, and that what is remembered is not mixed up."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import pytest

from cotenant.kernel import records
from cotenant.model import HOST, KERNEL, Frame, FrameKind, Kind, ProfileType, Tenant
from cotenant.profile import stacks as stacks_module
from cotenant.profile.parts import FILE_WORD, PYTHON_WORD, STALE, UNKNOWN, Renamed
from cotenant.profile.programs import SAMPLE, Counts
from cotenant.profile.python.code import NoFrame
from cotenant.profile.read import Head, Met, Taken, ended_well
from cotenant.profile.stacks import Stacks

A, B = (Tenant(n, name, Kind.CGROUP, f"/{name}", {}) for n, name in enumerate("ab"))
BITS = records.PROFILE_ADDRESS_BITS
COMPLETE, FAULT = records.PROFILE_END_COMPLETE, records.PROFILE_END_FAULT


class Names:
    """Names made of what is asked; counts how often it is."""

    def __init__(self) -> None:
        self.asked = 0
        self.gone = self.late = False

    def native(self, number: int, address: int) -> Frame:
        self.asked += 1
        return Frame(f"f{number}", FrameKind.NATIVE, address=address >> 4)

    def python(self, head: Head, code: int, first_line: int, come: int) -> Frame | NoFrame:
        self.asked += 1
        if self.gone:
            return NoFrame.STALE
        if code == 0x666:
            return next(what for what in NoFrame if what is not NoFrame.STALE)
        return Frame(f"p{head.tgid}:{code:x}", FrameKind.PYTHON, line=first_line + come)

    def other(self, head: Head, address: int) -> Frame:
        return UNKNOWN if self.late else Frame(f"jit {head.tgid}:{address:x}", FrameKind.JIT)

    def may_tell(self, head: Head) -> bool:
        return not self.gone

    def kernel(self, address: int) -> Frame:
        self.asked += 1
        own = "bpf_prog_ticked" if address == 1 else f"k{address:x}"
        return Frame(own, FrameKind.KERNEL)


def native(number: int, address: int) -> int:
    return FILE_WORD | number << BITS | address


def python(code: int, come: int, line: int) -> tuple[int, int]:
    return PYTHON_WORD | code, come << 32 | line


def key(
    user: Sequence[int],
    kernel: Sequence[int] = (),
    *,
    tgid: int = 7,
    started: int = 1,
    end: int = COMPLETE,
    python_end: int = 0,
    kind: int = records.PROFILE_CPU,
) -> bytes:
    """A stack's bytes, as the kernel's program tells them."""
    cgroup = 100 + tgid
    words = (cgroup, started, tgid, kind, end, python_end, len(user), len(kernel), b"comm")
    raw = SAMPLE.pack(0, 0, 0, *words)
    return raw[24:] + b"".join(word.to_bytes(8, "little") for word in (*user, *kernel))


def profile(stacks: Stacks, *keys: bytes, kind: ProfileType = ProfileType.CPU):
    met = {one: Met(2, 0) for one in keys}
    taken = Taken(1.0, 2.0, met, {}, Counts(*[0] * len(Counts._fields)))
    stacks.meet(deque(keys), 60.0)
    return stacks.profile(taken, kind, 10, ()), taken


def told(found) -> list[tuple[str, list[str], str, int]]:
    return [
        (found.tenants[s.tenant].name, [found.frames[i].name for i in s.frames], s.end, s.count)
        for s in found.stacks
    ]


def made() -> tuple[Names, Stacks]:
    names = Names()
    return names, Stacks(names, lambda _cgroup, tgid: A if tgid == 7 else B)


def test_words_become_frames_outermost_first() -> None:
    _, stacks = made()
    user = [native(3, 0x40), *python(0x500, 4, 10), 0x7F00, native(2, 0x99)]
    found, _ = profile(stacks, key(user, [1, 0xA, 0xB]))
    names = ["f2", "jit 7:7f00", "p7:500", "f3", "kb", "ka"]
    assert told(found) == [("a", names, "complete", 2)]
    assert [frame.line for frame in found.frames if frame.kind is FrameKind.PYTHON] == [14]
    assert found.stacks[0].value == 20


def of_round(*keys: bytes) -> Taken:
    return Taken(1.0, 2.0, {one: Met(2, 0) for one in keys}, {}, Counts(*[0] * len(Counts._fields)))


def test_places_are_asked_for_once_for_all_rounds() -> None:
    names, stacks = made()
    first, second = (key([native(1, leaf), native(2, 0x50), *python(0x5, 0, 1)]) for leaf in (1, 2))
    found, _ = profile(stacks, first, second)
    assert names.asked == 4
    assert told(found) == [("a", ["p7:5", "f2", "f1"], "complete", 4)]
    stacks.next_round(of_round(), Renamed())
    found, _ = profile(stacks, first)
    assert names.asked == 4
    assert told(found) == [("a", ["p7:5", "f2", "f1"], "complete", 2)]


def test_places_that_may_have_other_names_are_asked_for_again() -> None:
    """Of a process with other code, its code; of a file with another number, all that were met."""
    names, stacks = made()
    mine, other = (key([native(1, 1), *python(0x5, 0, 1)], tgid=tgid) for tgid in (7, 8))
    profile(stacks, mine, other)
    names.asked = 0
    stacks.next_round(of_round(mine, other), Renamed(processes=frozenset([7])))
    profile(stacks, mine, other)
    assert names.asked == 1, "one Python frame of one process"
    stacks.next_round(of_round(mine, other), Renamed(files=True))
    profile(stacks, mine, other)
    assert names.asked == 1 + 3


def test_the_code_of_processes_that_are_not_met_any_more_is_forgotten() -> None:
    names, stacks = made()
    profile(stacks, *(key([native(1, 1), *python(0x5, 0, 1)], tgid=tgid) for tgid in (7, 8)))
    assert len(stacks._codes) == 2
    stacks.next_round(of_round(), Renamed())
    profile(stacks, key([native(2, 1), *python(0x5, 0, 1)]))
    assert names.asked == 3 + 1
    stacks.next_round(of_round(), Renamed())
    assert [tgid for tgid, _ in stacks._codes] == [7]


def test_what_the_kernel_calls_an_address_is_asked_for_new_stacks_of_each_round() -> None:
    """Programs come and go there, and nothing tells."""
    names, stacks = made()
    profile(stacks, key([], [0x10]))
    stacks.next_round(of_round(), Renamed())
    profile(stacks, key([], [0x10]))
    assert names.asked == 2


def test_places_are_forgotten_where_they_get_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    names, stacks = made()
    one = key([native(1, 1), native(2, 2)])
    profile(stacks, one)
    stacks.next_round(of_round(), Renamed())
    profile(stacks, one)
    assert names.asked == 2
    monkeypatch.setattr(stacks_module, "MOST_HELD", 3)
    stacks.next_round(of_round(), Renamed())
    profile(stacks, one)
    assert names.asked == 4


def test_one_code_object_is_another_in_another_process_or_later_life() -> None:
    _, stacks = made()
    word = python(0x500, 0, 10)
    found, _ = profile(stacks, key(word), key(word, tgid=8), key(word, started=2))
    assert told(found) == [
        ("a", ["p7:500"], "complete", 4),
        ("b", ["p8:500"], "complete", 2),
    ]


def test_what_is_no_frame_is_left_out_and_what_is_gone_is_noted_and_asked_for_again() -> None:
    names, stacks = made()
    names.gone = True
    user = [*python(0x500, 0, 1), native(1, 0)]
    found, _ = profile(stacks, key(user))
    assert told(found) == [("a", ["f1", STALE], "complete", 2)]
    assert found.lost.stale == 2
    names.gone = False
    found, _ = profile(stacks, key([*user, native(2, 0)]), key([*python(0x666, 0, 1), *user]))
    assert [row[1] for row in told(found)] == [["f2", "f1", "p7:500"], ["f1", "p7:500"]]
    assert found.lost.stale == 0


def test_code_of_a_jit_has_the_name_that_its_process_told_later() -> None:
    names, stacks = made()
    one = key([0x7F00, native(1, 1)])
    names.late = True
    stacks.meet(deque([one]), 60.0)
    found, _ = profile(stacks, one)
    assert told(found)[0][1] == ["f1", "[unknown]"]
    names.late = False
    found, _ = profile(stacks, one)
    assert told(found)[0][1] == ["f1", "jit 7:7f00"]
    names.late = names.gone = True
    found, _ = profile(stacks, one)
    assert told(found)[0][1] == ["f1", "jit 7:7f00"], "nobody tells any more"


def test_stacks_are_of_whoever_they_belong_to_when_the_profile_is_made() -> None:
    """Tenants are told of after their processes began, and are called otherwise when named."""
    now = {107: HOST, 108: B}
    stacks = Stacks(Names(), lambda cgroup, tgid: now[cgroup])
    mine, other, kernels = key([native(1, 0)]), key([native(1, 0)], tgid=8), key([], [5], started=0)
    taken = of_round(mine, other, kernels)
    stacks.meet(deque([mine, other, kernels]), 60.0)
    now[107] = A
    stacks.own_anew()
    found = stacks.profile(taken, ProfileType.CPU, 10, ())
    assert [row[0] for row in told(found)] == ["a", "b", "kernel"]
    now[107], now[108] = B, HOST
    stacks.own_anew()
    found = stacks.profile(taken, ProfileType.CPU, 10, ())
    assert [(row[0], row[3]) for row in told(found)] == [("b", 4), ("kernel", 2)], "it is B's still"


def test_a_cut_stack_says_why_and_a_kernel_thread_is_nobodys() -> None:
    _, stacks = made()
    cut = key([native(1, 0)], end=FAULT, python_end=records.PROFILE_PYTHON_FAULT)
    found, _ = profile(stacks, cut, key([], [5], started=0))
    assert told(found)[0][1:3] == (
        ["[cut: stack memory not there]", "f1"],
        "stack memory not there",
    )
    assert told(found)[1][:2] == (KERNEL.name, ["k5"])
    assert found.lost.pythonless == 2
    assert not ended_well(cut)
    assert not ended_well(key([], python_end=records.PROFILE_PYTHON_NO_THREAD))
    assert ended_well(key([]))


def test_each_type_has_its_own_profile() -> None:
    _, stacks = made()
    blocked = key([native(1, 0)], kind=records.PROFILE_OFF_CPU)
    found, _ = profile(stacks, blocked, key([native(2, 0)]))
    assert told(found) == [("a", ["f2"], "complete", 2)]
    found, _ = profile(stacks, blocked, key([native(2, 0)]), kind=ProfileType.OFF_CPU)
    assert told(found) == [("a", ["f1"], "complete", 2)]


def test_a_word_without_its_second_is_still_a_frame() -> None:
    _, stacks = made()
    found, _ = profile(stacks, key([native(1, 0), PYTHON_WORD | 0x500]))
    assert told(found) == [("a", ["p7:500", "f1"], "complete", 2)]
