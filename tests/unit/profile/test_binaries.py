"""Files that processes map, opened through real processes; the programs only take what they get."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.profile.binaries import SOURCE, nm, run

from cotenant.profile import binaries as binaries_module
from cotenant.profile.binaries import Binaries
from cotenant.profile.binary import Binary
from cotenant.profile.processes.mappings import Mapping
from cotenant.profile.processes.maps import Proc
from cotenant.profile.symbols.debuginfod import Server
from cotenant.profile.unwind.loaded import Tables


class Programs:
    """Takes everything."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: True


@contextmanager
def running(program: Path) -> Iterator[tuple[int, Mapping]]:
    """A process, and where it maps its code."""
    process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdin and process.stdout
        process.stdin.write(b"a\n")
        process.stdin.flush()
        assert process.stdout.readline()  # it runs by now
        seen = Proc().look(process.pid)
        assert seen and seen.mappings
        yield process.pid, next(one for one in seen.mappings if one.path == str(program))
    finally:
        process.kill()
        process.communicate()


def test_who_maps_a_file_that_could_not_be_opened_any_more_brings_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries_module, "MOST_OPEN", 0)
    program = tmp_path / "cat"
    shutil.copy("/bin/cat", program)
    with closing(Binaries(Tables(cast(Any, Programs())))) as binaries:
        with running(program) as (first, mapping):
            file = binaries.of(first, mapping, binaries.view(first))
        assert binaries.symbols(file) is None and not binaries.named_anew()
        with running(program) as (second, mapping):
            assert binaries.of(second, mapping, binaries.view(second)) is file
            assert binaries.named_anew() and not binaries.named_anew()
            assert binaries.symbols(file) is not None
        with running(program) as (third, mapping):
            assert binaries.of(third, mapping, binaries.view(third)) is file
            assert not binaries.named_anew(), "it has its names"


def test_a_file_named_before_it_has_its_table_gets_one_all_the_same(tmp_path: Path) -> None:
    """Also where its table made room for others', and it is mapped again."""
    program = tmp_path / "cat"
    shutil.copy("/bin/cat", program)
    tables = Tables(cast(Any, Programs()))
    with closing(Binaries(tables)) as binaries, running(program) as (pid, mapping):
        file = binaries.of(pid, mapping, binaries.view(pid))
        assert binaries.symbols(file) and binaries.is_waiting(file)
        binaries.work(10)
        assert binaries.untabled == 0 and file.number in tables._runs
        assert not binaries._open, "nobody needs it any more"
        assert tables._evict(set()) and file.number not in tables._runs
        assert binaries.of(pid, mapping, binaries.view(pid)) is file
        binaries.work(10)
        assert binaries.untabled == 0 and file.number in tables._runs
        assert not binaries._open and binaries.rules(file), "nor do stacks that are walked here"


class Sends(Server):
    """Has sent what is put into `sent`."""

    def __init__(self) -> None:
        super().__init__("http://debug.example")
        self.build_ids: list[str] = []
        self.sent: list[tuple[str, Path]] = []

    def ask(self, build_id: str) -> None:
        self.build_ids.append(build_id)

    def come(self) -> Iterator[tuple[str, Binary]]:
        while self.sent:
            build_id, path = self.sent.pop()
            with Binary.at(path) as file:
                yield build_id, file


def test_a_debug_file_that_comes_later_renames_functions(tmp_path: Path) -> None:
    """Of that file alone; where its process is gone by then, they keep the names they had."""
    source, binary, server = tmp_path / "stays.c", tmp_path / "stays", Sends()
    source.write_text(SOURCE.replace("return 0", "fflush(stdout); while (getchar() >= 0) {}"))
    run("gcc", "-O1", "-Wl,--build-id", "-o", binary, source)
    debug, bare = tmp_path / "debug", tmp_path / "bare"
    run("objcopy", "--only-keep-debug", binary, debug)
    run("objcopy", "--strip-all", binary, bare)
    hidden = next(at for at, (_, all_) in nm(binary).items() if "hidden_one" in all_)
    with closing(Binaries(Tables(cast(Any, Programs())), None, server)) as binaries:
        with running(bare) as (pid, mapping):
            file = binaries.of(pid, mapping, binaries.view(pid))
            binaries.work(10)
            before = binaries.symbols(file)
            assert before and before.lookup(hidden) != ("hidden_one", hidden)
            assert server.build_ids == [file.build_id]
            assert binaries.learn() == [] and not binaries.named_anew()
            server.sent.append((file.build_id, debug))
            assert binaries.learn() == [file]
            assert binaries.named_anew() and not binaries.named_anew()
            after = binaries.symbols(file)
            assert after and after.lookup(hidden) == ("hidden_one", hidden)
        server.sent.append((file.build_id, debug))
        assert binaries.learn() == [], "its process has ended"
        assert binaries.symbols(file) is after
