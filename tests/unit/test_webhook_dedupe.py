"""The keys of recent events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callbell_async.webhooks.receiver import SeenKeys
from tests.fixtures.strategies import quick


def test_a_key_is_held_for_a_time() -> None:
    """A key is held until its time is over, and not longer."""
    seen = SeenKeys(10, 60.0)
    seen.add("a", 100.0)
    assert seen.holds("a", 100.0)
    assert seen.holds("a", 159.9)
    assert not seen.holds("a", 160.0)
    assert len(seen) == 0


def test_the_number_of_keys_is_bounded() -> None:
    """The oldest key is dropped when there are more than `size`."""
    seen = SeenKeys(2, 60.0)
    for key in "abc":
        seen.add(key, 0.0)
    assert [seen.holds(key, 0.0) for key in "abc"] == [False, True, True]


def test_a_size_of_0_holds_no_key() -> None:
    """With a size of 0 no key is held."""
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
    """For any keys and times, exactly the `size` latest keys that are younger than `seconds` are held."""
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
