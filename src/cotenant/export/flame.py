"""The tree behind every flame graph: all stacks from the outermost frame on, and their weights.

Lines of one function are one node unless asked for. The terminal, the SVG and anything else that
draws in Python grow it here; the page grows its own in the browser, by the same rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cotenant.model import Frame, FrameKind, Profile, Stack

ROOT, TENANT, PROCESS = "root", "tenant", "process"
"""Kinds of the nodes that are no frame."""
Function = tuple[str, FrameKind, str, int, str]


class Node:
    """A frame met below one path of callers, or the tenant or process these frames are of."""

    __slots__ = ("children", "count", "frame", "kind", "name", "own", "total")

    def __init__(self, name: str, kind: str, frame: Frame | None = None) -> None:
        self.name = name
        self.kind = kind
        """ROOT, TENANT, PROCESS or the frame's `FrameKind`."""
        self.frame = frame
        """One of its frames: file, module and, where lines are apart, the line."""
        self.own = 0
        """Weight of the samples that ended here, in the profile's unit."""
        self.total = 0
        """The same with all that it called."""
        self.count = 0
        """Samples, with all that it called."""
        self.children: list[Node] = []
        """What it called, heaviest first."""


class Row(NamedTuple):
    """One function over a whole tree."""

    frame: Frame
    own: int
    total: int


def function(frame: Frame) -> Function:
    """What makes two frames the same function, whichever line ran."""
    return frame.name, frame.kind, frame.file, frame.first_line, frame.module


def functions(frames: Sequence[Frame], lines: bool = False) -> tuple[list[int], list[Frame]]:
    """For each frame the index of its function, and one frame of each; `lines`: and of its line."""
    known: dict[tuple[Function, int], int] = {}
    firsts: list[Frame] = []
    index = []
    for frame in frames:
        key = (function(frame), frame.line if lines else 0)
        found = known.setdefault(key, len(known))
        if found == len(firsts):
            firsts.append(frame)
        index.append(found)
    return index, firsts


def grow(profile: Profile, tenant: int | None = None, *, lines: bool = False) -> Node:
    """The tree of one tenant (its index in the profile), or of all with each below the root.

    Below a tenant come its processes by name, below these their frames.
    """
    index, firsts = functions(profile.frames, lines)
    root = Node("all", ROOT) if tenant is None else Node(profile.tenants[tenant].name, TENANT)
    below: dict[Node, dict[int, Node]] = {root: {}}  # a node's children by function
    heads: dict[tuple[int, str], Node] = {}
    owners: dict[int, Node] = {}
    for stack in profile.stacks:
        if tenant is not None and stack.tenant != tenant:
            continue
        node = heads.get((stack.tenant, stack.process))
        if node is None:
            node = _head(profile, root, owners, stack)
            heads[stack.tenant, stack.process] = node
            below[node] = {}
        for at in stack.frames:
            key, known = index[at], below[node]
            child = known.get(key)
            if child is None:
                frame = firsts[key]
                child = known[key] = Node(frame.name, frame.kind, frame)
                node.children.append(child)
                below[child] = {}
            node = child
        node.own += stack.value
        node.count += stack.count
    for node in reversed(list(walk(root))):
        node.total = node.own + sum([child.total for child in node.children])
        node.count += sum([child.count for child in node.children])
        node.children.sort(key=lambda child: (-child.total, child.name))
    return root


def _head(profile: Profile, root: Node, owners: dict[int, Node], stack: Stack) -> Node:
    """A new node for a process, and one for its tenant where it is the tenant's first."""
    owner = root
    if root.kind == ROOT:
        if stack.tenant not in owners:
            owners[stack.tenant] = Node(profile.tenants[stack.tenant].name, TENANT)
            root.children.append(owners[stack.tenant])
        owner = owners[stack.tenant]
    process = Node(stack.process, PROCESS)
    owner.children.append(process)
    return process


def walk(root: Node) -> Iterator[Node]:
    """Every node once, callers before what they call."""
    left = [root]
    while left:
        node = left.pop()
        yield node
        left += node.children


def top(root: Node) -> list[Row]:
    """Functions of the tree by own weight; in `total` a recursive one counts once per stack."""
    own: dict[Function, int] = {}
    total: dict[Function, int] = {}
    frames: dict[Function, Frame] = {}
    above: dict[Function, int] = {}
    left: list[tuple[Node, bool]] = [(root, True)]
    while left:
        node, entering = left.pop()
        key = function(node.frame) if node.frame else None
        if key is not None and not entering:
            above[key] -= 1
            continue
        if key is not None and node.frame:
            frames.setdefault(key, node.frame)
            own[key] = own.get(key, 0) + node.own
            if not above.get(key):
                total[key] = total.get(key, 0) + node.total
            above[key] = above.get(key, 0) + 1
            left.append((node, False))
        left += [(child, True) for child in node.children]
    rows = [Row(frame, own[key], total[key]) for key, frame in frames.items()]
    return sorted(rows, key=lambda row: (-row.own, -row.total, row.frame.name))
