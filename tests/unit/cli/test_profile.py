"""The verb `profile`: its words, where it writes, when it ends."""

from __future__ import annotations

import gzip
import io
import os
import re
import signal
import stat
import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console
from tests.unit.cli import profiles
from tests.unit.cli.profiles import FakeSampler, Maker, hostile, web, wild
from tests.unit.snapshots import HOSTILE

from cotenant.cli import profile_own, profile_sampling
from cotenant.cli.main import main
from cotenant.cli.profile_out import Output
from cotenant.cli.profile_sampling import counted, ending, sample
from cotenant.cli.profile_sum import OTHER, Sum, bounded
from cotenant.cli.profile_text import page, summary, top_stacks
from cotenant.errors import CotenantError, UnknownTenant, UsageError
from cotenant.export.profile_files import parse_file, render
from cotenant.model import Frame, FrameKind, ProfileType

GOLDEN = Path(__file__).with_name("profile.txt")


def printed(renderable, width=100):
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(renderable)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


@pytest.fixture
def sampler(monkeypatch):
    """The verb's own sense, made up; told what it was asked for."""
    made = FakeSampler(web())

    def opened(settings, words, kind, hz):
        made.asked.append((words, kind, hz))
        if "wbe" in words:
            raise UnknownTenant("No tenant is called 'wbe'.", "the nearest is web")
        return made

    monkeypatch.setattr(profile_own, "open_own", opened)
    return made


# In words


def test_the_page_in_words():
    made = "\n".join([printed(page(web(), 100)), *summary(web()), ""])
    assert made == GOLDEN.read_text()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
@pytest.mark.parametrize("profile", [web(), hostile(HOSTILE)], ids=["web", "hostile"])
def test_no_line_is_longer_than_the_width_and_no_name_touches_the_screen(profile, width):
    made = printed(page(profile, width), width)
    assert max(cell_len(line) for line in made.splitlines()) <= width
    assert not set(made) & {"\x1b", "\r", "\t", "\u202e", "\u2066", "\udcff"}
    assert all("\n" not in line and "\x1b" not in line for line in summary(profile))


def test_nothing_sampled_is_said():
    empty = Maker().made()
    assert "Nothing was sampled" in printed(page(empty, 80))
    assert summary(empty) == ["cpu profile, 10.0 s: 0 samples, 0 s, 0 stacks"]


def test_the_summary_tells_how_stacks_ended_and_what_is_lost():
    told = summary(web())
    assert told[1] == "unwound fully 99.7 %; cut: no unwind table 3"
    assert told[2].startswith("lost or left out: 2 samples without room")
    assert told[-1] == "note: ruby: native frames only"
    nearly = Maker().add(99_999, profiles.START).add(1, profiles.START, end="truncated").made()
    assert summary(nearly)[1] == "unwound fully 99.9 %; cut: truncated 1"
    folded = parse_file("a.folded", render("a.folded", web()))
    assert not any("unwound" in line for line in summary(folded))  # it does not tell


def test_top_stacks_are_of_one_tenant_and_differ_by_more_than_lines():
    profile = web()
    stacks = top_stacks(profile, profile.tenants[0], 2)
    assert [one.process for one in stacks.heavy] == ["python3", "python3"]
    shown = printed(stacks, 60)
    assert shown.startswith("  41.3 %  3.1 s  python3\n          Template.render.<locals>.cell")
    two = Maker().add(1, profiles.RENDER).add(2, profiles.RENDER_LATER).made()
    (one,) = top_stacks(two, None, 5).heavy
    assert one.value == 3 * profiles.PERIOD


def test_deep_stacks_show_both_ends_and_recursion_as_one():
    deep = [Frame(f"f{i}", FrameKind.NATIVE) for i in range(40)]
    shown = printed(top_stacks(Maker().add(1, *deep).made(), None, 1), 60).splitlines()
    assert [line.split()[-1] for line in shown[1:7]] == [f"f{i}" for i in range(39, 33, -1)]
    assert shown[7].strip() == "… 32 more"
    assert [line.split()[-1] for line in shown[8:]] == ["f1", "f0"]
    fib = Frame("fib", FrameKind.PYTHON)
    assert "fib ×30" in printed(top_stacks(Maker().add(1, *[fib] * 30).made(), None, 1), 60)


# Added up


def test_parts_add_up_to_the_whole():
    total = Sum()
    assert total.profile() is None
    for begin in (1.7e9, 1.7e9 + 10):
        total.add(replace(web(), from_s=begin, until_s=begin + 10))
    whole = total.profile()
    assert whole is not None and whole.seconds == 20
    assert sum(s.value for s in whole.stacks) == 2 * sum(s.value for s in web().stacks)
    assert whole.lost.dropped == 4
    assert len(whole.stacks) == len(web().stacks)


@given(st.integers(0, 10_000), st.integers(1, 50))
def test_a_bounded_profile_loses_no_weight_and_counts_what_it_folds(seed, most):
    profile = wild(seed)
    kept = bounded(profile, most)
    assert sum(s.value for s in kept.stacks) == sum(s.value for s in profile.stacks)
    assert sum(s.count for s in kept.stacks) == sum(s.count for s in profile.stacks)
    other = [s for s in kept.stacks if [kept.frames[i] for i in s.frames] == [OTHER]]
    assert len(kept.stacks) - len(other) <= most
    assert kept.lost.folded == sum(s.count for s in other)
    again = bounded(kept, most)
    assert again.lost.folded - kept.lost.folded <= len(other)


# Where it is written


def test_what_is_written_is_whole_and_has_the_rights_of_a_new_file(tmp_path):
    target = tmp_path / "a.json"
    target.write_text("old")
    with Output(str(target)) as out:
        assert target.read_text() == "old"
        out.write(web())
    assert parse_file("a.json", target.read_bytes()).stacks == web().stacks
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_is_not_written_leaves_nothing_and_the_old_file_alone(tmp_path):
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), Output(str(target)):
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "a.json"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with Output(str(pipe)) as out:
        out.write(web())
    reader.join(10)
    assert got == [render("a.json", web())]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("name", ["a.xyz", "a", "-.xyz", ""])
def test_an_ending_that_is_no_form_is_told(name):
    with pytest.raises(UsageError, match="form of a profile"):
        Output(name)


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(CotenantError, match="Nothing can be written"):
        Output(str(tmp_path / "none" / "a.json"))
    (tmp_path / "b.json").mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        Output(str(tmp_path / "b.json"))


# The verb


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "stored.json"
    path.write_bytes(render("stored.json", web()))
    return path


def test_a_stored_profile_is_shown_in_words_where_no_terminal_is(stored, capfd):
    assert main(["profile", str(stored)]) == 0
    told = capfd.readouterr()
    assert "SELF %  TOTAL %" in told.out and "The heaviest stacks" in told.out
    assert "unwound fully 99.7 %" in told.err


@pytest.mark.parametrize("ending", [".pb.gz", ".folded"])
def test_a_stored_profile_becomes_another_form_and_is_read_again(stored, tmp_path, ending, capfd):
    target = tmp_path / f"other{ending}"
    assert main(["profile", str(stored), "--tenant", "web", "-o", str(target)]) == 0
    assert f"written: {target}" in capfd.readouterr().err
    assert main(["profile", str(target)]) == 0
    told = capfd.readouterr()
    assert "cpu_" not in told.err
    assert "750 samples" in told.out and "node-api" not in told.out


def test_to_stdout_goes_data_alone(stored, capfdbinary):
    assert main(["profile", str(stored), "-o", "-"]) == 0
    out = capfdbinary.readouterr().out
    assert len(out.splitlines()) == len(web().stacks) and out.startswith(b"host;")
    assert main(["profile", str(stored), "--json"]) == 0
    assert msgspec.json.decode(capfdbinary.readouterr().out)["type"] == "cpu"
    assert main(["profile", str(stored), "-o", "-.pb.gz"]) == 0
    assert gzip.decompress(capfdbinary.readouterr().out)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a.json", "--hz", "9"], "--hz is for sampling"),
        (["a.json", "--duration", "1s"], "--duration is for sampling"),
        (["--json", "-o", "x.json"], "one at a time"),
        (["--duration", "0s"], "100ms to 24h"),
        (["--duration", "soon"], "no length of time"),
        (["--hz", "1000"], "1000"),
        (["--hz", "0"], "0"),
        (["--type", "heap"], "heap"),
        (["a.nonsense"], "a.nonsense"),
    ],
)
def test_words_that_are_off_are_told_before_anything_is_sampled(
    words, sentence, sampler, stored, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_bytes(stored.read_bytes())
    (tmp_path / "a.nonsense").write_text("")
    assert main(["profile", *words]) == 2
    told = capfd.readouterr()
    assert sentence in told.err and not told.out
    assert not sampler.asked


def test_an_unknown_tenant_and_a_bad_ending_leave_no_file(sampler, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["profile", "--tenant", "wbe", "--duration", "1s", "-o", "a.json"]) == 2
    assert main(["profile", "--duration", "1s", "-o", "a.xyz"]) == 2
    assert list(tmp_path.iterdir()) == []
    assert sampler.steps == 0
    assert "the nearest is web" in capfd.readouterr().err


def test_sampled_then_written_and_closed(sampler, tmp_path, capfd):
    target = tmp_path / "a.folded"
    words = ["--tenant", "web", "--type", "off-cpu", "--hz", "49", "--duration", "300ms"]
    began = time.monotonic()
    assert main(["profile", *words, "-o", str(target)]) == 0
    assert time.monotonic() - began >= 0.3
    assert sampler.asked == [(("web",), ProfileType.OFF_CPU, 49)]
    assert sum(sampler.waits) < 0.301, "what is left, whenever it was woken"
    assert max(sampler.waits) <= profile_sampling.LOOK_S
    assert sampler.steps == len(sampler.waits) and sampler.closed
    assert len(target.read_text().splitlines()) == len(web().stacks)
    assert "902 samples" in capfd.readouterr().err


def test_what_cannot_be_compared_is_told_first(sampler, stored, capfd):
    base = str(stored)
    assert main(["profile", "--diff", base, "--type", "off-cpu", "--duration", "1s"]) == 2
    assert "off-cpu cannot be compared with one of cpu" in capfd.readouterr().err
    assert not sampler.asked


def test_two_files_are_compared_as_a_page_or_in_words(stored, tmp_path, capfd):
    base = tmp_path / "base.json"
    base.write_bytes(render("base.json", web(2)))
    compared = ["profile", "--diff", str(base), str(stored)]
    assert main([*compared, "-o", str(tmp_path / "diff.html")]) == 0
    assert b"compared with before" in (tmp_path / "diff.html").read_bytes()
    capfd.readouterr()
    assert main([*compared, "-o", str(tmp_path / "diff.svg")]) == 2
    assert "A comparison is written as .html" in capfd.readouterr().err
    assert not (tmp_path / "diff.svg").exists()
    assert main(compared) == 0
    told = capfd.readouterr().out
    assert re.search(r"34\.4 +47\.6 +-13\.3 +Template\.render", told)
    assert main(["profile", "--diff", str(base), str(base)]) == 0
    assert "Nothing has changed." in capfd.readouterr().out


def test_while_it_samples_it_tells_how_many_and_how_well_they_were_unwound():
    sampler = FakeSampler()
    assert counted(sampler) == "0 samples"
    sampler.step()
    assert counted(sampler) == "100 samples, unwound fully 95.0 %"


def test_the_first_ctrl_c_ends_sampling_and_keeps_it_the_second_ends_all(capfd):
    before = signal.getsignal(signal.SIGINT)
    sampler = FakeSampler(web())
    with ending() as asked:
        threading.Timer(0.25, os.kill, (os.getpid(), signal.SIGINT)).start()
        found = sample(sampler, 60, asked)
        assert found.stacks == web().stacks
        assert sampler.steps < 100
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert "ended early" in capfd.readouterr().err


@pytest.mark.parametrize(("patience_s", "left", "said"), [(60, 0, ""), (0, 4, "4 debug files")])
def test_names_that_a_server_sends_late_are_waited_for(monkeypatch, capfd, patience_s, left, said):
    monkeypatch.setattr(profile_sampling, "NAMES_S", patience_s)
    monkeypatch.setattr(profile_sampling, "LOOK_S", 0.01)
    sampler = FakeSampler(web())
    sampler.to_come = 5
    with ending() as asked:
        sample(sampler, 0.1, asked)
    assert sampler.to_come == left
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("url", ["", "debug.example", "ftp://x", "http://a:b@x"])
def test_what_is_no_debuginfod_server(capfd, url):
    assert main(["profile", "--debuginfod", url]) == 2
    assert '"--debuginfod" takes' in capfd.readouterr().err


def test_an_interrupted_verb_still_writes(sampler, tmp_path, capfd, monkeypatch):
    target = tmp_path / "a.json"

    def wait(seconds: float) -> None:
        if sampler.steps == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(sampler, "wait", wait)
    assert main(["profile", "--duration", "1h", "-o", str(target)]) == 0
    assert sampler.steps == 3
    assert len(parse_file("a.json", target.read_bytes()).stacks) == len(web().stacks)
    assert sampler.closed
