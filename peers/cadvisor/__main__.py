"""`python3 -m peers.cadvisor`: what cAdvisor costs for the containers that run here now."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cotenant.errors import CotenantError
from peers.cadvisor import VERSION, Cadvisor, Cost, build, measure

SETTINGS = {
    "limited": "memory only, Docker only, every second",
    "full": "as it comes, but every second",
    "dynamic": "as it comes: idle containers less often",
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m peers.cadvisor", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long each setting is measured")
    parser.add_argument("--settle", type=int, default=0, help="seconds of scraping before that")
    parser.add_argument("--containers", type=int, default=0, help="wait until it sees this many")
    parser.add_argument("--save", type=Path, help="write the last /metrics answer to this file")
    parser.add_argument(
        "--setting",
        action="append",
        choices=list(SETTINGS),
        help="; ".join(f"{name}: {what}" for name, what in SETTINGS.items()),
    )
    return parser.parse_args()


def _row(name: str, cost: Cost) -> str:
    return (
        f"{name:<8}{cost.containers:>6}{cost.cpu_ns_per_scrape / 1e6:>12.2f}"
        f"{cost.wall_ns / 1e6:>9.2f}{cost.rss_bytes / 1e6:>8.1f}{cost.answer_bytes / 1e3:>9.1f}"
        f"{cost.series:>8}{cost.mallocs_per_scrape:>10}"
        f"{cost.malloc_bytes_per_scrape / 1e6:>11.2f}{cost.oldest_sample_ms / 1e3:>10.1f}"
    )


def _run() -> None:
    words = _arguments()
    binary = build(lambda sentence: print(sentence, file=sys.stderr))
    print(f"cAdvisor {VERSION}, one scrape a second for {words.seconds} s; all per scrape")
    print(
        f"{'setting':<8}{'seen':>6}{'CPU ms':>12}{'wall ms':>9}{'RSS MB':>8}{'kB':>9}"
        f"{'series':>8}{'mallocs':>10}{'malloc MB':>11}{'oldest s':>10}"
    )
    for name in words.setting or ["limited", "full"]:
        with Cadvisor(
            binary,
            limited=name == "limited",
            dynamic=name == "dynamic",
            containers=words.containers,
        ) as cadvisor:
            if words.settle:
                measure(cadvisor, words.settle)
            print(_row(name, measure(cadvisor, words.seconds)), flush=True)
            if words.save:
                words.save.write_bytes(cadvisor.answer())


def main() -> int:
    """Print one row per setting; 0 = done, otherwise the exit code that fits what went wrong."""
    try:
        _run()
    except CotenantError as error:
        hint = f"\n{error.hint}" if error.hint else ""
        print(f"{error}{hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
