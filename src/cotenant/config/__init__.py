"""Settings: what there is to set, what it is set to, and where each value comes from.

    settings = load(path, {"interval_s": 2.0})     # defaults, then the file, then flags
    settings.sources["interval_s"]                 # "default", "flag" or "FILE:LINE"

settings.py holds every setting with its description; toml.py reads a file and says what is wrong
with it, and where; read.py puts the two together.
"""

from cotenant.config.read import DEFAULT_PATH, duration, load, parse
from cotenant.config.settings import NamedTenant, Setting, Settings, described

__all__ = [
    "DEFAULT_PATH",
    "NamedTenant",
    "Setting",
    "Settings",
    "described",
    "duration",
    "load",
    "parse",
]
