#!/bin/sh
# Who was busiest in each of the next seconds: `top --json` gives one object per sample, tenants
# in the order of the table.
#   sudo examples/01-busiest.sh [SECONDS]
set -eu
cd "$(dirname "$0")/.."
.venv/bin/cotenant top --json --count "${1:-3}" | .venv/bin/python -c '
import json, sys

for line in sys.stdin:
    sample = json.loads(line)
    busiest = sample["tenants"][0]
    cores = busiest["rates"]["cpu_cores"]
    shown = "not measured" if cores is None else f"{100 * cores:.1f} % of a core"
    print(busiest["tenant"]["name"], shown, flush=True)
'
