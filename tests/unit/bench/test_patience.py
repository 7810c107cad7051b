"""A benchmark does not begin what it has no time for."""

from __future__ import annotations

import pytest

from cotenant.bench.patience import Patience, TimeIsUp


def test_what_fits_is_begun() -> None:
    Patience(10).need(9)


def test_what_does_not_fit_is_told_with_both_figures() -> None:
    with pytest.raises(TimeIsUp, match="takes 60 s, and of 10 s there are 10 left"):
        Patience(10).need(60)
