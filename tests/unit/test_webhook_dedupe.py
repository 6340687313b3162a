"""Which events have been seen of late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callbell_async.webhooks.dedupe import SeenKeys
from tests.fixtures.strategies import quick


def test_a_key_is_seen_for_so_many_seconds() -> None:
    """It is held until the time is over, and not a moment longer."""
    seen = SeenKeys(10, 60.0)
    seen.add("a", 100.0)
    assert seen.holds("a", 100.0)
    assert seen.holds("a", 159.9)
    assert not seen.holds("a", 160.0)
    assert len(seen) == 0


def test_the_oldest_makes_room() -> None:
    """No more keys are held than were allowed, whatever the time."""
    seen = SeenKeys(2, 60.0)
    for key in "abc":
        seen.add(key, 0.0)
    assert [seen.holds(key, 0.0) for key in "abc"] == [False, True, True]


def test_none_are_held_where_none_are_wanted() -> None:
    """A size of 0 is no dedupe at all."""
    seen = SeenKeys(0, 60.0)
    seen.add("a", 0.0)
    assert not seen.holds("a", 0.0)


@quick
@given(
    size=st.integers(0, 4),
    seconds=st.integers(0, 6),
    steps=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3)), max_size=40),
)
def test_it_holds_the_newest_within_the_time(size: int, seconds: int, steps: list[tuple[str, int]]) -> None:
    """Whatever comes when: exactly the `size` latest keys that are younger than `seconds` are held."""
    seen, times, now = SeenKeys(size, seconds), dict[str, int](), 0
    for key, pause in steps:
        now += pause
        times.pop(key, None)
        times[key] = now
        seen.add(key, now)
        latest = list(times)[-size:] if size else []
        held = {key for key in latest if now - times[key] < seconds}
        assert {key for key in "abcdef" if seen.holds(key, now)} == held
        assert len(seen) == len(held)
