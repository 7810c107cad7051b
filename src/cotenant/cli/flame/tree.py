"""Stacks of a profile as one tree: what was met below what, and how much of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from msgspec import Struct

from cotenant.export import flame
from cotenant.model import Frame, FrameKind, Profile, Stack


class Sort(StrEnum):
    """What a node stands for; only the last kind comes from a stack's frames."""

    ALL = "all"
    TENANT = "tenant"
    PROCESS = "process"
    FRAME = "frame"


Name = tuple[Sort, str, str, str, int, str, int]
"""What makes a node the same in two trees: sort, name, kind, file, first line, binary, line."""


class Shape(Struct, frozen=True):
    """Which tree is wanted: of all tenants or of the one so called; leaves first; by line."""

    tenant: str | None = None
    inverted: bool = False
    lines: bool = False


WHOLE = Shape()


class Node:
    """A box of the flame graph: `total` of it and all below, `own` of it alone, in the unit.

    `before` is the total in the profile that this one is compared with, in that one's unit.
    """

    __slots__ = ("_ordered", "before", "below", "frame", "name", "own", "parent", "sort", "total")

    def __init__(self, name: Name, frame: Frame, parent: Node | None) -> None:
        self.sort = name[0]
        self.name = name
        self.frame = frame
        self.parent = parent
        self.below: dict[Name | int, Node] = {}
        self.total = 0
        self.own = 0
        self.before = 0
        self._ordered: list[Node] | None = None

    @property
    def children(self) -> list[Node]:
        """What was met below, the heaviest first; what only the other profile has is left out."""
        if self._ordered is None:
            met = [node for node in self.below.values() if node.total]
            self._ordered = sorted(met, key=lambda node: (-node.total, node.name))
        return self._ordered

    @property
    def ancestors(self) -> list[Node]:
        """From the root to this node, itself the last."""
        found = [self]
        while (above := found[-1].parent) is not None:
            found.append(above)
        return found[::-1]

    @property
    def path(self) -> tuple[Name, ...]:
        """Names from below the root to this node: finds it again in another tree."""
        return tuple(node.name for node in self.ancestors[1:])

    def at(self, path: Iterable[Name]) -> Node:
        """The node that the path leads to, or the last one on it that there is."""
        here = self
        for name in path:
            below = next((node for node in here.children if node.name == name), None)
            if below is None:
                break
            here = below
        return here

    def walk(self) -> Iterator[Node]:
        """This node and all below, each before those below it, the heaviest first."""
        left = [self]
        while left:
            node = left.pop()
            yield node
            left.extend(reversed(node.children))


class Function(Struct):
    """One function of all stacks: weight where it ran itself, and where it was on the stack."""

    frame: Frame
    name: Name
    own: int = 0
    total: int = 0


def tree(profile: Profile, shape: Shape = WHOLE, base: Profile | None = None) -> Node:
    """The tree of a profile; with `base`, each node tells what it weighed there."""
    title = shape.tenant if shape.tenant is not None else "all"
    sort = Sort.ALL if shape.tenant is None else Sort.TENANT
    root = Node(_owner(sort, title), Frame(title, FrameKind.NOTE), None)
    names: dict[Name, int] = {}
    _pour(root, profile, shape, names)
    if base is not None:
        _pour(root, base, shape, names, before=True)
    return root


def _pour(
    root: Node, profile: Profile, shape: Shape, names: dict[Name, int], before: bool = False
) -> None:
    """Adds every stack of the profile; `names` numbers frames, alike in both profiles."""
    numbered = [(name, names.setdefault(name, len(names))) for name in _names(profile, shape.lines)]
    frames = profile.frames
    for stack in picked(profile, shape.tenant):
        way: list[tuple[Name, Name | int, Frame | None]] = [
            (name, name, None) for name in _owners(stack, profile, shape)
        ]
        way += [(*numbered[index], frames[index]) for index in stack.frames]
        if shape.inverted:
            way.reverse()
        node = root
        _weigh(node, stack.value, before)
        for name, key, frame in way:
            below = node.below.get(key)
            if below is None:
                frame = frame or Frame(name[1], FrameKind.NOTE)
                below = node.below[key] = Node(name, frame, node)
            node = below
            _weigh(node, stack.value, before)
        if not before:
            node.own += stack.value


def _weigh(node: Node, value: int, before: bool) -> None:
    if before:
        node.before += value
    else:
        node.total += value


def _owners(stack: Stack, profile: Profile, shape: Shape) -> Iterator[Name]:
    if shape.tenant is None:
        yield _owner(Sort.TENANT, profile.tenants[stack.tenant].name)
    if stack.process:
        yield _owner(Sort.PROCESS, stack.process)


def _owner(sort: Sort, name: str) -> Name:
    return (sort, name, "", "", 0, "", 0)


def _names(profile: Profile, lines: bool) -> list[Name]:
    """Of each frame, what it is one with."""
    index, firsts = flame.functions(profile.frames, lines)
    names: list[Name] = [
        (Sort.FRAME, f.name, f.kind.value, f.file, f.first_line, f.module, f.line if lines else 0)
        for f in firsts
    ]
    return [names[place] for place in index]


def picked(profile: Profile, tenant: str | None) -> Iterable[Stack]:
    """The stacks of the tenant so called; of all where it is None."""
    if tenant is None:
        return profile.stacks
    wanted = {index for index, one in enumerate(profile.tenants) if one.name == tenant}
    return [stack for stack in profile.stacks if stack.tenant in wanted]


def functions(profile: Profile, tenant: str | None = None, lines: bool = False) -> list[Function]:
    """Every function met, by its own weight; one that calls itself counts once per stack."""
    found: dict[Name, Function] = {}
    names = _names(profile, lines)
    by_index = [
        found.setdefault(name, Function(frame, name))
        for name, frame in zip(names, profile.frames, strict=True)
    ]
    for stack in picked(profile, tenant):
        if not stack.frames:
            continue
        by_index[stack.frames[-1]].own += stack.value
        for one in {id(by_index[index]): by_index[index] for index in stack.frames}.values():
            one.total += stack.value
    met = [function for function in found.values() if function.total]
    return sorted(met, key=lambda function: (-function.own, -function.total, function.name))


def tenants(profile: Profile) -> list[tuple[str, int]]:
    """Name and weight of every tenant that was met, the heaviest first."""
    weights: dict[str, int] = {}
    for stack in profile.stacks:
        name = profile.tenants[stack.tenant].name
        weights[name] = weights.get(name, 0) + stack.value
    return sorted(weights.items(), key=lambda item: (-item[1], item[0]))
