"""Which request meets which fault."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from callbell_async.sandbox.exchange import SandboxRequest
from callbell_async.sandbox.fault import Fault

__all__ = ["FaultPlan", "Rule"]

When = Callable[[SandboxRequest], bool]


class Rule:
    """Faults for some of the requests. `met` counts those that met one; `remove` ends it."""

    def __init__(
        self, faults: tuple[Fault, ...], *, times: int | None, probability: float, seed: int, when: When | None
    ) -> None:
        self._faults = faults
        self._times = times
        self._probability = probability
        self._draws = random.Random(seed)  # noqa: S311 - chance that repeats is the point
        self._when = when
        self.met = 0

    @property
    def over(self) -> bool:
        """Whether no request will meet it any more."""
        return self._times is not None and self.met >= self._times

    @property
    def next_fault(self) -> Fault:
        """The fault whose turn it is; the last one repeats."""
        return self._faults[min(self.met, len(self._faults) - 1)]

    def needs_body(self) -> bool:
        """Whether the request has to be read before it can be asked about; not for a fault that comes before reading."""
        fault = self.next_fault
        return not fault.before_reading and (self._when is not None or fault.concerns is not None)

    def take(self, request: SandboxRequest) -> Fault | None:
        """The fault that this request meets, if it meets one."""
        fault = self.next_fault
        if self.over or not all(asked(request) for asked in (fault.concerns, self._when) if asked is not None):
            return None
        if self._probability < 1.0 and self._draws.random() >= self._probability:
            return None
        self.met += 1
        return fault

    def remove(self) -> None:
        """No request meets it any more."""
        self._times = self.met


class FaultPlan:
    """The rules, in the order they were made: the first one that fits a request has it."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> Rule:
        """One more rule, after all others."""
        self._rules.append(rule)
        return rule

    async def choose(self, request: SandboxRequest, read: Callable[[], Awaitable[None]]) -> Fault | None:
        """The fault for a request whose head is there; `read` completes it, and is called only where a rule has to see the body."""
        self._rules = [rule for rule in self._rules if not rule.over]
        for rule in tuple(self._rules):
            if rule.needs_body():
                await read()
            if fault := rule.take(request):
                return fault
        return None
