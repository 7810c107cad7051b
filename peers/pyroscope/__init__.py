"""A receiver of profiles that speaks Pyroscope's protocol with Pyroscope's own messages.

build.py   its Go modules -> one binary in the user's cache
server/    what it takes and refuses (why it is not Pyroscope's own server: see main.go)
"""

from peers.pyroscope.build import build

__all__ = ["build"]
