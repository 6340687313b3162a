"""A rate limiter whose slots are shared by processes: each uses the slots that an engine lends it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from callbell_async.arguments import check_seconds
from callbell_async.errors import ConfigurationError, RateLimiterError
from callbell_async.limits.lending import Demand, LendingTerms, SlotGrant, SlotReport, decide, fair_share, first_slots
from callbell_async.limits.window import WindowRateLimiter
from callbell_async.observe import area_logger
from callbell_async.redaction import HiddenFrames

__all__ = ["SharedRateLimiter", "SlotLender"]

LEASE = 1.5
"""Seconds. A longer lease outlasts longer failures of the engine; after a loss of its memory it grants nothing for longer."""

RENEW_EVERY = 0.25
"""Seconds between two reports to the engine."""

POLL_EVERY = 0.1
"""Seconds between two reports while requests wait for slots that other processes may return."""

GROW_EVERY = 0.05
"""Seconds between two reports while requests wait and the engine has more slots; the shortest time of all."""

REPORT_TIMEOUT = 0.8
"""Seconds. After a report that fails there is time for a second one within the lease."""

CONNECT_TIMEOUT = 5.0
"""Seconds."""

CLOCK_DRIFT = 0.05
"""The seconds by which the clocks of the engine and of this process may differ over the time of a lease."""

_log = area_logger("limits")


class SlotLender(ABC):
    """An engine that lends the slots. Each method raises `RateLimiterError`, whose text names no secret."""

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""

    @abstractmethod
    async def connect(self) -> None:
        """Open a new connection, and create what the engine needs."""

    @abstractmethod
    async def report(self, report: SlotReport, *, limit: int, terms: LendingTerms) -> SlotGrant:
        """Record what a process reports, and lend it the slots that it asks for, as far as no other process has them.

        A process that the engine has not heard of for `terms.keep` has none. If the engine lost its memory, or if nobody called it
        during a whole lease and processes remain that want slots (a closed one wants none), it grants nothing for `terms.quiet` but what processes report. A failure ends
        the connection.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the connection; does nothing if there is none."""


class SharedRateLimiter(WindowRateLimiter):
    """One limit for any number of processes and hosts.

    The processes divide the slots of one `WindowRateLimiter` among themselves. An engine lends each process a number of slots for
    1.5 seconds, and the process renews this lease four times a second; no message needs a request to the engine. When the lease
    ends, because the engine can't be reached, the process sends nothing until it has a new one. So the limit holds whatever
    happens to the engine and to the processes.

    Use `RedisRateLimiter` or `PostgresRateLimiter`.

    Args:
        url: The address of the engine.
        limit: The number of requests in any second, of all processes together: 1 or more. Each process must be given the same one.
        name: The name of the limit, one for each Callbell account; not empty.
        period: The length of the window in seconds, more than 0.
        unanswered: The seconds for which the slot of a request without a response is held beyond `period`, 0 or more.
        jitter: As for `WindowRateLimiter`: a number of seconds for the paced rule, `None` for the strict one.
        request_timeout: The longest time that a request takes, in seconds: at least the `timeout` of the clients. The slots of a process
            that was killed are lent again after the lease, `request_timeout`, `unanswered` and `period`.

    Raises:
        ConfigurationError: An argument has another type or is out of range.
    """

    def __init__(
        self,
        url: str,
        *,
        limit: int = 300,
        name: str = "callbell",
        period: float = 1.0,
        unanswered: float = 10.0,
        jitter: float | None = None,
        request_timeout: float = 30.0,
    ) -> None:
        with HiddenFrames():
            super().__init__(limit, period=period, unanswered=unanswered, jitter=jitter)
            check_seconds("request_timeout", request_timeout, positive=True)
            if not isinstance(name, str) or not name:
                raise ConfigurationError(f"name={name!r}: must be a text that is not empty")
            self._limit = limit
            self._lender = self._new_lender(url, name)
        self._terms = LendingTerms(
            lease=LEASE, keep=LEASE + request_timeout + unanswered + period, quiet=LEASE + 2 * period
        )
        self.remove_slots(limit)
        self.allow_until(-math.inf)
        self._clients = 0
        self._renewal: asyncio.Task[None] | None = None
        self._life_cycle = asyncio.Lock()
        self._reported_at = -math.inf
        self._reset()

    @abstractmethod
    def _new_lender(self, url: str, name: str) -> SlotLender:
        """Return the engine at a URL, for the limit with a name."""

    def _reset(self) -> None:
        self._owner = secrets.token_hex(8)
        self._sequence = 0
        self._others: tuple[tuple[int, int], ...] = ()
        self._may_grow = True
        self._interval = GROW_EVERY
        self._pause_until = 0.0
        self._wake = asyncio.Event()

    # --- life cycle ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect to the engine and borrow the first slots.

        Raises:
            RateLimiterError: The engine can't be reached, or refuses.
            ConfigurationError: The limiter is in use on another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._renewal is not None and self._renewal.get_loop() is not loop:
            if not self._renewal.done() and not self._renewal.get_loop().is_closed():
                raise ConfigurationError(
                    "this rate limiter is in use on another event loop; give each loop one of its own"
                )
            # The earlier loop ended without `aclose`. The engine keeps its slots until it forgets that owner.
            self._renewal = None
            self._clients = 0
            self._life_cycle = asyncio.Lock()
            self._return_all()
            self._reset()
        async with self._life_cycle:
            if self._renewal is None or self._renewal.done():
                try:
                    await self._report(first=True)
                except BaseException:
                    await self._lender.close()
                    raise
                self._renewal = loop.create_task(self._renew_leases(), name="callbell-rate-limiter")
            self._clients += 1

    async def aclose(self) -> None:
        """Return the slots and close the connection, when the last client that started the limiter closes it."""
        async with self._life_cycle:
            self._clients -= 1
            if self._clients > 0 or self._renewal is None:
                return
            renewal, self._renewal = self._renewal, None
            renewal.cancel()
            try:
                await asyncio.wait([renewal])
                self._return_all()
                await self._report(last=True)
            except RateLimiterError as error:
                _log.warning(
                    "the shared rate limiter could not return its slots: %s",
                    error,
                    extra={"error.type": type(error).__name__},
                )
            finally:
                await self._lender.close()
                self._reset()

    def _return_all(self) -> None:
        self.allow_until(-math.inf)
        if self.slots:
            self.remove_slots(self.slots)

    # --- requests -----------------------------------------------------------------------------------------------------

    async def acquire(self) -> None:
        """Wait until one more request may be sent, in the order of the calls."""
        if self._may_grow and not self._wake.is_set() and self.waiting >= self.free_slots:
            self._wake.set()
        await super().acquire()

    def pause(self, seconds: float) -> None:
        """Callbell responded with 429: no process gets a slot for this time. The others learn it within a quarter of a second."""
        super().pause(seconds)
        self._pause_until = max(self._pause_until, asyncio.get_running_loop().time() + seconds)
        self._wake.set()

    # --- the lease ----------------------------------------------------------------------------------------------------

    async def _renew_leases(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._reported_at + RENEW_EVERY):
                    await self._wake.wait()
            await asyncio.sleep(self._reported_at + self._interval - loop.time())
            self._wake.clear()
            try:
                await self._report()
            except Exception as error:
                if self.problem is None:
                    expected = isinstance(error, RateLimiterError)
                    _log.warning(
                        "%s; nothing is sent without a lease",
                        error,
                        exc_info=None if expected else error,
                        extra={"error.type": type(error).__name__},
                    )
                self.problem = str(error)
            else:
                if self.problem is not None:
                    _log.warning("the shared rate limiter can use its engine again")
                self.problem = None

    async def _report(self, *, first: bool = False, last: bool = False) -> None:
        """Report to the engine once, and use the slots that it lends; raises `RateLimiterError`."""
        loop = asyncio.get_running_loop()
        self._reported_at = loop.time()
        if not self._lender.connected:
            if last:
                # A closing client does not wait for an engine that can't be reached.
                raise RateLimiterError(f"{self._lender}: not connected")
            async with self._timeout(CONNECT_TIMEOUT):
                await self._lender.connect()
        started = loop.time()
        report = self._last_report(started) if last else self._next_report(started, first=first)
        pause_until = self._pause_until
        # A little more than a lender that ends its reports itself takes.
        async with self._timeout(REPORT_TIMEOUT + 0.1):
            grant = await self._lender.report(report, limit=self._limit, terms=self._terms)
        if grant.sequence != report.sequence or last:
            return
        if self._pause_until == pause_until:
            self._pause_until = 0.0
        if grant.pause > 0:
            super().pause(grant.pause)
        if grant.held > report.held:
            self.add_slots(grant.held - report.held)
        if excess := grant.excess(self._limit):
            self.remove_slots(excess)
        self.allow_until(started + self._terms.lease - CLOCK_DRIFT)
        self._others = tuple(grant.others)
        needs = [want for _, want in self._others]
        self._may_grow = grant.held < fair_share(self._limit, self._limit, needs)
        self._interval = GROW_EVERY if grant.held >= report.ask else POLL_EVERY
        if self._may_grow and self.waiting > self.free_slots:
            self._wake.set()

    def _next_report(self, now: float, *, first: bool) -> SlotReport:
        demand = Demand(held=self.slots, leaving=self.surplus_slots, free=self.free_slots, waiting=self.waiting)
        decision = decide(self._limit, demand, [want for _, want in self._others])
        if decision.keep and demand.leaving:
            self.keep_slots(decision.keep)
        if decision.give_up:
            self.remove_slots(decision.give_up)
        self._sequence += 1
        return SlotReport(
            owner=self._owner,
            sequence=self._sequence,
            held=self.slots,
            # The first requests come at once, and nobody has to return slots for them.
            ask=max(decision.ask, first_slots(self._limit)) if first else decision.ask,
            want=decision.want,
            pause=max(0.0, self._pause_until - now),
            keep=self._terms.keep,
        )

    def _last_report(self, now: float) -> SlotReport:
        free_at = self.all_free_at
        self._sequence += 1
        return SlotReport(
            owner=self._owner,
            sequence=self._sequence,
            held=self.slots,
            ask=0,
            want=0,
            pause=max(0.0, self._pause_until - now),
            keep=self._terms.keep if free_at is None else max(0.0, free_at - now),
        )

    @property
    def reports(self) -> int:
        """The number of reports to the engine since the limiter was started."""
        return self._sequence

    @contextlib.asynccontextmanager
    async def _timeout(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise RateLimiterError(f"{self._lender}: no response in time") from None
