"""An engine that lends slots, in memory and on the event loop's clock: the model that Redis and PostgreSQL are compared with."""

from __future__ import annotations

import asyncio

import attrs

from callbell_async import RateLimiterError
from callbell_async.limits.lending import LendingTerms, SlotGrant, SlotReport
from callbell_async.limits.shared import SharedRateLimiter, SlotLender

__all__ = ["EngineState", "MemoryLender", "MemoryRateLimiter", "lend"]


@attrs.define
class ProcessState:
    """The state of one process in an engine."""

    sequence: int
    held: int
    want: int
    keep_until: float


@attrs.define
class EngineState:
    """The state of an engine; `run` changes when it is started again. `clock_offset` is the error of its clock in seconds."""

    run: int = 1
    known_run: int = 0
    called: float = 0.0
    quiet_until: float = 0.0
    paused_until: float = 0.0
    processes: dict[str, ProcessState] = attrs.field(factory=dict)
    reachable: bool = True
    latency: float = 0.0
    clock_offset: float = 0.0
    reports: int = 0

    def restart_empty(self) -> None:
        """Lose all memory."""
        self.run += 1
        self.known_run = 0
        self.quiet_until = self.paused_until = 0.0
        self.processes.clear()


def lend(state: EngineState, report: SlotReport, limit: int, terms: LendingTerms, now: float) -> SlotGrant:
    """The rule of every engine."""
    state.reports += 1
    lost = state.known_run != state.run
    # One that wants no slots was closed.
    remaining = any(process.want for process in state.processes.values())
    if lost or (remaining and abs(now - state.called) > terms.lease):
        state.quiet_until = now + terms.quiet
    state.quiet_until = min(state.quiet_until, now + terms.quiet)
    for owner, process in list(state.processes.items()):
        process.keep_until = min(process.keep_until, now + terms.keep)
        if process.keep_until <= now:
            del state.processes[owner]
    # The clock was set back, and the pause is as long as before.
    state.paused_until -= max(0.0, state.called - now)
    state.known_run, state.called = state.run, now
    state.paused_until = max(state.paused_until, now + report.pause)
    mine = state.processes.get(report.owner)
    if mine is not None and mine.sequence >= report.sequence:
        return SlotGrant(sequence=mine.sequence, held=mine.held, pause=0.0)
    others = {owner: process for owner, process in state.processes.items() if owner != report.owner}
    held = report.held
    if now >= state.quiet_until:
        held = max(held, min(report.ask, limit - sum(process.held for process in others.values())))
    state.processes[report.owner] = ProcessState(report.sequence, held, report.want, now + report.keep)
    return SlotGrant(
        sequence=report.sequence,
        held=held,
        pause=max(0.0, state.paused_until - now),
        others=tuple((process.held, process.want) for process in others.values()),
    )


class MemoryLender(SlotLender):
    """Lends from a state that several limiters of one event loop share, as several processes share an engine."""

    def __init__(self, state: EngineState) -> None:
        self._state = state
        self._connected = False

    def __repr__(self) -> str:
        return "the rate limiter's memory"

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._connected

    async def connect(self) -> None:
        """Connect, if the engine can be reached."""
        await asyncio.sleep(self._state.latency)
        if not self._state.reachable:
            raise RateLimiterError(f"{self}: can't be reached")
        self._connected = True

    async def report(self, report: SlotReport, *, limit: int, terms: LendingTerms) -> SlotGrant:
        """Apply the rule, half of the latency later."""
        try:
            await asyncio.sleep(self._state.latency / 2)
            if not self._state.reachable:
                raise RateLimiterError(f"{self}: can't be reached")
            now = asyncio.get_running_loop().time() + self._state.clock_offset
            grant = lend(self._state, report, limit, terms, now)
            await asyncio.sleep(self._state.latency / 2)
        except BaseException:
            self._connected = False
            raise
        return grant

    async def close(self) -> None:
        """Disconnect."""
        self._connected = False


class MemoryRateLimiter(SharedRateLimiter):
    """One limit for all limiters with the same state."""

    def __init__(self, state: EngineState, limit: int = 300, *, request_timeout: float = 30.0) -> None:
        self._state = state
        super().__init__("memory://", limit=limit, request_timeout=request_timeout)

    def _new_lender(self, url: str, name: str) -> SlotLender:
        return MemoryLender(self._state)
