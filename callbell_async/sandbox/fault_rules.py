"""The choice of the fault for each request."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator

from callbell_async.sandbox.exchange import SandboxRequest
from callbell_async.sandbox.faults import Fault

__all__ = ["FaultRule", "FaultRules"]

Predicate = Callable[[SandboxRequest], bool]


class FaultRule:
    """Faults for some of the requests, as `Sandbox.inject` returns it.

    Attributes:
        id: The number of the rule in its sandbox, from 1.
        applied: The number of requests that got a fault of this rule.
    """

    def __init__(
        self, faults: tuple[Fault, ...], *, times: int | None, probability: float, seed: int, when: Predicate | None
    ) -> None:
        self._faults = faults
        self._times = times
        self._probability = probability
        self._draws = random.Random(seed)  # noqa: S311 - random numbers that repeat are intended
        self._when = when
        self._removed = False
        self.id = 0
        self.applied = 0

    @property
    def names(self) -> list[str]:
        """The names of the faults, in their order."""
        return [fault.name for fault in self._faults]

    @property
    def times(self) -> int | None:
        """The number of requests that get a fault; `None` for no limit."""
        return self._times

    @property
    def probability(self) -> float:
        """The probability of each request to get a fault, from 0 to 1."""
        return self._probability

    @property
    def has_ended(self) -> bool:
        """Whether the rule applies to no further request."""
        return self._removed or (self._times is not None and self.applied >= self._times)

    @property
    def next_fault(self) -> Fault:
        """The fault for the next request; the last one repeats."""
        return self._faults[min(self.applied, len(self._faults) - 1)]

    def needs_body(self) -> bool:
        """Return whether the request must be read before `take`."""
        fault = self.next_fault
        asks = self._when is not None or fault.applies_to is not None or fault.valid_messages_only
        return asks and not fault.before_reading and not self.has_ended

    def take(self, request: SandboxRequest, is_valid_message: Predicate) -> Fault | None:
        """Return the fault for a request, and count it.

        Args:
            request: The request.
            is_valid_message: A function that returns whether the request is a message that would be accepted.

        Returns:
            The fault; `None` if the rule does not apply.
        """
        fault = self.next_fault
        conditions = (fault.applies_to, self._when, is_valid_message if fault.valid_messages_only else None)
        if self.has_ended or not all(condition(request) for condition in conditions if condition is not None):
            return None
        if self._probability < 1.0 and self._draws.random() >= self._probability:
            return None
        self.applied += 1
        return fault

    def undo_take(self) -> None:
        """Count one request less: the fault that was taken is not applied."""
        self.applied -= 1

    def remove(self) -> None:
        """End the rule: it applies to no further request."""
        self._removed = True


class FaultRules:
    """All rules, in the order in which they were added: the first one that applies to a request is used.

    Args:
        is_valid_message: Whether a request is a message that would be accepted.
    """

    def __init__(self, is_valid_message: Predicate) -> None:
        self._is_valid_message = is_valid_message
        self._rules: list[FaultRule] = []
        self._added = 0

    def __iter__(self) -> Iterator[FaultRule]:
        """Iterate over the rules that still apply to requests."""
        return iter([rule for rule in self._rules if not rule.has_ended])

    def add(self, rule: FaultRule) -> FaultRule:
        """Add a rule after all others and return it."""
        self._added += 1
        rule.id = self._added
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """End all rules."""
        for rule in self._rules:
            rule.remove()
        self._rules.clear()

    async def choose(self, request: SandboxRequest, read: Callable[[], Awaitable[bool]]) -> Fault | None:
        """Return the fault for a request whose head has arrived; `None` for the usual response.

        Args:
            request: The request.
            read: Reads the body, and returns whether the account takes the request at all. A refused request gets only faults that
                apply before reading. For these, it is called only if another rule needs the body.
        """
        for rule in tuple(self._rules):
            if rule.needs_body() and not await read():
                continue
            fault = rule.take(request, self._is_valid_message)
            if fault is None:
                continue
            applies = False
            try:
                # Taken before reading: concurrent requests get the next faults, and `times` is never exceeded.
                applies = fault.before_reading or await read()
            finally:
                if not applies:
                    rule.undo_take()
            if applies:
                return fault
        return None
