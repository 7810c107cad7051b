"""Names as every outside format shows them: what would not be seen, or would be obeyed, is spelt.

A tenant may call a function anything. Control characters move a terminal's cursor, marks of
writing direction turn what follows around, and half a surrogate pair is no UTF-8.
"""

from __future__ import annotations

import re

_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def visible(name: str) -> str:
    r"""The name with hidden characters spelt: `\x0a`, `\u202e`; a byte that is no UTF-8: `\xff`."""
    if name.isascii() and name.isprintable():
        return name
    return _HIDDEN.sub(_spelt, name)


def _spelt(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode made it of one byte
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
