#!/usr/bin/env python3
"""Writes docs/configuration.md: every setting, from the descriptions on the settings themselves.

gen_config_page.py            write it
gen_config_page.py --check    fail where it differs from what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from cotenant.agent.reload import NEEDS_RESTART
from cotenant.config import DEFAULT_PATH, NamedTenant, described
from cotenant.config.profile import Profiling, PullTarget, PushTarget
from cotenant.config.settings import is_array, table_of
from cotenant.config.toml import takes
from cotenant.config.write import toml_value

TARGET = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

HEAD = f"""\
# Configuration

<!-- Written by scripts/gen_config_page.py from src/cotenant/config/settings.py: do not edit. -->

Nothing needs to be set. Settings are read from `{DEFAULT_PATH}` (TOML) where there is one, or
from the file named with `--config FILE`; flags of a verb stand over the file. `cotenant config
default` prints a file with everything in it, `cotenant config check` tells every mistake in one
with its line, and `cotenant config show` tells each value and where it comes from.

The agent reads its file again when it changes and on SIGHUP (`systemctl reload cotenant`),
without losing a sample. A file that is wrong is said in the log, in
`cotenant_agent_config_problem` and in the agent's status; the settings before it stay in force.
Settings marked "at the start" are taken over when the agent is started again.
"""

DOORS = """\
## Who may read

`/metrics` has no password. On a loopback address (the default) any user of this host may read it;
a request must then name this machine by an address, as localhost or by its host name, so that no
web page can have its own name point here and read along through a browser on this host.
`http_hosts` adds names, for a proxy in front. An address that is not loopback is open to whoever
reaches it and answers under any name; `http_hosts`, where set, is then the list of names it
answers to.

The control socket is open to root and the agent's own user (mode 0600). With `socket_group` its
members may read everything through it (0660: to connect to a unix socket takes the right to
write); they cannot change anything. Who asks for a change is taken from the kernel (SO_PEERCRED)
and logged.
"""


PROFILE = """\
## `[profile]`

Continuous profiling: what is sampled, how long it is kept, where it is sent. All of it is taken
over at once.
"""

PUSH = """\
## `[[profile.push]]`

Servers that profiles are sent to, each with a queue of its own: one that hangs holds up no other.
The keys are those of Grafana Agent and Alloy where they have them. `url` must be given.

```toml
[profile]
hz = 19

[[profile.push]]
url = "http://pyroscope.monitoring:4040"
service_name = "ebpf/{namespace}/{container}"
external_labels = {cluster = "eu-1"}
basic_auth = {username = "1234", password_file = "/etc/cotenant/pyroscope.password"}
```

A push that the server is too busy for (429), fails at (5xx) or does not answer is tried again,
after pauses that double, up to `max_retries` times; one that it refuses (4xx) is dropped and
counted, and the log has the server's reason once. What waits longer than an hour is dropped:
Pyroscope takes nothing older.
"""

PULL = """\
## `[[profile.pull]]`

Go programs with `net/http/pprof`, asked for their own profiles inside their own network, wherever
that is; nothing but the tenant itself is ever connected to. `tenant` and `port` must be given.
A tenant can ask for it itself with a label: `cotenant.io/pprof-port = "6060"`, or Grafana's
`profiles.grafana.com/cpu.scrape = "true"` with `profiles.grafana.com/cpu.port = "6060"` (so too
`memory`, `goroutine`, `mutex`, `block`).
"""

TENANT = """\
## `[[tenant]]`

A name of your own for one cgroup: by its path, or by a process in it.
"""


def page() -> str:
    """The whole page."""
    settings, tenant = "\n".join(_rows()), "\n".join(_tenant_rows())
    parts = [HEAD, "## Settings\n", settings, "", TENANT, tenant, ""]
    for head, table in ((PROFILE, Profiling), (PUSH, PushTarget), (PULL, PullTarget)):
        parts += [head, "\n".join(_table_rows(table)), ""]
    return "\n".join([*parts, DOORS])


def _rows() -> Iterator[str]:
    yield "| key | default | what it is | takes | taken over |"
    yield "|---|---|---|---|---|"
    for one in described():
        if one.field == "profile":
            continue  # a section of its own
        default = "unset" if one.default is None else f"`{toml_value(one.default)}`"
        when = "at the start" if one.field in NEEDS_RESTART else "at once"
        yield f"| `{one.key}` | {default} | {one.description} | {takes(one)} | {when} |"


def _table_rows(table: type[Struct]) -> Iterator[str]:
    yield "| key | default | what it is | takes |"
    yield "|---|---|---|---|"
    for one in described(table):
        if is_array(one.type) and table_of(one.type):
            continue  # a section of its own
        default = "unset" if one.default is None else f"`{toml_value(one.default)}`"
        yield f"| `{one.key}` | {default} | {one.description} | {takes(one)} |"


def _tenant_rows() -> Iterator[str]:
    yield "| key | what it is | takes | example |"
    yield "|---|---|---|---|"
    for one in described(NamedTenant):
        yield f"| `{one.key}` | {one.description} | {takes(one)} | `{toml_value(one.example)}` |"


def main() -> int:
    """Writes or checks the page."""
    text = page()
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or TARGET.read_text() != text:
            print(f"{TARGET.name} is not what {Path(__file__).name} writes.", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
