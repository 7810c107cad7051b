"""Unique names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cotenant.tenants.names import Names

ID = "12345678abcdef"


def test_who_comes_later_gets_the_id() -> None:
    names = Names()
    assert names.give(1, "web", "aaaaaaaa11") == "web"
    assert names.give(2, "web", ID) == "web~12345678"
    assert names.give(3, "web", ID) == f"web~{ID}"
    assert names.give(4, "web", ID) == f"web~{ID}~4"
    names.free(1)
    assert names.give(2, "web", ID) == "web~12345678", "a name once given stays"
    assert names.give(5, "web", ID) == "web"


def test_the_rows_that_are_no_tenants_and_the_unknown_are_taken() -> None:
    names = Names()
    assert names.give(9, "unattributed", ID) == "unattributed~12345678"
    assert names.give(1, "host", ID) == "host~12345678"
    assert names.give(2, None, ID) == "unknown~12345678"
    assert names.give(2, "web", ID) == "web"
    assert names.give(3, None, ID) == "unknown~12345678"


STEP = st.tuples(
    st.integers(1, 6), st.sampled_from(["a", "a~12345678", "host", None]), st.booleans()
)


@given(st.lists(STEP, max_size=40))
def test_no_two_live_tenants_share_a_name(steps: list[tuple[int, str | None, bool]]) -> None:
    names = Names()
    live: dict[int, str] = {}
    for key, name, dies in steps:
        if dies:
            names.free(key)
            live.pop(key, None)
        else:
            live[key] = names.give(key, name, ID)
    assert len(set(live.values())) == len(live)
    assert "host" not in live.values()
