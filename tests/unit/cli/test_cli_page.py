from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/cli.md"

cli = import_module("cotenant.cli.main")


def commands(name, command):
    yield name, command
    for inner, one in getattr(command, "commands", {}).items():
        yield from commands(f"{name} {inner}", one)


def test_every_verb_and_option_is_on_the_page():
    page = PAGE.read_text()
    for verb in cli.VERBS:
        for name, command in commands(f"cotenant {verb}", cli.load(verb)):
            assert f" {name}\n" in page
            for parameter in command.params:
                if parameter.param_type_name == "option" and parameter.name != "help":
                    assert f"`{parameter.opts[0]}`" in page, (name, parameter.name)
                    assert parameter.help, f"{name} {parameter.opts[0]} has no help"


def test_the_page_is_up_to_date():
    ended = subprocess.run(
        [sys.executable, str(ROOT / "scripts/gen_cli_page.py"), "--check"], check=False, timeout=60
    )
    assert ended.returncode == 0, "run: make generate"
