"""Every state of a journalled message, and every transition. No I/O.

| from | event | to |
|---|---|---|
| (new), REJECTED, NEVER_SENT, SKIPPED | claim | SENDING |
| RESEND | claim | RESENDING |
| SENDING | outcome | that outcome |
| RESENDING | ACCEPTED, UNKNOWN, any other outcome | ACCEPTED, UNKNOWN, RESEND |
| UNKNOWN, RESEND | allow_resend | RESEND |
| SENDING, RESENDING | crash | UNKNOWN |
| any | confirm | ACCEPTED |

ACCEPTED is final. Any other combination is not allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from callbell_async.errors import Outcome

__all__ = ["CLAIMABLE", "IN_FLIGHT", "TRANSITIONS", "State", "StateEvent", "next_state", "outcome_of", "states_of"]


class State(StrEnum):
    """The stored state of a message. The first five are an `Outcome`; the others are shown as `UNKNOWN`."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NEVER_SENT = "never_sent"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    SENDING = "sending"
    RESENDING = "resending"
    RESEND = "resend"


class StateEvent(StrEnum):
    """An event in the life of a message, besides the outcomes of its attempts."""

    CLAIM = "claim"
    """A run is about to send it."""
    ALLOW_RESEND = "allow_resend"
    """The user accepts that it may reach the customer twice."""
    CRASH = "crash"
    """The process that was sending it has ended."""
    CONFIRM = "confirm"
    """Callbell has it, according to an event or to the contact's history."""


IN_FLIGHT = (State.SENDING, State.RESENDING)

TRANSITIONS: Mapping[tuple[State | None, StateEvent | Outcome], State] = {
    (None, StateEvent.CLAIM): State.SENDING,
    (State.REJECTED, StateEvent.CLAIM): State.SENDING,
    (State.NEVER_SENT, StateEvent.CLAIM): State.SENDING,
    (State.SKIPPED, StateEvent.CLAIM): State.SENDING,
    (State.RESEND, StateEvent.CLAIM): State.RESENDING,
    **{(State.SENDING, outcome): State(outcome.value) for outcome in Outcome},
    # The first attempt is still in doubt, whatever happened to this one.
    **{(State.RESENDING, outcome): State.RESEND for outcome in Outcome},
    (State.RESENDING, Outcome.ACCEPTED): State.ACCEPTED,
    (State.RESENDING, Outcome.UNKNOWN): State.UNKNOWN,
    (State.UNKNOWN, StateEvent.ALLOW_RESEND): State.RESEND,
    (State.RESEND, StateEvent.ALLOW_RESEND): State.RESEND,
    (State.SENDING, StateEvent.CRASH): State.UNKNOWN,
    (State.RESENDING, StateEvent.CRASH): State.UNKNOWN,
    **{(state, StateEvent.CONFIRM): State.ACCEPTED for state in State},
}


CLAIMABLE = tuple(state for state in State if (state, StateEvent.CLAIM) in TRANSITIONS)
"""The states of a known message that a run may send."""


def next_state(state: State | None, event: StateEvent | Outcome) -> State | None:
    """Return the state after an event or an outcome; `None` if it is not allowed. A new message has no state."""
    return TRANSITIONS.get((state, event))


def outcome_of(state: State) -> Outcome:
    """Return the outcome that a user sees."""
    return Outcome.UNKNOWN if state in (*IN_FLIGHT, State.RESEND) else Outcome(state.value)


def states_of(outcomes: Iterable[Outcome]) -> list[State]:
    """Return the states that a user sees as one of these outcomes."""
    wanted = set(outcomes)
    return [state for state in State if outcome_of(state) in wanted]
