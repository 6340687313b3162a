"""Lending slots: the decisions of a process; and the names and URLs of the limiters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import ConfigurationError, limits
from callbell_async.limits.lending import Demand, SlotGrant, decide, fair_share

# --- decisions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("want", "others", "share"),
    [
        (300, [], 300),
        (10, [], 10),
        (300, [300], 150),
        (300, [300, 300, 300], 75),
        (300, [2, 2, 2], 294),
        (2, [300, 300], 2),
        (100, [300, 2], 100),
        (300, [100, 2], 198),
        # 300 / 7 is 42.9: some processes get one more.
        (300, [300] * 6, 43),
        (1, [300] * 400, 1),
    ],
)
def test_a_fair_share(want: int, others: list[int], share: int) -> None:
    """A process gets what it needs up to an equal share, and busy ones share what the others leave."""
    assert fair_share(300, want, others) == share


@given(limit=st.integers(1, 300), needs=st.lists(st.integers(0, 300), min_size=1, max_size=20))
def test_fair_shares_use_the_limit(limit: int, needs: list[int]) -> None:
    """All shares together are the limit or the need, to within the rounding; nobody gets more than it needs."""
    shares = [fair_share(limit, need, needs[:place] + needs[place + 1 :]) for place, need in enumerate(needs)]
    assert all(share <= need for share, need in zip(shares, needs, strict=True))
    assert min(limit, sum(needs)) <= sum(shares) < min(limit, sum(needs)) + len(needs)


def test_an_idle_process_keeps_two_slots() -> None:
    """A process without requests returns all slots but two, those in use as soon as they are free."""
    found = decide(300, Demand(held=100, leaving=0, free=100, waiting=0), [300])
    assert (found.want, found.ask, found.give_up, found.keep) == (2, 2, 98, 0)


def test_slots_are_not_given_up_twice() -> None:
    """Slots in use that leave as soon as they are free are not counted again at the next decision."""
    assert decide(300, Demand(held=300, leaving=150, free=0, waiting=50), [300]).give_up == 0
    assert decide(300, Demand(held=300, leaving=100, free=0, waiting=50), [300]).give_up == 50
    assert decide(300, Demand(held=300, leaving=200, free=0, waiting=50), [300]).keep == 50


def test_excess_of_a_process_that_was_forgotten() -> None:
    """A process whose slots were lent to others meanwhile returns as many as are missing."""
    assert SlotGrant(sequence=1, held=75, pause=0.0, others=[(290, 300)]).excess(300) == 65
    assert SlotGrant(sequence=1, held=75, pause=0.0, others=[(225, 300)]).excess(300) == 0


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "redis", "http://127.0.0.1", "mysql://u:secret@h/d", None, 3])
def test_a_url_names_an_engine(url: object) -> None:
    """Any other URL raises `ConfigurationError`, which does not quote it."""
    with pytest.raises(ConfigurationError, match=r"^url: must begin with redis://") as caught:
        limits.from_url(url)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_the_names_of_the_package() -> None:
    """`dir` lists the limiters, and another name is an error."""
    assert {"RedisRateLimiter", "PostgresRateLimiter", "WindowRateLimiter", "from_url"} <= set(dir(limits))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = limits.Nothing  # type: ignore[attr-defined]
