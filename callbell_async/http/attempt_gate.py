"""The interface through which a run controls the attempts of its calls."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from callbell_async.errors import CallbellError, Outcome
from callbell_async.http.requests import CallState
from callbell_async.observe import RunInfo

__all__ = ["AfterFailure", "AttemptGate"]


class AfterFailure(Enum):
    """The next step of a call after a failed attempt."""

    POLICY = "policy"
    """The retry policy decides."""
    HOLD = "hold"
    """The call waits at the gate for its next attempt, and this attempt does not count towards the policy's limits."""
    GIVE_UP = "give up"
    """The call ends with the error of this attempt."""


class AttemptGate(Protocol):
    """Controls the attempts of several calls. The pipeline reads the attributes directly, because it does so for every call.

    Attributes:
        closed: Whether an attempt has to `wait` before it starts.
        failures: The number of failures since Callbell last responded. If it is not 0, `responded` is called
            after a successful attempt.
        run: The run, for its observers.
    """

    closed: bool
    failures: int
    run: RunInfo

    async def wait(self, call: CallState) -> None:
        """Return when the call may make its next attempt."""
        ...

    def admits(self, call: CallState) -> bool:
        """Whether the call may make an attempt although the gate is closed."""
        ...

    def responded(self) -> None:
        """An attempt succeeded."""
        ...

    def failed(self, call: CallState, error: CallbellError, outcome: Outcome) -> AfterFailure:
        """An attempt failed with this error; `outcome` is that of the attempt alone."""
        ...
