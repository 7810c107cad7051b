"""Hints name the command as it was called, so that they can be typed as they stand."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from cotenant.cli import called
from cotenant.cli.called import as_called

VERBS = import_module("cotenant.cli.main").VERBS


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Says how it was called; an executable of that name lies in a directory of its own."""
    file: Path = tmp_path / "bin" / "cotenant"
    file.parent.mkdir()
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(called, "_ROOTS_PATH", "/usr/bin:/bin")

    def call(*words: str) -> Path:
        monkeypatch.setattr(sys, "argv", [words[0] if len(words) == 1 else "/x/__main__.py"])
        monkeypatch.setattr(sys, "orig_argv", list(words))
        return file

    return call


def test_by_a_path_it_is_that_path(command, tmp_path, monkeypatch):
    command(".venv/bin/cotenant")
    assert as_called("sudo cotenant check") == "sudo .venv/bin/cotenant check"
    assert as_called("cotenant --debug top") == ".venv/bin/cotenant --debug top"
    command("/a b/cotenant")
    assert as_called("cotenant check") == "'/a b/cotenant' check"


def test_by_its_name_it_is_the_name_and_for_sudo_where_sudo_finds_it(command, monkeypatch):
    file = command("")
    command(str(file))
    monkeypatch.setenv("PATH", str(file.parent))
    assert as_called("cotenant check") == "cotenant check"
    assert as_called("sudo cotenant check") == f"sudo {file} check"
    monkeypatch.setattr(called, "_ROOTS_PATH", str(file.parent))
    assert as_called("sudo cotenant check") == "sudo cotenant check"


def test_as_a_module_it_is_that_python(command):
    command("/v/bin/python", "-m", "cotenant", "top")
    assert as_called("sudo cotenant check") == "sudo /v/bin/python -m cotenant check"
    command("/v/bin/python", "-m", "pytest")
    assert as_called("sudo cotenant check") == "sudo cotenant check"


@pytest.mark.parametrize("verb", [*VERBS, "--help", "--debug"])
def test_every_verb_is_known(command, verb):
    command("./cotenant")
    assert as_called(f"Try `cotenant {verb}`.") == f"Try `./cotenant {verb}`."


@pytest.mark.parametrize(
    "text",
    ["cotenant: from the agent", "cotenant looks after", "/opt/cotenant check", "cotenants check",
     "systemctl stop cotenant", "a/cotenant top", "cotenant agents"],
)  # fmt: skip
def test_what_is_no_command_stays(command, text):
    command("./cotenant")
    assert as_called(text) == text


def test_errors_are_told_with_what_can_be_typed(command, capsys):
    command("./cotenant")
    assert import_module("cotenant.cli.main").main(["tpo"]) == 2
    assert capsys.readouterr().err.endswith("hint: ./cotenant top\n")
