"""What call frame instructions do to a rule, but for the few that nearly all of them are.

The instructions are DWARF's (DWARF 5, section 6.4.2) with GNU's additions (Linux Standard Base,
".eh_frame"). Advances, CFA offsets and the saving of registers that unwinding needs not are read
where rows are made, in `cfi.py`; the others come here, one function each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from cotenant.profile.unwind.leb import block, number, signed
from cotenant.profile.unwind.rules import LOST, UNSUPPORTED, BrokenTable, Rule, RuleKind, Rules

RBP, RSP, RETURN = 6, 7, 16
"""Numbers of registers (System V ABI, x86-64 supplement, figure 3.36)."""

ADVANCE, OFFSET, RESTORE = 0x40, 0x80, 0xC0
"""Instructions with a number of six bits in them; the last has no operand."""

QUIET: Final = {0x00, ADVANCE} | {RESTORE | one for one in range(64) if one not in (RBP, RETURN)}
"""Instructions without operands that change nothing here."""

SAVES: Final = {OFFSET | one for one in range(64) if one not in (RBP, RETURN)} | {0x2E}
"""Instructions with one number that change nothing here; 0x2E is GNU_args_size."""

DEF_CFA_OFFSET: Final = 0x0E

_MOST_REMEMBERED = 64
"""States that may wait to be restored; compilers need two."""

# Expressions (DWARF 5, section 2.5) that are met in practice. breg7 is rsp, breg6 rbp.
_NUMBER = rb"[\x80-\xff]{0,4}[\x00-\x7f]"
_PLT = re.compile(rb"\x77\x08\x80\x00\x3f\x1a([\x3a\x3b])\x2a\x33\x24\x22")
"""rsp + 8 + ((ip & 15 >= literal) << 3)."""
_RSP_DEREF = re.compile(rb"\x77(%s)\x06\x23\x08" % _NUMBER)
_RBP_DEREF = re.compile(rb"\x76(%s)\x06" % _NUMBER)
_SIGNAL = b"\x77\xa0\x01\x06"
_AT_RBP = b"\x76\x00"
_LITERAL_0 = 0x30

_EXPRESSION, _IS_PLT, _IS_RSP_DEREF, _IS_RBP_DEREF, _IS_SIGNAL = -1, -2, -3, -4, -5
"""In place of the register that the CFA is counted from."""
_SAVED_AT_RBP = 3
"""In place of where rbp was saved from the CFA: at *rbp."""
_KINDS = {
    RSP: RuleKind.RSP,
    RBP: RuleKind.RBP,
    _IS_PLT: RuleKind.PLT,
    _IS_RSP_DEREF: RuleKind.RSP_DEREF,
}


class Code(NamedTuple):
    """What a CIE says of how its functions' instructions are read."""

    data_align: int
    signal: bool
    returns_at: int


class Numbers(dict[int, int]):
    """Numbers of rules by CFA offset, where everything else is the same."""

    def __init__(self, machine: Machine, register: int, rbp: int, back: int | None) -> None:
        super().__init__()
        self._machine, self._rest = machine, (register, rbp, back)

    def __missing__(self, offset: int) -> int:
        register, rbp, back = self._rest
        machine = self._machine
        machine.rules.count()
        rule = _rule(register, offset, rbp, back, machine.code.signal)
        number = self[offset] = machine.rules[rule]
        return number


class Machine:
    """Carries out instructions of functions that have the same CIE.

    Its state: the CFA is `register` + `offset`, the caller's rbp was saved at CFA + `rbp` (0: it
    is still there), the return address at CFA + `back` (None: not there; 0: there is no caller).
    `numbers` are those of the rules for this but the offset.
    """

    def __init__(self, code: Code, rules: Rules, initial: bytes) -> None:
        self.code, self.rules = code, rules
        self.register, self.offset, self.rbp = _EXPRESSION, 0, 0
        self.back: int | None = None
        self._known: dict[tuple[int, int, int | None], Numbers] = {}
        self.first_rbp, self.first_back = self.rbp, self.back
        self.remembered: list[tuple[int, int, int, int | None, Numbers]] = []
        self.numbers = self._find()
        rest = iter(initial)
        for one in rest:
            if ACTS[one](self, rest):
                raise BrokenTable("A CIE of .eh_frame advances.")
        if code.returns_at != RETURN:
            self.back = None
        self.first_rbp, self.first_back = self.rbp, self.back
        self._first_register, self._first_offset = self.register, self.offset
        self._first_numbers = self._find()

    def start(self) -> tuple[Numbers, int]:
        """Begin a function; its first `numbers` and `offset`."""
        if self.numbers is not self._first_numbers:
            self.register, self.numbers = self._first_register, self._first_numbers
            self.rbp, self.back = self.first_rbp, self.first_back
        if self.remembered:
            self.remembered = []
        return self._first_numbers, self._first_offset

    def settle(self) -> int:
        """After a change of anything but the offset. 0, as no code is skipped."""
        self.numbers = self._find()
        return 0

    def _find(self) -> Numbers:
        key = self.register, self.rbp, self.back
        known = self._known.get(key)
        if known is None:
            self.rules.count()
            known = self._known[key] = Numbers(self, *key)
        return known


def _rule(register: int, offset: int, rbp: int, back: int | None, signal: bool) -> Rule:
    if back == 0:
        return Rule(RuleKind.START)
    if register == _IS_SIGNAL and signal:
        return Rule(RuleKind.SIGNAL)
    if back != -8:
        return UNSUPPORTED
    if register == _IS_RBP_DEREF and rbp == _SAVED_AT_RBP:
        return Rule(RuleKind.RBP_DEREF, offset)
    kind = _KINDS.get(register)
    if kind is None:
        return UNSUPPORTED
    lost = rbp == _SAVED_AT_RBP or not -(1 << 15) <= rbp < 1 << 15
    return Rule(kind, offset, LOST if lost else rbp)


def _saved(machine: Machine, register: int, factored: int) -> int:
    place = factored * machine.code.data_align
    if register == RBP:
        machine.rbp = LOST if place % 2 or not place else place
    elif register == RETURN:
        machine.back = place or None
    return machine.settle()


def _elsewhere(machine: Machine, register: int) -> int:
    if register == RBP:
        machine.rbp = LOST
    elif register == RETURN:
        machine.back = None
    return machine.settle()


def _restore(machine: Machine, register: int) -> int:
    if register == RBP:
        machine.rbp = machine.first_rbp
    elif register == RETURN:
        machine.back = machine.first_back
    return machine.settle()


def _undefined(machine: Machine, rest: Iterator[int]) -> int:
    """undefined: of the return address it says that there is no caller."""
    register = number(rest)
    if register == RETURN:
        machine.back = 0
        return machine.settle()
    return _elsewhere(machine, register)


def _same_value(machine: Machine, rest: Iterator[int]) -> int:
    register = number(rest)
    if register == RBP:
        machine.rbp = 0
        return machine.settle()
    return _elsewhere(machine, register)


def _register(machine: Machine, rest: Iterator[int]) -> int:
    """register, val_offset: what it was is in another one, or is counted from the CFA."""
    register = number(rest)
    number(rest)  # a signed one has the same length
    return _elsewhere(machine, register)


def _expression(machine: Machine, rest: Iterator[int]) -> int:
    register, found = number(rest), block(rest)
    if register == RBP and found == _AT_RBP:
        machine.rbp = _SAVED_AT_RBP
        return machine.settle()
    return _elsewhere(machine, register)


def _val_expression(machine: Machine, rest: Iterator[int]) -> int:
    register = number(rest)
    block(rest)
    return _elsewhere(machine, register)


def _remember(machine: Machine, _rest: Iterator[int]) -> int:
    if len(machine.remembered) >= _MOST_REMEMBERED:
        raise BrokenTable(f".eh_frame remembers more than {_MOST_REMEMBERED} states.")
    m = machine
    m.remembered.append((m.register, m.offset, m.rbp, m.back, m.numbers))
    return 0


def _recall(machine: Machine, _rest: Iterator[int]) -> int:
    if not machine.remembered:
        raise BrokenTable(".eh_frame restores a state that it never remembered.")
    m = machine
    m.register, m.offset, m.rbp, m.back, m.numbers = m.remembered.pop()
    return 0


def _cfa(machine: Machine, register: int, offset: int) -> int:
    machine.register, machine.offset = register, offset
    return machine.settle()


def _cfa_register(machine: Machine, rest: Iterator[int]) -> int:
    """def_cfa_register: which has no meaning after an expression."""
    register = number(rest)
    return _cfa(machine, register if machine.register >= 0 else _EXPRESSION, machine.offset)


def _cfa_by(machine: Machine, rest: Iterator[int]) -> int:
    """def_cfa_expression."""
    found = block(rest)
    if found == _SIGNAL:
        return _cfa(machine, _IS_SIGNAL, 0)
    if plt := _PLT.fullmatch(found):
        return _cfa(machine, _IS_PLT, plt[1][0] - _LITERAL_0)
    if deref := _RSP_DEREF.fullmatch(found):
        return _cfa(machine, _IS_RSP_DEREF, signed(iter(deref[1])))
    if deref := _RBP_DEREF.fullmatch(found):
        return _cfa(machine, _IS_RBP_DEREF, signed(iter(deref[1])))
    return _cfa(machine, _EXPRESSION, 0)


def _cfa_offset(machine: Machine, offset: int) -> int:
    """After an expression an offset has no meaning."""
    return _cfa(machine, machine.register if machine.register >= 0 else _EXPRESSION, offset)


def _advance(rest: Iterator[int], width: int) -> int:
    found = bytes(islice(rest, width))
    if len(found) < width:
        raise BrokenTable("An advance in .eh_frame is cut off.")
    return int.from_bytes(found, "little")


def _quiet(_machine: Machine, _rest: Iterator[int]) -> int:
    return 0


def _skipped(_machine: Machine, rest: Iterator[int]) -> int:
    return number(rest) & 0


def _unknown(_machine: Machine, _rest: Iterator[int]) -> int:
    """Also set_loc and GNU_window_save, which nothing writes for x86-64."""
    raise BrokenTable("An instruction of .eh_frame is unknown.")


Act = Callable[[Machine, Iterator[int]], int]
"""Takes its operands from what comes next; gives how many bytes of code it skips."""


def _acts() -> tuple[Act, ...]:
    acts: list[Act] = [_unknown] * 256
    for one in QUIET:
        acts[one] = _quiet
    for one in SAVES:
        acts[one] = _skipped
    for one in range(1, 64):
        acts[ADVANCE | one] = lambda m, r, skipped=one: skipped  # type: ignore[misc]
    for code, act in _OTHERS.items():
        acts[code] = act
    return tuple(acts)


_OTHERS: dict[int, Act] = {
    0x02: lambda m, r: next(r),
    0x03: lambda m, r: _advance(r, 2),
    0x04: lambda m, r: _advance(r, 4),
    0x05: lambda m, r: _saved(m, number(r), number(r)),  # offset_extended
    0x06: lambda m, r: _restore(m, number(r)),  # restore_extended
    0x07: _undefined,
    0x08: _same_value,
    0x09: _register,
    0x0A: _remember,
    0x0B: _recall,
    0x0C: lambda m, r: _cfa(m, number(r), number(r)),  # def_cfa
    0x0D: _cfa_register,
    DEF_CFA_OFFSET: lambda m, r: _cfa_offset(m, number(r)),
    0x0F: _cfa_by,
    0x10: _expression,
    0x11: lambda m, r: _saved(m, number(r), signed(r)),  # offset_extended_sf
    0x12: lambda m, r: _cfa(m, number(r), signed(r) * m.code.data_align),  # def_cfa_sf
    0x13: lambda m, r: _cfa_offset(m, signed(r) * m.code.data_align),  # def_cfa_offset_sf
    0x14: _register,  # val_offset
    0x15: _register,  # val_offset_sf
    0x16: _val_expression,
    0x2F: lambda m, r: _saved(m, number(r), -number(r)),  # GNU_negative_offset_extended
    OFFSET | RBP: lambda m, r: _saved(m, RBP, number(r)),
    OFFSET | RETURN: lambda m, r: _saved(m, RETURN, number(r)),
    RESTORE | RBP: lambda m, r: _restore(m, RBP),
    RESTORE | RETURN: lambda m, r: _restore(m, RETURN),
}

ACTS: Final = _acts()
"""By instruction."""
