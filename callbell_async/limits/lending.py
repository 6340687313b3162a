"""How the slots of one limit are lent to processes: what a process reports, and how much of the limit it takes; no I/O."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

__all__ = ["Decision", "Demand", "LendingTerms", "SlotGrant", "SlotReport", "decide", "fair_share", "first_slots"]

SPARE = 2
"""The free slots that an idle process keeps, so that its next request need not wait for the engine."""

HEADROOM = 8
"""A process asks for one slot more than it uses for each 8 slots in use."""

STEP = 8
"""A process asks for this part of the limit at first, then for as much or twice what it has: processes that start at once get the same."""

EXPECTED = 4
"""The number of slots to ask for per waiting request: usually more requests follow as soon as these are sent."""


@attrs.frozen(kw_only=True)
class LendingTerms:
    """The times of a lease in seconds.

    Attributes:
        lease: The time after a report for which the process may use its slots.
        keep: The time after a report for which the engine lends the slots of the process to nobody else: until the end of the
            last request that may have started within the lease, and of its slot.
        quiet: The time for which an engine that lost its memory grants nothing: meanwhile the processes report the slots that
            they have.
    """

    lease: float
    keep: float
    quiet: float


@attrs.frozen(kw_only=True)
class SlotReport:
    """The report of a process to the engine.

    Attributes:
        owner: The name of the process, unique.
        sequence: The number of the report. The engine ignores a report that arrives after a later one.
        held: The number of slots that the process has.
        ask: The number of slots that it asks for, those that it has included.
        want: The number of slots that it needs, for the decisions of the other processes.
        pause: The seconds for which all processes must pause after a 429; 0 for no pause.
        keep: The seconds for which the engine keeps the slots for this process.
    """

    owner: str
    sequence: int
    held: int
    ask: int
    want: int
    pause: float
    keep: float


@attrs.frozen(kw_only=True)
class SlotGrant:
    """The engine's response to a report.

    Attributes:
        sequence: The number of the last report that the engine has received.
        held: The number of slots that the process has now; at least those that it reported.
        pause: The seconds for which all processes pause.
        others: The number of slots that each other process has and needs.
    """

    sequence: int
    held: int
    pause: float
    others: Sequence[tuple[int, int]] = ()

    def excess(self, limit: int) -> int:
        """Return the number of slots to give up: the engine has lent them to other processes after it had no report from this one for too long."""
        return min(self.held, max(0, self.held + sum(held for held, _ in self.others) - limit))


@attrs.frozen(kw_only=True)
class Demand:
    """How a process uses its slots now.

    Attributes:
        held: The number of slots that the process has.
        leaving: The number of these that it returns as soon as they are free.
        free: The number of slots that no request holds.
        waiting: The number of requests that wait for a slot.
    """

    held: int
    leaving: int
    free: int
    waiting: int


@attrs.frozen(kw_only=True)
class Decision:
    """The next step of a process: `keep` or `give_up` slots (0 or more), then report `want` and `ask`."""

    keep: int
    give_up: int
    want: int
    ask: int


def decide(limit: int, demand: Demand, others: Sequence[int]) -> Decision:
    """Return how many slots a process keeps, returns and asks for; `others` is what each other process needs."""
    busy = demand.held - demand.free
    want = min(limit, busy + busy // HEADROOM + EXPECTED * demand.waiting + SPARE)
    target = min(want, fair_share(limit, want, others))
    stay = demand.held - demand.leaving
    ask = min(target, demand.held + max(demand.held, first_slots(limit)))
    return Decision(keep=max(0, target - stay), give_up=max(0, stay - target), want=want, ask=ask)


def first_slots(limit: int) -> int:
    """Return how many slots a process asks for before its first request."""
    return -(-limit // STEP)


def fair_share(limit: int, want: int, others: Sequence[int]) -> int:
    """Return the share of the limit of a process that needs `want`, rounded up.

    A process that needs less than an equal share gets what it needs; the others divide the rest equally.
    """
    left = limit
    needs = sorted([want, *others])
    for index, need in enumerate(needs):
        processes = len(needs) - index
        if need * processes > left:
            return -(-left // processes)
        if need == want:
            return want
        left -= need
    return want
