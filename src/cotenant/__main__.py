"""The command `cotenant`, which is also `python -m cotenant`: one line, and the process's end."""

from __future__ import annotations

import gc
from typing import NoReturn

from cotenant.cli.main import main


def run() -> NoReturn:
    """Runs this process's own command line, and ends it with that exit code."""
    code = main()
    gc.freeze()  # or a last collection would look at all that dies with the process anyway
    raise SystemExit(code)


if __name__ == "__main__":
    run()
