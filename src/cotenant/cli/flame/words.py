"""What a box and a profile say in words: names that fit, weights in their unit. Pure."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from cotenant.cli import show
from cotenant.cli.flame.tree import Node, Sort
from cotenant.model import COMPLETE, Frame, Profile

KIND_WORDS = {"python": "Python", "native": "native", "kernel": "kernel", "jit": "JIT"}


def weight(value: float, unit: str) -> str:
    """A weight in its unit: `1.5 s`, `3.2M`, `42`."""
    if unit == "nanoseconds":
        return show.duration(value / 1e9)
    return show.amount(value) if unit == "bytes" else show.count(value)


def percent(share: float) -> str:
    """A share with its sign: `12.5 %`."""
    return f"{show.percent(share)} %"


def label(frame: Frame, width: int, line: bool = False) -> str:
    """A function's name in at most `width` cells: without arguments, then its last part alone."""
    tail = f":{frame.line}" if line and frame.line else ""
    bare = _bare(frame.name)
    for shorter in (frame.name, bare, _last(bare)):
        name = show.name(shorter)
        for text in (name + tail, name):
            if cell_len(text) <= width:
                return text
    if width < 2:
        return ""
    # Made safe once more: what closes letters that run from right to left was cut off.
    return show.name(set_cell_size(name, width - 1).rstrip() + "…")


def _bare(name: str) -> str:
    """The name without its arguments and without what its templates were made with.

    Brackets that are the name itself stay: `operator()`, `f.<locals>.g`, `(*conn).serve`.
    """
    kept: list[str] = []
    depth = 0
    stays = False
    for sign in name:
        if sign in "(<":
            if depth == 0:
                head = "".join(kept)
                stays = not head or head.endswith(("operator", ".", "::"))
            depth += 1
        if depth == 0 or stays:
            kept.append(sign)
        if sign in ")>" and depth:
            depth -= 1
    if depth and not stays:
        return name
    return "".join(kept).removesuffix(" const")


def _last(name: str) -> str:
    """What stands after the last two colons, slash or dot."""
    last = name.rpartition("::")[2]
    if any(sign in last for sign in (" ", "{", "+0x")):  # paths in JIT's names, bare addresses
        return last
    last = last.rpartition("/")[2]
    end = last.rpartition(".")[2]
    return last if not end or end.isdigit() else end


def place(frame: Frame, line: bool = False) -> str:
    """Where its code stands: `app.py:12`, else the binary's path; empty: not known.

    The line its function begins at; with `line`, the one that ran.
    """
    if frame.file:
        number = frame.line if line else frame.first_line or frame.line
        return f"{show.name(frame.file)}:{number}" if number else show.name(frame.file)
    return show.name(frame.module) if frame.module else ""


def short_place(frame: Frame, line: bool = False) -> str:
    """The same with the file's name alone."""
    text = place(frame, line)
    return text.rpartition("/")[2] or text


def what(node: Node) -> str:
    """What a box is: a tenant, a process, Python code; empty: nothing to tell."""
    if node.sort is Sort.ALL:
        return ""
    if node.sort is not Sort.FRAME:
        return node.sort.value
    return KIND_WORDS.get(node.frame.kind.value, "")


def nearly(share: float) -> str:
    """A share that is 100 % only if it is all."""
    return percent(share if share == 1 else min(share, 0.9994))


def complete_share(profile: Profile) -> float | None:
    """The share of samples that were unwound down to the thread's start.

    None without samples, and for folded stacks, which do not tell.
    """
    if profile.type == "samples":
        return None
    ends = profile.ends
    count = sum(ends.values())
    return ends.get(COMPLETE, 0) / count if count else None


def samples(profile: Profile) -> int:
    """How many samples there are."""
    return sum(stack.count for stack in profile.stacks)


def total(profile: Profile) -> int:
    """What all of them weigh, in the profile's unit."""
    return sum(stack.value for stack in profile.stacks)
