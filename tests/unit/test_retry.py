"""Whether a failed attempt is retried, and after what time: pure decisions, so nothing here waits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from callbell_async import (
    APIError,
    CallbellError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    InvalidMessageError,
    Outcome,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
    RetryPolicy,
    ServerError,
)
from callbell_async.http.retry import UNDECIDED_STATUSES, RetryBudget
from tests.fixtures.strategies import quick

SEND: dict[str, Any] = {"method": "POST", "path": "/messages/send"}


def api_error(status: int, *, retry_after: float | None = None, outcome: Outcome = Outcome.REJECTED) -> APIError:
    """Return a refusal with the outcome of all attempts of its call."""
    error = APIError(status=status, **SEND, retry_after=retry_after)
    error.outcome = outcome
    return error


def decide(policy: RetryPolicy, error: CallbellError, **known: Any) -> float | None:
    """Return the decision after a first attempt that took no time, unless `known` overrides it."""
    return policy.wait_after(error, **{"attempts": 1, "elapsed": 0.0, "idempotent": False, "jitter": 0.5, **known})


# --- what is retried --------------------------------------------------------------------------------------------------

NEVER_SENT = ConnectError("refused", **SEND, outcome=Outcome.NEVER_SENT)
POOL_TIMEOUT = RequestTimeoutError("no free connection", **SEND, outcome=Outcome.NEVER_SENT)
TIMEOUT = RequestTimeoutError("no response in time", **SEND, outcome=Outcome.UNKNOWN)
LOST = ConnectionLostError("the connection broke", **SEND, outcome=Outcome.UNKNOWN)
UNREADABLE = ResponseDecodeError("not JSON", **SEND, status=200, headers={}, body=b"")
# A 429 after which the connection was refused: the call as a whole was refused.
REFUSED_THEN_NEVER_SENT = ConnectError("refused", **SEND, outcome=Outcome.REJECTED)


@pytest.mark.parametrize(
    ("error", "plain", "idempotent", "resend"),
    [
        (NEVER_SENT, True, True, True),
        (POOL_TIMEOUT, True, True, True),
        (REFUSED_THEN_NEVER_SENT, True, True, True),
        (TIMEOUT, False, True, True),
        (LOST, False, True, True),
        (UNREADABLE, False, True, True),
        *((api_error(status), True, True, True) for status in (408, 429, 500, 503, 521, 523, 525, 526)),
        # A gateway does not know whether the request arrived.
        *((api_error(status, outcome=Outcome.UNKNOWN), False, True, True) for status in (502, 504, 520, 522, 524)),
        *((api_error(status), False, False, False) for status in (301, 307, 400, 401, 402, 403, 404, 409, 422, 501)),
        # An earlier attempt may have arrived: the refusal of this one does not change that.
        (api_error(429, outcome=Outcome.UNKNOWN), False, True, True),
        (api_error(503, outcome=Outcome.UNKNOWN), False, True, True),
        (api_error(400, outcome=Outcome.UNKNOWN), False, False, False),
        (InvalidMessageError("text", "must not be blank"), False, False, False),
        (ConfigurationError("no token"), False, False, False),
        (ClientClosedError("closed"), False, False, False),
        (CallbellError("failed"), False, False, False),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.outcome}" if isinstance(value, CallbellError) else None,
)
def test_only_a_retry_that_cannot_make_a_second_copy_is_allowed(
    error: CallbellError, plain: bool, idempotent: bool, resend: bool
) -> None:
    """A request that may have arrived is retried only for idempotent calls, or if the caller takes the risk."""
    assert (decide(RetryPolicy(), error) is not None) is plain
    assert (decide(RetryPolicy(), error, idempotent=True) is not None) is idempotent
    assert (decide(RetryPolicy(resend_unknown=True), error) is not None) is resend


@pytest.mark.parametrize("status", [400, 418, 500, 503])
def test_the_statuses_are_the_callers_choice(status: int) -> None:
    """A status in `statuses` is retried, and no other one."""
    assert decide(RetryPolicy(statuses={status}), api_error(status)) is not None
    assert decide(RetryPolicy(statuses=()), api_error(status)) is None


@pytest.mark.parametrize("status", [502, 504, 520, 522, 524])
def test_naming_a_gateway_status_opts_in_to_a_second_copy(status: int) -> None:
    """A policy that names a status which leaves the outcome unknown retries it, and retries a later refusal as well."""
    named = RetryPolicy(statuses={429, status})
    assert decide(named, api_error(status, outcome=Outcome.UNKNOWN)) is not None
    assert decide(named, api_error(429, outcome=Outcome.UNKNOWN)) is not None
    assert decide(RetryPolicy(statuses={429, 503}), api_error(status, outcome=Outcome.UNKNOWN)) is None
    assert decide(named, LOST) is None


@pytest.mark.parametrize(
    ("attempts", "made", "again"), [(1, 1, False), (2, 1, True), (2, 2, False), (5, 4, True), (5, 5, False)]
)
def test_no_call_makes_more_attempts_than_allowed(attempts: int, made: int, again: bool) -> None:
    """The first request counts; with `attempts=1` nothing is ever retried."""
    assert (decide(RetryPolicy(attempts=attempts), NEVER_SENT, attempts=made) is not None) is again


# --- waits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (6, 16.0), (7, 30.0), (100, 30.0), (5000, 30.0)]
)
def test_waits_grow_by_two_up_to_the_longest(attempts: int, longest: float) -> None:
    """The wait is random between 0 and a bound that doubles with each attempt, up to `wait_max`."""
    policy = RetryPolicy()
    assert policy.backoff(attempts, jitter=0.0) == 0.0
    assert policy.backoff(attempts, jitter=0.5) == longest / 2
    assert policy.backoff(attempts, jitter=1.0) == longest


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [(None, 0.25), (0.0, 0.25), (0.1, 0.25), (7.0, 7.0), (120.0, 120.0), (120.1, None), (1e300, None)],
)
def test_retry_after_is_never_undercut(retry_after: float | None, wait: float | None) -> None:
    """A longer `Retry-After` counts, also beyond `wait_max`; beyond the timeout the call gives up at once."""
    assert decide(RetryPolicy(), api_error(429, retry_after=retry_after)) == wait


@pytest.mark.parametrize(("retry_after", "wait"), [(900.0, 900.0), (900.1, None), (86_400.0, None), (1e300, None)])
def test_a_response_cannot_ask_for_more_than_the_maximum_pause(retry_after: float, wait: float | None) -> None:
    """A response that asks for more than 15 minutes is not retried, however long the policy may wait."""
    patient = RetryPolicy(timeout=float("inf"))
    assert decide(patient, api_error(429, retry_after=retry_after)) == wait
    assert decide(patient, api_error(503, retry_after=retry_after)) == wait


@pytest.mark.parametrize(
    ("elapsed", "wait"), [(0.0, 0.25), (119.75, 0.25), (119.76, None), (120.0, None), (500.0, None)]
)
def test_no_attempt_begins_past_the_timeout(elapsed: float, wait: float | None) -> None:
    """A wait that would end after the timeout is not begun."""
    assert decide(RetryPolicy(), NEVER_SENT, elapsed=elapsed) == wait


_SECONDS = st.floats(0, 1000)


@pytest.mark.slow
@given(
    policy=st.builds(
        RetryPolicy,
        attempts=st.integers(1, 8),
        wait_initial=_SECONDS,
        wait_max=_SECONDS,
        timeout=_SECONDS,
        statuses=st.sets(st.sampled_from([400, 429, 500, 503, 504])),
        resend_unknown=st.booleans(),
    ),
    error=st.sampled_from(
        [
            NEVER_SENT,
            TIMEOUT,
            api_error(400),
            api_error(503),
            api_error(429, outcome=Outcome.UNKNOWN),
            api_error(504, outcome=Outcome.UNKNOWN),
        ]
    )
    | st.builds(api_error, st.just(429), retry_after=st.none() | _SECONDS),
    attempts=st.integers(1, 10),
    elapsed=_SECONDS,
    idempotent=st.booleans(),
    jitter=st.floats(0, 1, exclude_max=True),
)
@quick
def test_every_decision_keeps_every_bound(
    policy: RetryPolicy, error: CallbellError, attempts: int, elapsed: float, idempotent: bool, jitter: float
) -> None:
    """A retry has attempts and time left, an allowed status, no risk of a second copy, and a wait within its bounds."""
    wait = policy.wait_after(error, attempts=attempts, elapsed=elapsed, idempotent=idempotent, jitter=jitter)
    assume(wait is not None)
    assert wait is not None
    asked = (isinstance(error, APIError) and error.retry_after) or 0.0
    assert attempts < policy.attempts
    assert elapsed + wait <= policy.timeout
    assert asked <= wait <= max(asked, policy.wait_max, 0.0)
    assert wait <= max(asked, policy.wait_initial * 2 ** (attempts - 1))
    may_resend = idempotent or policy.resend_unknown
    if isinstance(error, APIError):
        assert error.status in policy.statuses or (error.status == 504 and may_resend)
        may_resend = may_resend or 504 in policy.statuses
    assert error.outcome is not Outcome.UNKNOWN or may_resend


# --- the policy's values ----------------------------------------------------------------------------------------------


def test_the_defaults_are_as_documented() -> None:
    """Five attempts within two minutes, and no retry of a request that may have arrived."""
    assert RetryPolicy() == RetryPolicy(
        attempts=5,
        wait_initial=0.5,
        wait_max=30.0,
        timeout=120.0,
        statuses={408, 429, 500, 503, 521, 523, 525, 526},
        resend_unknown=False,
    )


def test_the_documented_statuses_are_those_of_the_code() -> None:
    """The table of statuses in the docs, the default policy and the statuses of an undecided gateway agree."""
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "outcomes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \| `(\w+)` \| (yes|no)\b", page, re.MULTILINE)
    statuses: dict[tuple[str, str], set[int]] = {}
    for listed, outcome, retried in rows:
        statuses.setdefault((outcome, retried), set()).update(map(int, listed.split(",")))
    assert statuses == {("REJECTED", "yes"): RetryPolicy().statuses, ("UNKNOWN", "no"): UNDECIDED_STATUSES}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("attempts", value) for value in (0, -1, 2.5, True, "3", None)),
        *(
            (name, value)
            for name in ("wait_initial", "wait_max", "timeout")
            for value in (-0.1, float("nan"), float("-inf"), "1", None, True)
        ),
        *(
            ("statuses", value)
            for value in (429, "429", ["429"], None, [[429]], {429: "a", "b": 1}, [True], {200}, {600})
        ),
        *(("resend_unknown", value) for value in ("false", 1, None)),
    ],
)
def test_a_wrong_value_is_named(name: str, value: Any) -> None:
    """An invalid value raises `ConfigurationError`, which names the argument and shows the value."""
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(**{name: value})
    assert str(caught.value).startswith(f"{name}={value!r}: must be ")


@pytest.mark.parametrize("seconds", [0, 0.0, 1, float("inf")])
def test_seconds_may_be_zero_or_infinite(seconds: float) -> None:
    """0 and infinity are valid seconds."""
    policy = RetryPolicy(wait_initial=seconds, wait_max=seconds, timeout=seconds)
    assert (policy.wait_initial, policy.wait_max, policy.timeout) == (seconds, seconds, seconds)


def test_a_policy_is_a_value() -> None:
    """It can be shared: frozen, hashable, comparable, with its own copy of the statuses; its arguments are keywords."""
    statuses = [503, 429]
    policy = RetryPolicy(statuses=statuses)
    statuses.append(400)
    assert policy.statuses == frozenset({429, 503})
    assert hash(policy) == hash(RetryPolicy(statuses={429, 503}))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        policy.attempts = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        RetryPolicy(3)  # type: ignore[call-arg,misc,unused-ignore]


# --- the budget -------------------------------------------------------------------------------------------------------


def spent(budget: RetryBudget, retries: int, now: float) -> list[float]:
    """Return the delays of a number of retries requested at one moment."""
    delays = []
    for _ in range(retries):
        delays.append(budget.delay(now))
        budget.spend(now)
    return delays


def test_a_full_budget_delays_nothing_and_an_empty_one_spreads() -> None:
    """The reserve is available at once; every further retry is delayed, one after the other."""
    budget = RetryBudget(reserve=3, per_second=10)
    assert spent(budget, 6, now=100.0) == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3])


def test_a_new_budget_has_a_hundred_retries() -> None:
    """The first hundred retries are not delayed; then ten a second are allowed, and one for five successes."""
    budget = RetryBudget()
    assert spent(budget, 102, now=0.0)[99:] == pytest.approx([0, 0.1, 0.2])
    for _ in range(10):
        budget.record_success()
    assert budget.delay(0.0) == pytest.approx(0.1)


def test_time_fills_the_budget() -> None:
    """A tenth of a second adds one retry, and no time adds more than the reserve."""
    budget = RetryBudget(reserve=3, per_second=10)
    spent(budget, 3, now=100.0)
    assert spent(budget, 2, now=100.1) == pytest.approx([0, 0.1])
    assert spent(budget, 4, now=10_000.0) == pytest.approx([0, 0, 0, 0.1])


def test_success_fills_the_budget() -> None:
    """Five successes add one retry, and never more than the reserve."""
    budget = RetryBudget(reserve=2, share=0.2, per_second=0.001)
    for _ in range(100):
        budget.record_success()
    assert budget.delay(0.0) == 0
    spent(budget, 2, now=0.0)
    for _ in range(4):
        budget.record_success()
    assert budget.delay(0.0) == pytest.approx(200)
    budget.record_success()
    assert budget.delay(0.0) == pytest.approx(0, abs=1e-6)


def test_a_clock_that_does_not_advance_fills_nothing() -> None:
    """A time that is not later than the last one changes nothing."""
    budget = RetryBudget(reserve=1, per_second=10)
    spent(budget, 1, now=100.0)
    assert budget.delay(100.0) == budget.delay(99.0) == pytest.approx(0.1)


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 5)), min_size=1, max_size=30),
    st.floats(1, 20),
    st.floats(0.1, 50),
    st.floats(0, 1),
)
@quick
def test_no_interval_has_more_retries_than_the_budget(
    steps: list[tuple[float, int]], reserve: float, per_second: float, share: float
) -> None:
    """Between any two retries are at most the reserve, the retries added by time, and those added by successes."""
    budget = RetryBudget(reserve=reserve, share=share, per_second=per_second)
    now, succeeded = 1000.0, 0
    starts: list[tuple[float, int]] = []
    for pause, successes in steps:
        now += pause
        for _ in range(successes):
            budget.record_success()
        succeeded += successes
        starts.append((now + budget.delay(now), succeeded))
        budget.spend(now)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            # Successes just before the first start may have been added already.
            filled = reserve + (starts[last][0] - starts[first][0]) * per_second
            filled += share * (starts[last][1] - starts[first][1])
            assert last - first <= filled + 1e-6


def test_rate_limit_errors_are_api_errors() -> None:
    """Whether a refusal is retried depends on its status, not on its class."""
    for kind, status in ((RateLimitError, 429), (ServerError, 503)):
        assert decide(RetryPolicy(), kind(status=status, **SEND)) == 0.25
