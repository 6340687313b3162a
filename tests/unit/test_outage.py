"""When a run pauses, probes, resumes and stops: the decisions alone, at given times."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from callbell_async.bulk.outage import FAILURES_TO_PAUSE, LONGEST_PROBE_WAIT, Outage


def paused(*, timeout: float = 600.0, at: float = 100.0) -> Outage:
    """An outage that was recognised at this time."""
    outage = Outage(timeout)
    for message in range(FAILURES_TO_PAUSE):
        outage.failed(at, message, reached=True)
    return outage


def test_three_failures_in_a_row_pause_a_run() -> None:
    """A run pauses with the third failed attempt in a row, and probes after a second."""
    outage = Outage(600.0)
    for message in range(2):
        outage.failed(50.0, message, reached=True)
        assert outage.since is None
    outage.failed(100.0, 2, reached=True)
    assert (outage.since, outage.probe_at, outage.failures) == (100.0, 101.0, 3)


def test_a_response_begins_a_new_row() -> None:
    """A response between failures excludes an outage."""
    outage = Outage(600.0)
    for message in range(30):
        outage.failed(100.0, message, reached=True)
        if message % 2:
            outage.responded()
    assert outage.since is None


def test_an_unknown_outcome_begins_a_new_row() -> None:
    """An attempt with an unknown outcome may have reached Callbell, so the count begins again."""
    outage = Outage(600.0)
    for message in range(30):
        outage.failed(100.0, message, reached=True)
        if message % 2:
            outage.undecided()
    assert outage.since is None


def test_one_message_alone_is_not_an_outage() -> None:
    """A message that always gets a 5xx can be the reason itself, so that other messages are sent."""
    outage = Outage(600.0)
    for _ in range(20):
        outage.failed(100.0, "the same", reached=True)
    assert outage.since is None
    outage.failed(100.0, "another", reached=True)
    assert outage.since == 100.0


def test_one_message_that_reaches_no_server_is_an_outage() -> None:
    """No message can be the reason for a refused connection."""
    outage = Outage(600.0)
    for _ in range(3):
        outage.failed(100.0, "the same", reached=False)
    assert outage.since == 100.0


def test_probes_grow_apart() -> None:
    """The wait before a probe doubles up to half a minute, and the last probe is at the end of the time."""
    outage = paused(timeout=150.0, at=0.0)
    probes = []
    while not outage.is_over_time:
        probes.append(outage.probe_at)
        outage.probe_failed(outage.probe_at)
    assert probes == [1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0, 121.0, 150.0]


def test_a_response_ends_the_pause() -> None:
    """After a response a run no longer pauses, and another outage begins with short waits again."""
    outage = paused(at=100.0)
    for _ in range(4):
        outage.probe_failed(outage.probe_at)
    outage.responded()
    assert (outage.since, outage.failures) == (None, 0)
    outage.undecided()
    for message in range(3):
        outage.failed(500.0, message, reached=False)
    assert (outage.since, outage.probe_at) == (500.0, 501.0)


def test_an_unknown_outcome_does_not_end_the_pause() -> None:
    """A probe whose outcome is unknown shows nothing: the run keeps pausing, and probes later."""
    outage = paused(at=100.0)
    outage.undecided()
    outage.probe_failed(101.0)
    assert (outage.since, outage.probe_at) == (100.0, 103.0)


def test_failures_of_requests_that_were_in_flight_do_not_delay_the_probe() -> None:
    """Requests in flight that fail after the run paused count as the same outage."""
    outage = paused(at=100.0)
    for message in range(40):
        outage.failed(100.5, message, reached=False)
    assert (outage.since, outage.probe_at) == (100.0, 101.0)


def test_retry_after_is_respected() -> None:
    """A probe is not made earlier than a 5xx asked for, and not later than at the end of the time."""
    outage = Outage(600.0)
    for message in range(3):
        outage.failed(100.0, message, reached=True, retry_after=45.0)
    assert outage.probe_at == 145.0
    outage.probe_failed(145.0, retry_after=20.0)
    assert outage.probe_at == 165.0
    outage.probe_failed(165.0, retry_after=900.0)
    assert outage.probe_at == 700.0


def test_no_timeout_never_pauses() -> None:
    """With a timeout of 0 every message keeps to the retry policy."""
    outage = Outage(0.0)
    for message in range(30):
        outage.failed(100.0, message, reached=False)
    assert outage.since is None


def test_an_infinite_timeout_never_stops() -> None:
    """With an infinite timeout a run probes every half minute, however long it takes."""
    outage = paused(timeout=math.inf, at=0.0)
    for _ in range(1_000):
        outage.probe_failed(outage.probe_at)
    before = outage.probe_at
    outage.probe_failed(before)
    assert outage.probe_at - before == LONGEST_PROBE_WAIT
    assert not outage.is_over_time


@given(
    timeout=st.floats(0.1, 1000.0),
    steps=st.lists(
        st.tuples(st.sampled_from(["failed", "undecided", "responded", "probe"]), st.floats(0.0, 50.0)), max_size=60
    ),
)
def test_a_probe_is_always_planned_within_the_time(timeout: float, steps: list[tuple[str, float]]) -> None:
    """Whatever happens, the next probe of a paused run is in the future, within the timeout or at once."""
    outage = Outage(timeout)
    now = 0.0
    for message, (step, seconds) in enumerate(steps):
        now += seconds
        before = outage.since
        match step:
            case "failed":
                outage.failed(now, message, reached=bool(message % 3), retry_after=seconds)
            case "undecided":
                outage.undecided()
            case "responded":
                outage.responded()
            case "probe":
                outage.probe_failed(now)
        if step == "responded":
            assert outage.since is None
        elif before is not None:
            assert outage.since == before
        if outage.since is not None and (step == "probe" or before is None):
            assert now <= outage.probe_at <= max(now, outage.since + timeout)
