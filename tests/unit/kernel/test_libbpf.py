"""libbpf's refusals become a sentence and a hint; its log is digested, never poured out."""

from __future__ import annotations

import ctypes
import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotenant.errors import KernelRefused, NoBpf
from cotenant.kernel import libbpf
from cotenant.kernel.libbpf import Object, _last_words, _refused, library
from cotenant.meter.programs import EACH, OBJECTS

VERIFIER = [
    "libbpf: prog 'meter': BPF program load failed: Permission denied",
    "libbpf: prog 'meter': -- BEGIN PROG LOAD LOG --\n0: R1=ctx()\n1: (79) r6 = *(u64 *)(r1 +8)\n"
    "2: (85) call bpf_probe_read_kernel#113\nunknown func bpf_probe_read_kernel#113\n"
    "processed 3 insns (limit 1000000) max_states_per_insn 0\n-- END PROG LOAD LOG --",
    "libbpf: failed to load object 'meter.bpf.o'",
]


@pytest.fixture(autouse=True)
def log(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(libbpf, "_log", lines)
    return lines


@pytest.fixture
def opened():
    found = Object(OBJECTS / EACH)
    yield found
    found.close()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
@pytest.mark.parametrize(
    ("user", "hint"), [(1000, "sudo cotenant check"), (0, "cotenant --debug check")]
)
def test_what_is_forbidden_is_no_bpf_and_says_who_may(code, user, hint, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    error = _refused("loading", code)
    assert isinstance(error, NoBpf)
    assert str(error).startswith("The kernel does not let this process use eBPF (loading): ")
    assert error.hint == hint


@pytest.mark.parametrize(
    "code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT, errno.ESRCH]
)
def test_what_the_kernel_lacks_is_no_bpf(code):
    error = _refused("loading", code)
    assert isinstance(error, NoBpf)
    assert str(error).startswith("This kernel lacks what eBPF metering needs (loading): ")


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.E2BIG, errno.EBUSY, errno.ENOSPC])
def test_what_a_kernel_could_do_but_did_not_is_refused(code):
    error = _refused("loading", code)
    assert isinstance(error, KernelRefused) and not isinstance(error, NoBpf)
    assert str(error).startswith("loading failed: ")


def test_the_last_telling_lines_are_kept_and_the_rest_counted(log):
    log += VERIFIER
    said = _last_words()
    assert "unknown func bpf_probe_read_kernel#113" in said
    assert said.endswith("libbpf: failed to load object 'meter.bpf.o' (3 more lines of log)")
    assert "processed 3" not in said and "END PROG" not in said


def test_libbpf_s_own_words_are_a_note_and_no_part_of_the_sentence(log):
    assert not hasattr(_refused("loading", errno.EACCES), "__notes__")
    log += VERIFIER
    error = _refused("loading", errno.EACCES)
    assert str(error).endswith(" (loading): Permission denied.")
    assert error.__notes__ == [_last_words()]


def test_a_short_log_is_told_whole(log):
    log += ["one", "  ", "two\nthree"]
    assert _last_words() == "one / two / three"


@given(st.lists(st.text()))
def test_the_digest_is_one_line_of_four_parts_at_most(lines):
    libbpf._log[:] = lines
    assert _last_words().count(" / ") <= 3 + sum(" / " in line for line in lines)
    assert "\n" not in _last_words()


def test_lines_about_what_went_well_are_no_cause(log, opened):
    """libbpf tells hundreds of them while it opens an object."""
    assert log == []


def test_a_missing_object_is_told_with_what_to_type(tmp_path):
    with pytest.raises(NoBpf, match=r"^The compiled program x\.bpf\.o is missing\.$") as caught:
        Object(tmp_path / "x.bpf.o")
    assert caught.value.hint == "make build"


@pytest.mark.parametrize("data", [b"", b"\x7fELF" + b"\0" * 100, b"text"])
def test_an_object_that_is_none_is_refused_in_a_sentence(tmp_path, data):
    (tmp_path / "x.bpf.o").write_bytes(data)
    with pytest.raises((NoBpf, KernelRefused)) as caught:
        Object(tmp_path / "x.bpf.o")
    assert "opening x.bpf.o" in str(caught.value)
    assert "x.bpf.o" in caught.value.__notes__[0], "libbpf's own word for it"


def test_a_section_takes_no_more_than_it_holds(opened):
    opened.set_section(".rodata.config", 0, bytes(4))
    with pytest.raises(KernelRefused, match="holds"):
        opened.set_section(".rodata.config", 0, bytes(1 << 16))
    with pytest.raises(KernelRefused, match="holds"):
        opened.set_section(".rodata.config", 1 << 16, b"x")


def test_a_name_that_is_not_in_the_object_is_our_own_fault(opened):
    with pytest.raises(KernelRefused, match="no map named nowhere"):
        opened.map("nowhere")
    with pytest.raises(KernelRefused, match="no program named nobody"):
        opened.leave_out("nobody")


def test_closing_twice_does_no_harm(opened):
    opened.close()
    opened.close()


def test_a_host_without_libbpf_has_no_bpf(monkeypatch):
    def missing(name: str, use_errno: bool) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    library.cache_clear()
    try:
        with pytest.raises(NoBpf, match=r"libbpf 1\.1 or newer cannot be loaded") as caught:
            library()
    finally:
        library.cache_clear()
    assert caught.value.hint == "sudo apt-get install libbpf1"


def test_a_libbpf_too_old_to_have_a_function_has_no_bpf(monkeypatch):
    monkeypatch.setitem(libbpf._SIGNATURES, "bpf_no_such_function", (None, ()))
    library.cache_clear()
    try:
        with pytest.raises(NoBpf, match="bpf_no_such_function"):
            library()
    finally:
        library.cache_clear()
