"""Where names are looked for, and what may be believed."""

from __future__ import annotations

import lzma
import os
import shutil
from pathlib import Path

import pytest
from tests.unit.profile.binaries import made, made_go, nm, run

from cotenant.profile.binary import Binary, open_mapped
from cotenant.profile.elf import Elf
from cotenant.profile.symbols.debuginfod import Server
from cotenant.profile.symbols.functions import Symbols
from cotenant.profile.symbols.naming import Naming


class Kept:
    """A cache in memory."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.hits = 0

    def get(self, kind: str, key: str) -> bytes | None:
        self.hits += key in self.data
        return self.data.get(key)

    def put(self, kind: str, key: str, data: bytes) -> bool:
        self.data[key] = data
        return True


def names(binary: Path, naming: Naming | None = None, *roots: Path, path: str = "") -> Symbols:
    with Binary.at(binary) as file:
        return (naming or Naming()).symbols(Elf(file), path or str(binary), roots)


def places(binary: Path) -> dict[str, int]:
    return {name: address for address, (_, all_) in nm(binary).items() for name in all_}


def stripped(binary: Path, *also: str) -> Path:
    bare = binary.with_name("stripped")
    run("objcopy", "--strip-all", *also, binary, bare)
    return bare


def test_a_symbol_table_and_the_linkage_table(tmp_path: Path) -> None:
    binary = made(tmp_path)
    found = names(binary)
    assert found.source == ".symtab+PLT"
    place = places(binary)
    assert found.lookup(place["hidden_one"]) == ("hidden_one", place["hidden_one"])


def test_mini_debug_info_names_what_was_stripped(tmp_path: Path) -> None:
    """Made as Fedora's find-debuginfo makes it."""
    binary = made(tmp_path)
    mini, packed = tmp_path / "mini", tmp_path / "mini.xz"
    run("objcopy", "--only-keep-debug", binary, mini)
    run("objcopy", "--strip-debug", "--remove-section=.comment", mini)
    packed.write_bytes(lzma.compress(mini.read_bytes()))
    bare = stripped(binary, f"--add-section=.gnu_debugdata={packed}")
    found = names(bare)
    assert "MiniDebugInfo" in found.source
    place = places(binary)
    for name in ("hidden_one", "hidden_two", "shown", "main"):
        assert found.lookup(place[name]) == (name, place[name])


@pytest.mark.parametrize("damage", ["bomb", "noise", "cut"])
def test_mini_debug_info_that_is_none(tmp_path: Path, damage: str) -> None:
    binary = made(tmp_path, "-rdynamic")
    packed = tmp_path / "mini.xz"
    content = bytes(80 << 20) if damage == "bomb" else binary.read_bytes()
    whole = lzma.compress(content, preset=0)
    packed.write_bytes({"bomb": whole, "noise": b"x" * 999, "cut": whole[:-40]}[damage])
    naming = Naming()
    found = names(stripped(binary, f"--add-section=.gnu_debugdata={packed}"), naming)
    assert naming.refused == 1
    assert ".gnu_debugdata" in naming.last_refusal
    place = places(binary)
    assert found.lookup(place["shown"]) == ("shown", place["shown"]), "others go on"


@pytest.mark.parametrize("where", ["build-id", "beside", ".debug", "usr-lib-debug"])
def test_separate_debug_files(tmp_path: Path, where: str) -> None:
    binary = made(tmp_path)
    root = tmp_path / "root"
    (root / "opt/app").mkdir(parents=True)
    debug = tmp_path / "victim.debug"
    run("objcopy", "--only-keep-debug", binary, debug)
    bare = stripped(binary, f"--add-gnu-debuglink={debug}")
    with Binary.at(binary) as file:
        build_id = Elf(file).build_id
    home = {
        "build-id": root / f"usr/lib/debug/.build-id/{build_id[:2]}/{build_id[2:]}.debug",
        "beside": root / "opt/app/victim.debug",
        ".debug": root / "opt/app/.debug/victim.debug",
        "usr-lib-debug": root / "usr/lib/debug/opt/app/victim.debug",
    }[where]
    home.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(debug, home)
    cache = Kept()
    found = names(bare, Naming(cache), tmp_path / "absent", root, path="/opt/app/victim")
    place = places(binary)
    assert found.source.startswith("debug file")
    assert found.lookup(place["hidden_one"]) == ("hidden_one", place["hidden_one"])
    home.unlink()
    without = names(bare, Naming(cache), root, path="/opt/app/victim")
    nameless = ("", place["hidden_one"])  # as .eh_frame_hdr has it
    assert without.lookup(place["hidden_one"]) == nameless, "the cache keeps both apart"


def test_a_debug_file_of_another_build_or_behind_a_link_is_not_taken(tmp_path: Path) -> None:
    binary = made(tmp_path)
    root = tmp_path / "root"
    (root / "opt").mkdir(parents=True)
    debug = tmp_path / "victim.debug"
    run("objcopy", "--only-keep-debug", binary, debug)
    bare = stripped(binary, f"--add-gnu-debuglink={debug}")
    (root / "opt/victim.debug").symlink_to(debug)
    assert "debug" not in names(bare, None, root, path="/opt/victim").source
    (root / "opt/victim.debug").unlink()
    shutil.copy("/bin/true", root / "opt/victim.debug")
    assert "debug" not in names(bare, None, root, path="/opt/victim").source
    os.truncate(root / "opt/victim.debug", 10)
    assert "debug" not in names(bare, None, root, path="/opt/victim").source
    assert "debug" not in names(bare, None, root, path="/../../../victim").source


def test_without_build_ids_the_checksum_decides(tmp_path: Path) -> None:
    binary = made(tmp_path, "-Wl,--build-id=none")
    debug = tmp_path / "victim.debug"
    run("objcopy", "--only-keep-debug", binary, debug)
    bare = stripped(binary, f"--add-gnu-debuglink={debug}")
    path = str(bare)
    assert names(bare, None, Path("/"), path=path).source.startswith("debug file")
    with debug.open("ab") as file:
        file.write(b"x")
    assert "debug" not in names(bare, None, Path("/"), path=path).source


@pytest.mark.go
def test_go_names_come_first_and_c_functions_beside_them(tmp_path: Path) -> None:
    binary = made_go(tmp_path, "victim", "-ldflags=-linkmode=external")
    found = names(binary)
    assert found.source == "Go+.symtab+PLT"
    place = places(binary)
    assert found.lookup(place["_start"]) == ("_start", place["_start"])


def test_the_cache_is_asked_and_a_forged_build_id_poisons_nobody(tmp_path: Path) -> None:
    """A tenant's copy of a binary, with its build id and other names."""
    binary = made(tmp_path)
    cache = Kept()
    honest = names(binary, Naming(cache))
    forged = tmp_path / "forged"
    forged.write_bytes(binary.read_bytes().replace(b"hidden_one", b"innocent_1"))
    with Binary.at(forged) as one, Binary.at(binary) as other:
        assert Elf(one).build_id == Elf(other).build_id
    names(forged, Naming(cache))
    assert (cache.hits, len(cache.data)) == (0, 2)
    again = names(binary, Naming(cache))
    assert cache.hits == 1
    assert again.to_bytes() == honest.to_bytes()
    for key in cache.data:
        cache.data[key] = b"damaged"
    assert names(binary, Naming(cache)).to_bytes() == honest.to_bytes()


def test_a_broken_file_has_no_names_and_is_counted(tmp_path: Path) -> None:
    binary = made(tmp_path)
    data = bytearray(binary.read_bytes())
    data[40:48] = b"\xff" * 8  # where its section headers are
    binary.write_bytes(data)
    naming = Naming()
    assert len(names(binary, naming)) == 0
    assert naming.refused == 1


class Asked(Server):
    """Keeps whom it was asked for; nothing comes of it."""

    def __init__(self) -> None:
        super().__init__("http://debug.example")
        self.build_ids: list[str] = []

    def ask(self, build_id: str) -> None:
        self.build_ids.append(build_id)


def test_a_server_is_asked_for_what_nobody_here_can_tell(tmp_path: Path) -> None:
    binary = made(tmp_path)
    bare = stripped(binary)
    debug = tmp_path / "debug"
    run("objcopy", "--only-keep-debug", binary, debug)
    place, server = places(binary), Asked()
    naming = Naming(Kept(), server)
    names(binary, naming)
    assert server.build_ids == [], "it has a symbol table"
    assert names(bare, naming).lookup(place["hidden_one"]) != ("hidden_one", place["hidden_one"])
    with Binary.at(bare) as file, Binary.at(debug) as sent, Binary.at(Path("/bin/true")) as other:
        elf = Elf(file)
        assert server.build_ids == [elf.build_id]
        assert naming.served(elf, other) is None
        assert "another build" in naming.last_refusal
        found = naming.served(elf, sent)
    assert found
    assert found.source.startswith("debuginfod")
    assert found.lookup(place["hidden_one"]) == ("hidden_one", place["hidden_one"])
    assert names(bare, naming).source == found.source, "kept"
    assert len(server.build_ids) == 1
    assert "debuginfod" not in names(bare, Naming()).source, "of those who ask"


def test_a_mapped_file_is_opened_and_no_other(tmp_path: Path) -> None:
    """This very process's libc; below its root, as this test has no rights."""
    line = next(
        line for line in Path("/proc/self/maps").read_text().splitlines() if "libc.so.6" in line
    )
    start, end = (int(word, 16) for word in line.split()[0].split("-"))
    path, inode = line.split()[-1], int(line.split()[4])
    me = os.getpid()
    found = open_mapped(me, start, end, path, inode)
    assert found is not None
    with found:
        assert found.inode == inode
        assert Elf(found).find("malloc") is not None
    wrong = (1, 2)  # so that the way through map_files finds nothing
    assert open_mapped(me, *wrong, path, inode + 1) is None
    for hostile in ("/dev/null", "/proc/self/exe", "/etc", "", "/../..", "relative", "/a\0b"):
        assert open_mapped(me, *wrong, hostile, 1) is None
    by_path = open_mapped(me, *wrong, path, inode)
    assert by_path is not None
    by_path.close()
    assert open_mapped(1 << 22, start, end, path, inode) is None


def test_functions_without_names_are_told_apart_where_they_begin(tmp_path: Path) -> None:
    binary = made(tmp_path)
    place = places(binary)
    bare = stripped(binary)
    found = names(bare)
    assert ".eh_frame_hdr" in found.source.split("+")
    inside = place["hidden_one"] + 3
    assert found.lookup(inside) == ("", place["hidden_one"])
