"""Names of block devices, from sysfs."""

from __future__ import annotations

import os
from functools import lru_cache


@lru_cache(maxsize=1024)
def device_name(major: int, minor: int) -> str:
    """`/dev/vda` for 254:0; `major:minor` where the device has no name (any more)."""
    try:
        target = os.readlink(f"/sys/dev/block/{major}:{minor}")
    except OSError:
        return f"{major}:{minor}"
    return f"/dev/{target.rpartition('/')[2]}"
