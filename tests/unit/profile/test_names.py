"""What is kept of one process to name its code: for how long, and of whom."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cotenant.model import Frame, FrameKind
from cotenant.profile import names
from cotenant.profile.binaries import CodeFile
from cotenant.profile.follow import Living, Run
from cotenant.profile.names import Names, Process
from cotenant.profile.processes.maps import Proc
from cotenant.profile.python.code import NoFrame
from cotenant.profile.symbols.functions import Row, Symbols
from cotenant.profile.symbols.kallsyms import Kallsyms

RUN = Run(0, ())


def process(started: int) -> Process:
    return Process(os.getpid(), Living(started, (), (), RUN))


def test_memory_is_read_of_the_process_that_was_meant_alone() -> None:
    """Its number may be another's by now, whose memory is nobody's business here."""
    started = Proc().started(os.getpid())
    assert started
    text = ctypes.create_string_buffer(b"here")
    mine, older = process(started), process(started - 100)
    assert mine._read(ctypes.addressof(text), 4) == b"here"
    with pytest.raises(ProcessLookupError):
        older._read(ctypes.addressof(text), 4)
    mine.close()


def test_frames_are_kept_up_to_so_many_and_what_was_gone_is_looked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "MOST_PYTHON_FRAMES", 2)
    kept = process(1)
    frame = Frame("f", FrameKind.PYTHON)
    kept.frames = {(1, 1, 1): frame, (2, 2, 2): NoFrame.STALE}
    assert kept.next_round()
    assert kept.frames == {(1, 1, 1): frame}
    kept.frames |= {(n, n, n): frame for n in (2, 3)}
    assert not kept.next_round()
    assert not kept.frames


class Files:
    """Binaries that learn names of `learned`, once; all functions take 16 bytes."""

    def __init__(self, *files: CodeFile) -> None:
        self.by_number = {file.number: file for file in files}
        self.learned: list[CodeFile] = []
        self.named: set[int] = set()
        self.server_note = ""

    def learn(self) -> list[CodeFile]:
        learned, self.learned = self.learned, []
        self.named |= {file.number for file in learned}
        return learned

    def symbols(self, file: CodeFile) -> Symbols:
        name = b"known" if file.number in self.named else b""
        return Symbols.of([Row(at, 16, name) for at in (0x10, 0x20)])


def test_frames_that_were_told_get_the_names_that_come_later() -> None:
    """Only those of the file that a debug file was for, and where two may be meant, of neither."""
    mine, others = CodeFile(1, "/a", "11", "x"), CodeFile(2, "/b", "22", "y")
    files = Files(mine, others)
    named = Names(cast(Any, files), cast(Any, None))
    told = (
        named.native(1, 0x18),
        named.native(1, 0x2F),
        named.native(2, 0x18),
        Frame("f", FrameKind.PYTHON, module="/a", build_id="11"),
    )
    assert [frame.name for frame in told] == ["a+0x10", "a+0x20", "b+0x10", "f"]
    named.learn()
    assert named.renamed(told) is told
    files.learned = [mine]
    named.learn()
    now = named.renamed(told)
    assert [frame.name for frame in now] == ["known", "known", "b+0x10", "f"]
    assert [frame.address for frame in now] == [0x10, 0x20, 0x10, 0]
    assert named.native(1, 0x18).name == "known"
    files.by_number[3] = CodeFile(3, "/a", "11", "z")
    assert named.renamed(told) is told, "a copy that only says so"
    del files.by_number[3], files.by_number[1]
    named.learn()
    assert named.renamed(told) is told, "nobody maps it any more"
    named.close()


def test_an_address_of_the_kernel_has_another_name_when_its_module_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(module: str) -> None:
        (tmp_path / "modules").write_text(f"{module} 4096 0 - Live 0x0\n")
        (tmp_path / "kallsyms").write_text(f"ffffffffc0001000 t {module}_send\t[{module}]\n")

    monkeypatch.setattr(names, "Kallsyms", lambda: Kallsyms(tmp_path))
    living = cast(Any, SimpleNamespace(living={}))
    named = Names(cast(Any, SimpleNamespace(named_anew=lambda: False)), living)
    loaded("one")
    named.prepare()
    first = named.kernel(0xFFFFFFFFC0001004)
    assert (first.name, first.module) == ("one_send", "[one]")
    assert named.kernel(0xFFFFFFFFC0001004) is first
    named.next_round(())
    assert named.kernel(0xFFFFFFFFC0001004) == first
    loaded("two")
    named.next_round(())
    assert named.kernel(0xFFFFFFFFC0001004).name == "two_send"
    named.close()
