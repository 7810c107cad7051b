"""What `cotenant noise` prints: the page, the pictures, JSON, single waits; whom it asks."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console
from tests.unit.cli.noises import NOW_NS, buckets, empty, noisy
from tests.unit.snapshots import HOSTILE, tenant

from cotenant.cli import noise_source
from cotenant.cli.noise_events import line
from cotenant.cli.noise_hist import Unit, chosen, head, picture, pictures
from cotenant.cli.noise_page import Frame, headline, lost, page, ranked
from cotenant.cli.noise_source import focused, open_noise
from cotenant.cli.source import chooser
from cotenant.config import Settings
from cotenant.errors import AgentSilent, HostCannot, UnknownTenant
from cotenant.model import HOST, Finding, LongWait, NoiseLost, NoiseReport
from cotenant.web import control

GOLDEN = Path(__file__).with_name("noise.txt")
GOLDEN_HIST = Path(__file__).with_name("noise_hist.txt")
cli = import_module("cotenant.cli.main")
verb = import_module("cotenant.cli.noise")


def drawn(report, width=80, height=None):
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as caught:
        console.print(page(report, Frame(width, "sensed by itself", height, now_ns=NOW_NS)))
    return caught.get().splitlines()


def kept(golden, made):
    """To accept a new look: delete the file and run again."""
    if not golden.exists():
        golden.write_text(made)
        pytest.fail(f"{golden.name} was missing and is written: look at it and keep it")
    assert made == golden.read_text()


# --- the page


def test_the_page_is_as_it_was_at_80_and_120_columns():
    over = Finding(noisy().delays[2], None, "absolute", NOW_NS - 90 * 10**9, NOW_NS - 12 * 10**9)
    report = noisy(ended=(over,))
    kept(GOLDEN, "\n".join([*drawn(report, 80), "=" * 80, *drawn(report, 120), ""]))


def test_the_innocent_victim_stands_first_with_its_culprits():
    shown = drawn(noisy())
    assert shown[0] == "▲ batch-7 (49 %) and batch-9 (48 %) make api wait"
    assert [finding.victim.name for finding in ranked(noisy())] == ["api", "batch-9", "batch-7"]
    assert "batch-7 1.9x" in " ".join(shown)


def test_hogs_that_delay_each_other_take_one_line_each():
    shown = [text for text in drawn(noisy()) if text.startswith("▲ batch")]
    assert len(shown) == 3
    assert sum("in the last 10 s" in text for text in drawn(noisy(), 200)) == 1


def test_one_culprit_and_none_make_sentences_too():
    finding = noisy().findings[2]
    alone = replace(finding, delay=replace(finding.delay, parts=finding.delay.parts[:1]))
    assert headline(alone) == "batch-7 (49 %) makes api wait"
    assert headline(replace(alone, ended_ns=1)) == "batch-7 (49 %) made api wait"
    nobody = replace(finding, delay=replace(finding.delay, parts=()))
    assert headline(nobody) == "others make api wait"
    still = replace(finding, delay=replace(finding.delay, waited_ns=0))
    assert drawn(noisy(findings=(still,)))[0] == "▲ others make api wait"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
@pytest.mark.parametrize("name", [*HOSTILE, 'a"b\n{}'])
def test_no_name_breaks_a_line(width, name):
    for names in ((name, "b", "c"), ("a", name, "c")):
        lines = drawn(noisy(names), width)
        assert all(cell_len(text) <= width for text in lines)
        assert not any(sign in text for text in lines for sign in "\x1b\t\x07\u202e")


@pytest.mark.parametrize("height", [10, 16, 24, 40, 80])
@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_a_screen_and_the_findings_stay(width, height):
    many = noisy()
    many = replace(many, delays=many.delays * 12)
    lines = drawn(many, width, height)
    assert lines[0].startswith("▲ batch-7")
    if height >= 24:
        assert len(lines) <= height
        assert any("For whom they waited" in text for text in lines)


def test_nobody_waiting_is_said():
    assert drawn(empty())[0].startswith("○ Too early to tell")
    calm = replace(empty(), seconds=10.0)
    assert drawn(calm)[0] == "● Nobody is being delayed by others, as of the last 10 s."


@pytest.mark.parametrize(("level", "word"), [("histogram", "blame"), ("count", "p99")])
def test_what_the_budget_took_away_is_said(level, word):
    text = " ".join(drawn(noisy(level=level, findings=())))
    assert word in text
    assert "cost more than their budget" in text
    assert "For whom they waited" not in text
    assert "nobody" not in text.lower().replace("nobody is being", "")


def test_a_row_of_the_matrix_adds_up_to_a_hundred():
    lines = drawn(noisy(), 120)
    start = lines.index("For whom they waited, in % of their waiting")
    for text in lines[start + 2 : start + 6]:
        shares = [float(word) for word in text.split()[4:]]
        assert sum(shares) == pytest.approx(100, abs=0.5)


def test_what_is_missing_is_said():
    assert "4 tasks that ran unqueued" in drawn(noisy())[-1]
    assert lost(NoiseLost()) == ""
    every = NoiseLost(*range(1, len(NoiseLost.__struct_fields__) + 1))
    assert lost(every).count(",") >= len(NoiseLost.__struct_fields__) - 1


# --- pictures


def test_the_picture_is_the_classic_one():
    report = noisy()
    own = replace(report.delays[2], tenant=replace(tenant(3, "web"), main_pid=77))
    made = "\n".join(
        pictures(
            replace(report, delays=(own,)), Unit.AUTO, "waits in 10.0 s", lambda pid: f"c{pid}"
        )
    )
    kept(GOLDEN_HIST, made)


@pytest.mark.parametrize("unit", [Unit.NS, Unit.US, Unit.MS])
def test_pictures_begin_at_zero_and_lose_no_wait(unit):
    counted = buckets((100, 5), (3_000, 40), (700_000, 7), (40e6, 1), (3e9, 2), (200e9, 1))
    lines = picture(counted, unit).splitlines()
    assert lines[0].split()[0] == {"ns": "nsecs", "us": "usecs", "ms": "msecs"}[unit]
    assert lines[1].split()[:3] == ["0", "->", "1"]
    assert sum(int(text.split(":")[1].split()[0]) for text in lines[1:]) == 56
    assert all(text.endswith("|") and len(text) - text.index("|") == 42 for text in lines[1:])
    assert sum("*" * 40 in text for text in lines[1:]) == 1


def test_the_unit_follows_the_waits():
    assert chosen(buckets((900, 9))) is Unit.NS
    assert chosen(buckets((90_000, 9))) is Unit.US
    assert chosen(buckets((5e9, 9))) is Unit.MS


def test_a_distribution_that_is_not_kept_is_no_empty_picture():
    assert "not kept" in picture(buckets())


def test_the_head_tells_who_it_is():
    who = replace(tenant(3, 'a"b\n{}'), main_pid=77, pod="front\x1b[1m", namespace="shop")
    told = head(who, lambda pid: "co\nmm")
    assert "\n" not in told and "\x1b" not in told
    for word in ('a"b\\n{}', "pod shop/front", "comm co", "cgroup 1003", "/docker/"):
        assert word in told
    assert head(HOST) == "host"


def test_korean_names_keep_their_letters():
    assert "한국어" in head(tenant(0, "한국어-데이터베이스"))
    assert any("한국어" in text for text in drawn(noisy(("한국어", "b", "c"))))


# --- JSON, single waits


@pytest.mark.parametrize("name", ["api", 'a"b\n{}', "한국어", "not\udcffutf8"])
def test_json_comes_back_as_it_went(name, monkeypatch, capfdbinary):
    report = noisy((name, "b", "c"))
    feign(monkeypatch, report)
    assert cli.main(["noise", "--json", "--duration", "1s"]) == 0
    out = capfdbinary.readouterr().out
    assert out.count(b"\n") == 1
    back = msgspec.json.decode(out, type=NoiseReport)
    assert back.fairness == report.fairness
    for was, now in zip(report.delays, back.delays, strict=True):
        assert now.parts[0].ns == was.parts[0].ns
        assert sum(part.ns for part in now.parts) == now.waited_ns
        assert now.buckets == was.buckets
    wanted = name.encode("utf-8", "backslashreplace").decode()
    assert back.findings[2].victim.name == wanted


def test_a_single_wait_is_a_line():
    wait = LongWait(NOW_NS, 14_200_000, tenant(0, "a\nb"), "한국어", 3, 4711, "sh\x1b[1m")
    text = line(wait)
    assert "\n" not in text and "\x1b" not in text
    assert text.split()[2:4] == ["14", "ms"]
    assert text.split()[-4:-1] == ["한국어", "3", "4711"]


# --- whom it asks


class Feigned:
    """A source that tells the same report again and again."""

    how = "sensed by nobody"

    def __init__(self, report):
        self.report = report
        self.waited = []
        self.forgotten = 0

    def wait(self, seconds, told=None, meanwhile=None):
        self.waited.append(seconds)

    def whole(self, seconds):
        return self.report

    def forget(self):
        self.forgotten += 1

    def close(self):
        pass


def feign(monkeypatch, report):
    made = Feigned(report)
    monkeypatch.setattr(verb, "open_noise", lambda settings, tenants, *, reach_s: made)
    return made


def test_in_a_pipe_it_looks_for_ten_seconds_and_prints_once(monkeypatch, capsys):
    made = feign(monkeypatch, noisy())
    assert cli.main(["noise"]) == 0
    assert made.waited == [10.0]
    assert capsys.readouterr().out.startswith("▲ batch-7 (49 %) and batch-9 (48 %) make api wait")


def test_intervals_forget_what_was_told_unless_cumulative(monkeypatch, capsys):
    monkeypatch.setattr(verb.time, "monotonic", iter(range(100)).__next__)
    made = feign(monkeypatch, noisy())
    assert cli.main(["noise", "--hist", "--interval", "1s", "--duration", "4s"]) == 0
    assert made.forgotten == len(made.waited) == 3
    assert capsys.readouterr().out.count("(this interval alone)") == 3 * len(noisy().delays)
    made = feign(monkeypatch, noisy())
    words = ["noise", "--hist", "--interval", "1s", "--duration", "4s", "--cumulative"]
    assert cli.main(words) == 0
    assert made.forgotten == 0
    assert "(since the start, cumulative)" in capsys.readouterr().out


def test_nobody_waited_is_a_picture_too(monkeypatch, capsys):
    feign(monkeypatch, empty())
    assert cli.main(["noise", "--hist", "--duration", "1s"]) == 0
    assert capsys.readouterr().out == "waits in 0.0 s: nobody waited\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--hist", "--json"],
        ["--events", "--hist"],
        ["--cumulative"],
        ["--duration", "0s"],
        ["--duration", "ten"],
        ["--interval", "2d"],
        ["--events", "--min", "x"],
        ["--unit", "h"],
        ["--format", "xml"],
    ],
)
def test_words_that_make_no_sense_are_usage_errors(words, capsys):
    assert cli.main(["noise", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "hint: " in err


class Status:
    pid, tier, interval_s = 42, "iterator", 1.0


class OwnSense:
    how = "sensed by itself"

    def __init__(self, settings, choice):
        self.choice = choice


@pytest.fixture
def agent(monkeypatch):
    """An agent that senses; the list holds what it was asked."""
    asked = []

    def ask(path, asked_for, **arguments):
        asked.append((asked_for.name, arguments))
        if asked_for is control.STATUS:
            return Status
        if asked_for is control.TENANTS:
            return [delay.tenant for delay in noisy().delays[:3]]
        return noisy()

    monkeypatch.setattr(noise_source, "ask", ask)
    monkeypatch.setattr(noise_source, "Own", OwnSense)
    return asked


def test_the_agent_is_asked_where_it_looks_back_far_enough(agent, capsys):
    source = open_noise(Settings(), reach_s=10.0)
    assert capsys.readouterr().err == "cotenant: from the agent (pid 42)\n"
    assert source.whole(5.0).seconds == 10.0
    assert agent[-1] == ("noise", {"windows": 5})
    assert isinstance(open_noise(Settings(), reach_s=11.0), OwnSense)


def test_the_agents_report_is_focused_on_whom_the_words_mean(agent):
    source = open_noise(Settings(), ["api"], reach_s=10.0)
    report = source.last(10)
    assert [delay.tenant.name for delay in report.delays] == ["api"]
    with pytest.raises(UnknownTenant):
        open_noise(Settings(), ["apl"], reach_s=10.0)


def test_an_agent_without_the_sense_and_none_at_all_leave_it_to_us(agent, monkeypatch, capsys):
    ask = vars(noise_source)["ask"]

    def deaf(path, asked_for, **arguments):
        if asked_for is control.NOISE:
            raise HostCannot("The agent's noise sense is off.")
        return ask(path, asked_for, **arguments)

    def silent(*_, **__):
        raise AgentSilent("No agent.")

    monkeypatch.setattr(noise_source, "ask", deaf)
    assert isinstance(open_noise(Settings(), reach_s=1.0), OwnSense)
    assert "tells nothing of waits: The agent's noise sense is off." in capsys.readouterr().err
    monkeypatch.setattr(noise_source, "ask", silent)
    assert isinstance(open_noise(Settings(), reach_s=1.0), OwnSense)


def test_focus_keeps_findings_of_culprits():
    report = noisy()
    api, one, _ = (finding.victim.key for finding in ranked(report))
    assert [d.tenant.key for d in focused(report, {api}).delays] == [api]
    assert len(focused(report, {one}).findings) == 3
    assert focused(report, {4711}).findings == ()


def test_host_and_kernel_are_words_too():
    choose = chooser(["host", "kernel"], Settings())
    assert choose(noise_source._with_host([])) == {-1, -2}
