"""How a setting tells what it is: the annotation that every one of them carries."""

from __future__ import annotations

from typing import Any

from msgspec import Meta

PATH = r"\A/[^\0]*\Z"
A_PATH = 'a path that starts with "/"'


def set_(
    description: str, unit: str = "", form: str = "", example: object = None, **limits: Any
) -> Meta:
    """Annotation of a setting.

    `form`: what it takes, where the type alone does not say it well. `example`: a value to show
    where the default is to be unset.
    """
    extra = {"unit": unit, "form": form, "example": example}
    return Meta(description=description, extra=extra, **limits)
