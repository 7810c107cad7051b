"""What the tests with foreign readers share. What is missing fails with a sentence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.web.chromium import PROGRAM, Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    assert shutil.which(PROGRAM), f"{PROGRAM} is not installed: sudo make setup-web"
    with Browser() as running:
        yield running


@pytest.fixture(scope="session")
def go() -> str:
    """Go's command, the distribution's or the one of go.dev."""
    found = shutil.which("go") or "/usr/local/go/bin/go"
    assert Path(found).exists(), "Go is not installed: sudo make setup-web"
    return found
