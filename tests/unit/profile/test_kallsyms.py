"""The kernel's functions by address."""

from __future__ import annotations

from pathlib import Path

from cotenant.profile.symbols.kallsyms import NOT_ALLOWED, Kallsyms

TEXT = """\
ffffffff81000000 T _stext
ffffffff81000000 T startup
ffffffff81000100 t local_one
ffffffff81000180 W weak_one
ffffffff81000180 T __global_one
ffffffff81000180 t local_longer_one
ffffffff81000200 T last_one
ffffffff81000300 T _etext
ffffffff82000000 D data
ffffffffc0001000 t nf_one\t[nf_tables]
ffffffffc0101000 t other\t[other]
ffffffffc0200000 t bpf_prog_1234_mine\t[bpf]
"""


def host(folder: Path, text: str, modules: str = "nf_tables 4096 1 - Live 0x0\n") -> Path:
    (folder / "kallsyms").write_text(text)
    (folder / "modules").write_text(modules)
    return folder


def test_names_modules_and_ends(tmp_path: Path) -> None:
    names = Kallsyms(host(tmp_path, TEXT))
    names.refresh()
    base = 0xFFFFFFFF81000000
    assert names.reason is None
    assert names.lookup(base + 5) == ("startup", "[kernel]", base)
    assert names.lookup(base + 0x17F) == ("local_one", "[kernel]", base + 0x100)
    assert names.lookup(base + 0x180) == ("__global_one", "[kernel]", base + 0x180)
    assert names.lookup(base + 0x2FF) == ("last_one", "[kernel]", base + 0x200)
    assert names.lookup(base + 0x300) is None
    assert names.lookup(0xFFFFFFFFC0001004) == ("nf_one", "[nf_tables]", 0xFFFFFFFFC0001000)
    assert names.lookup(0xFFFFFFFFC0011001) is None, "beyond 64 KiB of a module's last function"
    mine = names.lookup(0xFFFFFFFFC0200001)
    assert mine == ("bpf_prog_1234_mine", "[bpf]", 0xFFFFFFFFC0200000)


def test_hidden_addresses_are_a_reason_and_no_names(tmp_path: Path) -> None:
    hidden = "\n".join("0" * 16 + line[16:] for line in TEXT.splitlines())
    names = Kallsyms(host(tmp_path, hidden))
    names.refresh()
    assert (len(names), names.reason) == (0, NOT_ALLOWED)
    assert names.lookup(0xFFFFFFFF81000000) is None
    assert names.lookup(0) is None


def test_it_is_read_again_when_modules_change_and_not_else(tmp_path: Path) -> None:
    names = Kallsyms(host(tmp_path, TEXT))
    names.refresh()
    host(tmp_path, TEXT.replace("nf_one", "nf_two"), "nf_tables 4096 7 - Live 0x0\n")
    names.refresh()
    assert (names.lookup(0xFFFFFFFFC0001004) or ("",))[0] == "nf_one", "only its users changed"
    host(tmp_path, TEXT.replace("nf_one", "nf_two"), "nf_tables 8192 7 - Live 0x0\n")
    names.refresh()
    assert (names.lookup(0xFFFFFFFFC0001004) or ("",))[0] == "nf_two"


def test_a_kernel_without_it(tmp_path: Path) -> None:
    names = Kallsyms(tmp_path)
    names.refresh()
    assert names.reason is not None
    assert names.reason.startswith("/proc/kallsyms cannot be read")
