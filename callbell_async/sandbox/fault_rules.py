"""Which request meets which fault."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from callbell_async.sandbox.exchange import SandboxRequest
from callbell_async.sandbox.fault import Fault

__all__ = ["FaultRule", "FaultRules"]

When = Callable[[SandboxRequest], bool]


class FaultRule:
    """Faults for some of the requests. `met` counts those that met one; `remove` ends it."""

    def __init__(
        self, faults: tuple[Fault, ...], *, times: int | None, probability: float, seed: int, when: When | None
    ) -> None:
        self._faults = faults
        self._times = times
        self._probability = probability
        self._draws = random.Random(seed)  # noqa: S311 - chance that repeats is the point
        self._when = when
        self._removed = False
        self.met = 0

    @property
    def over(self) -> bool:
        """Whether no request will meet it any more."""
        return self._removed or (self._times is not None and self.met >= self._times)

    @property
    def next_fault(self) -> Fault:
        """The fault whose turn it is; the last one repeats."""
        return self._faults[min(self.met, len(self._faults) - 1)]

    def needs_body(self) -> bool:
        """Whether the request has to be read before it can be asked about; not for a fault that comes before reading."""
        fault = self.next_fault
        asks = self._when is not None or fault.concerns is not None or fault.valid_messages_only
        return asks and not fault.before_reading and not self.over

    def take(self, request: SandboxRequest, is_good_message: When) -> Fault | None:
        """The fault that this request meets, if it meets one."""
        fault = self.next_fault
        asked = (fault.concerns, self._when, is_good_message if fault.valid_messages_only else None)
        if self.over or not all(fits(request) for fits in asked if fits is not None):
            return None
        if self._probability < 1.0 and self._draws.random() >= self._probability:
            return None
        self.met += 1
        return fault

    def give_back(self) -> None:
        """The fault that was taken is not met after all."""
        self.met -= 1

    def remove(self) -> None:
        """No request meets it any more."""
        self._removed = True


class FaultRules:
    """The rules, in the order they were made: the first one that fits a request has it.

    `is_good_message`: whether a request is a message that would be accepted.
    """

    def __init__(self, is_good_message: When) -> None:
        self._is_good_message = is_good_message
        self._rules: list[FaultRule] = []

    def add(self, rule: FaultRule) -> FaultRule:
        """One more rule, after all others."""
        self._rules.append(rule)
        return rule

    async def choose(self, request: SandboxRequest, read: Callable[[], Awaitable[bool]]) -> Fault | None:
        """The fault for a request whose head is there.

        `read` completes it, and says whether the account takes it at all. What it doesn't take meets only faults before reading;
        for these, the request is read only where another rule had to see the body.
        """
        for rule in tuple(self._rules):
            if rule.needs_body() and not await read():
                continue
            fault = rule.take(request, self._is_good_message)
            if fault is None:
                continue
            meets = False
            try:
                # The fault is taken first: those that come meanwhile have the next ones, and `times` is never exceeded.
                meets = fault.before_reading or await read()
            finally:
                if not meets:
                    rule.give_back()
            if meets:
                return fault
        return None
