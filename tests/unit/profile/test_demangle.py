"""Mangled names: as binutils takes them apart, and those that were made to hurt."""

from __future__ import annotations

import os
import re
import resource
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.profile.binaries import CXX, nm, run

from cotenant.profile.symbols import demangle
from cotenant.profile.symbols.demangle import NAME_LIMIT, Demangler


@pytest.fixture(scope="module")
def demangler() -> Iterator[Demangler]:
    with Demangler() as found:
        yield found


@pytest.mark.parametrize(
    ("mangled", "plain"),
    [
        ("main", "main"),
        ("", ""),
        ("_Z", "_Z"),
        ("_ZN3foo3barEv", "foo::bar()"),
        ("_ZN3foo3barEv@plt", "foo::bar()@plt"),
        ("_ZN3foo3barEv.cold", "foo::bar() (.cold)"),
        ("_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int>>::push_back"),
        ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"),
        ("_RNvC6_123foo3bar", "123foo::bar"),
        ("_RINvNtC3std3mem8align_ofdE", "std::mem::align_of::<f64>"),
        ("_ZN3f\noE", "_ZN3f\noE"),
        ("_ZN3größeE", "_ZN3größeE"),
        ("?foo@@YAXXZ", "?foo@@YAXXZ"),
        ("runtime.mallocgc", "runtime.mallocgc"),
    ],
)
def test_names(demangler: Demangler, mangled: str, plain: str) -> None:
    assert demangler.name(mangled).removesuffix("(int&&)") == plain


def test_all_of_the_cxx_library_as_binutils_does(demangler: Demangler) -> None:
    """But for blanks, and for names that LLVM shortens: `std::string` for all of basic_string."""
    names = sorted({n for _, ns in nm(CXX, "-D").values() for n in ns if n.startswith("_ZN")})
    assert len(names) > 3000
    found = demangler.names(names)
    told = dict(zip(names, run("c++filt", *names).splitlines(), strict=True))
    same = sum(_short(found[n]) == _short(told[n]) for n in names)
    assert same / len(names) > 0.99
    assert all(found[name] != name for name in names)


def _short(name: str) -> str:
    plain = re.sub(r"<char, ?std::char_traits<char> ?(, ?std::allocator<char> ?)?>", "", name)
    return re.sub(r"std::(__cxx11::)?(basic_)?", "", plain.replace(" ", ""))


def test_one_that_would_fill_all_memory_stays_as_it_is() -> None:
    """254 letters that mean 436 MB; the agent's own memory does not grow, and others are served."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Demangler() as demangler:
        bombs = [_bomb(24), _bomb(30), _bomb(300)]
        found = demangler.names([*bombs, "_ZN3foo3barEv"])
        assert found == {**{bomb: bomb for bomb in bombs}, "_ZN3foo3barEv": "foo::bar()"}
        assert demangler.name(_bomb(8)).startswith("f(A, void (*)(A, A), ")
        assert len(demangler.name(_bomb(8))) <= NAME_LIMIT
        for doublings in range(30, 70):
            demangler.name(_bomb(doublings))
        assert demangler.refused >= 40
        assert demangler.name("_ZN3foo3bazEv") == "foo::baz()"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_nested_names_do_not_overflow_the_stack(demangler: Demangler) -> None:
    assert demangler.name("_Z1f" + "P" * 4000 + "i").startswith("f(int***")
    beyond = "_Z1f" + "P" * NAME_LIMIT + "i"
    assert demangler.name(beyond) == beyond


def test_its_child_ends_with_it_and_holds_nothing() -> None:
    demangler = Demangler()
    demangler.name("_ZN3foo3barEv")
    child = demangler._child
    assert child is not None
    limits = Path(f"/proc/{child.pid}/limits").read_text()
    assert [line.split()[3] for line in limits.splitlines() if "Max open files" in line] == ["0"]
    if os.getuid() == 0:
        assert Path(f"/proc/{child.pid}").stat().st_uid == 65534
    demangler.close()
    assert not Path(f"/proc/{child.pid}").exists()
    assert demangler.name("_ZN3foo3barEv") == "foo::bar()"
    assert demangler.name("_ZN3foo3bazEv") == "foo::baz()"
    demangler.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(string.ascii_letters + string.digits + "_.@ \n$", max_size=60)))
def test_any_names_are_answered_each_with_its_own(tails: list[str]) -> None:
    names = [prefix + tail for tail in tails for prefix in ("_Z", "_R", "")]
    found = _SHARED.names([*names, "_ZN3foo3barEv"])
    assert found.keys() == {*names, "_ZN3foo3barEv"}
    assert found["_ZN3foo3barEv"] == "foo::bar()"


@pytest.fixture(scope="module", autouse=True)
def _end_shared() -> Iterator[None]:
    yield
    _SHARED.close()


@pytest.fixture(scope="module", autouse=True)
def _patience() -> Iterator[None]:
    """A child that the machine holds up is not given up; those that a name kills end at once."""
    with pytest.MonkeyPatch.context() as patient:
        patient.setattr(demangle, "_PATIENCE_S", 30.0)
        yield


_SHARED = Demangler()


def _bomb(doublings: int) -> str:
    """A function whose each parameter is a function type over the one before, twice."""
    name = "_Z1f1A"
    for i in range(doublings):
        name += f"PFv{_reference(2 * i)}{_reference(2 * i)}E"
    return name


def _reference(number: int) -> str:
    digits = string.digits + string.ascii_uppercase
    if number == 0:
        return "S_"
    number -= 1
    text = digits[number % 36]
    while number := number // 36:
        text = digits[number % 36] + text
    return f"S{text}_"
