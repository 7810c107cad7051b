"""The command line as a whole: exit codes, errors, what is imported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
from tests.unit.cli.fakes import fake

from cotenant.cli import source
from cotenant.errors import NeedsRoot, UnknownTenant

cli = import_module("cotenant.cli.main")


@pytest.fixture
def faked(monkeypatch):
    """Every verb meters made-up tenants. The list holds what open_source was asked for."""
    asked = []

    def opened(settings, *, tenants=(), alone=False, once=False, waits=None):
        asked.append((settings, tuple(tenants), alone))
        made = fake(12)
        if tenants:
            made._choice = source.chooser(tenants, settings)
        return made

    for verb in ("metrics", "top"):
        monkeypatch.setattr(import_module(f"cotenant.cli.{verb}"), "open_source", opened)
    return asked


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["top", "--help"]])
def test_help_is_no_failure(words, capsys):
    assert cli.main(words) == 0
    assert "cotenant" in capsys.readouterr().out


def test_every_verb_is_listed_with_its_line(capsys):
    cli.main(["--help"])
    told = capsys.readouterr().out
    for verb, line in cli.VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(line.split()[0])}", told, re.M)


def test_no_verb_is_a_usage_error_that_shows_the_help(capsys):
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Verbs:" in err


@pytest.mark.parametrize(
    ("words", "sentence", "hint"),
    [
        (["tpo"], "There is no verb 'tpo'.", "cotenant top"),
        (["metric"], "There is no verb 'metric'.", "cotenant metrics"),
        (["qqqqqq"], "There is no verb 'qqqqqq'.", "cotenant --help"),
        (["metrics", "--pid", "1"], "--pid and --as go together.", None),
        (["top", "--sort", "cpuu"], "There is no column 'cpuu' to sort by.", None),
        (["metrics", "--tenant", "nobody"], "No tenant is called 'nobody'.", None),
        (["metrics", "--config", "/nowhere"], "There is no configuration file /nowhere.", None),
    ],
)
def test_wrong_words_are_told_with_what_to_type(words, sentence, hint, faked, capsys):
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {sentence}\n\nhint: ")
    if hint:
        assert err.endswith(f"hint: {hint}\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--nonsense"],
        ["metrics", "--nonsense"],
        ["metrics", "--format", "xml"],
        ["top", "--interval", "0"],
        ["top", "--count", "none"],
        ["metrics", "surplus"],
    ],
)
def test_typer_errors_have_the_same_form(words, faked, capsys):
    assert cli.main(words) == 2
    error, _, hint = capsys.readouterr().err.partition("\n\nhint: ")
    assert re.fullmatch(r"error: [^\n]+\.", error)
    assert hint.strip() in ("cotenant --help", f"cotenant {words[0]} --help")


def raising(error):
    def opened(*_, **__):
        raise error

    return opened


@pytest.mark.parametrize(
    ("error", "code"),
    [(NeedsRoot("Not you.", "sudo"), 3), (UnknownTenant("Who?"), 2), (OSError(28, "Full"), 1)],
)
def test_errors_have_their_exit_codes(error, code, monkeypatch, capsys):
    monkeypatch.setattr(import_module("cotenant.cli.metrics"), "open_source", raising(error))
    assert cli.main(["metrics"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_fault_of_ours_says_how_to_see_more(monkeypatch, capsys):
    fault = raising(ZeroDivisionError("oops"))
    monkeypatch.setattr(import_module("cotenant.cli.metrics"), "open_source", fault)
    assert cli.main(["metrics"]) == 1
    assert "hint: cotenant --debug metrics" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        cli.main(["metrics", "--debug"])


def test_ctrl_c_is_quiet(monkeypatch, capsys):
    monkeypatch.setattr(
        import_module("cotenant.cli.metrics"), "open_source", raising(KeyboardInterrupt())
    )
    assert cli.main(["metrics"]) == 130
    assert capsys.readouterr() == ("", "")


def test_colour_only_where_a_person_looks(faked, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    cli.main(["tpo"])
    assert "\x1b[1;31merror:" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    cli.main(["tpo"])
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "shows"),
    [
        ("text", b"web-0_cache "),
        ("prometheus", b"container_cpu_usage_seconds_total{"),
        ("json", b'"tenants":['),
    ],
)
def test_metrics_in_every_form(form, shows, faked, capsysbinary):
    assert cli.main(["metrics", "--format", form]) == 0
    out, err = capsysbinary.readouterr()
    assert shows in out
    assert out.endswith(b"\n")
    assert err == b""


def test_metrics_of_one_tenant(faked, capsys):
    assert cli.main(["metrics", "--tenant", "web-*", "--tenant", "api-1"]) == 0
    found = {line.split("_")[0] for line in capsys.readouterr().out.splitlines()}
    assert found == {"web-0", "web-10", "api-1"}


def test_a_name_given_once_is_sensed_and_shown_alone(faked, capsys):
    cli.main(["metrics", "--pid", "4711", "--as", "batch"])
    settings, tenants, alone = faked[0]
    assert (tenants, alone) == (("batch",), True)
    assert (settings.tenants[-1].name, settings.tenants[-1].pid) == ("batch", 4711)


def test_top_in_a_pipe_prints_once(faked, capsys):
    assert cli.main(["top", "--interval", "0.1"]) == 0
    out, err = capsys.readouterr()
    assert out.count("TENANT") == 1
    assert "\x1b" not in out
    assert "cotenant: rates between two samples 1.0 s apart" in err


def test_top_json_is_an_object_per_sample(faked, capsys):
    assert cli.main(["top", "--json", "--count", "2", "--interval", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    told = json.loads(lines[0])
    assert told["host"]["rates"]["cpu_cores"] > 0
    assert told["tenants"][-1]["tenant"]["kind"] == "host"
    assert any(row["cpu"] is None for row in json.loads(lines[1])["tenants"]) is False
    assert cli.main(["top", "--json", "--once", "--interval", "0.1", "--filter", "vm"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["tenant"]["kind"] for row in told["tenants"]} == {"vm"}


def run(*words, **how):
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=60, check=False, **how
    )


def test_a_reader_who_leaves_is_no_error():
    ended = run(
        "-c",
        "import sys; from importlib import import_module as i; m = i('cotenant.cli.main');"
        "sys.stdout.write('x' * 70000);"
        "import typer; m.load = lambda v: (_ for _ in ()).throw(BrokenPipeError());"
        "sys.exit(m.main(['metrics']))",
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_pipe_that_closes_early():
    code = f"{sys.executable} -m typer --help | true"  # warm the cache of the file system
    subprocess.run(code, shell=True, capture_output=True, check=False)
    command = f"{sys.executable} -m cotenant --help | true"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert ended.stderr == ""


@pytest.mark.parametrize("words", ["['--help']", "['metrics', '--help']"])
def test_verbs_import_only_what_they_use(words):
    ended = run(
        "-c",
        "import sys; from importlib import import_module as i;"
        f"i('cotenant.cli.main').main({words});"
        "print([m for m in ('textual', 'rich', 'uvicorn', 'starlette', 'httpx', 'asyncio')"
        " if m in sys.modules], file=sys.stderr)",
        env={**os.environ, "PYTHONPATH": "src"},
    )
    assert ended.stderr == "[]\n"
