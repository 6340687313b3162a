"""Rate limiters that processes share, over a real Redis and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
from redis.asyncio import Redis

from callbell_async import ConfigurationError, RateLimiterError, limits
from callbell_async.limits.lending import LendingTerms, SlotReport
from callbell_async.limits.shared import SharedRateLimiter, SlotLender
from tests.support.clock import current_loop
from tests.support.memory_lender import EngineState, lend
from tests.support.rate_processes import RateProcess, rate_processes
from tests.support.services import Service
from tests.support.strict_server import StrictServer, fullest_window


def new_limiter(service: Service, *, name: str | None = None, limit: int = 300) -> SharedRateLimiter:
    """A limiter of a name that no other test uses."""
    return limits.from_url(service.url, limit=limit, name=name or secrets.token_hex(4))


def lender_of(limiter: SharedRateLimiter) -> SlotLender:
    """The engine of a limiter."""
    return limiter._lender


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the engine's real time has made this true."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it is nobody's event
            await asyncio.sleep(0.01)


async def until_lent(limiter: SharedRateLimiter) -> None:
    """Wait until the engine lends slots: a new one does after some seconds."""
    await until(lambda: limiter.slots > 0)


# --- the engines' rule ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_the_engines_lend_by_the_same_rule(service: Service, seed: int) -> None:
    """For any reports, Redis and PostgreSQL respond as the model in memory does, which the simulations use."""
    rng = random.Random(seed)
    lender = lender_of(new_limiter(service))
    state = EngineState()
    # Without times, because their clocks differ: what was kept for 0 s is forgotten at once, and nothing else.
    terms = LendingTerms(lease=1000.0, keep=1000.0, quiet=0.0)
    sequences: Counter[str] = Counter()
    await lender.connect()
    try:
        for step in range(60):
            owner = rng.choice("abcd")
            sequences[owner] += rng.choice([1, 1, 1, 0])
            report = SlotReport(
                owner=owner,
                sequence=sequences[owner],
                held=rng.randrange(20),
                ask=rng.randrange(60),
                want=rng.randrange(100),
                pause=0.0,
                keep=rng.choice([1000.0, 1000.0, 1000.0, 0.0]),
            )
            found = await lender.report(report, limit=50, terms=terms)
            expected = lend(state, report, 50, terms, now=float(step))
            assert (found.sequence, found.held) == (expected.sequence, expected.held)
            if found.sequence == report.sequence and expected.others:
                assert sorted(found.others) == sorted(expected.others)
    finally:
        await lender.close()


async def test_a_new_engine_is_quiet_at_first(service: Service) -> None:
    """An engine without memory lends nothing for its quiet time, but keeps what processes report; then it lends."""
    lender = lender_of(new_limiter(service))
    terms = LendingTerms(lease=1.0, keep=10.0, quiet=0.6)
    await lender.connect()
    try:
        loop = asyncio.get_running_loop()
        started = loop.time()
        report = SlotReport(owner="a", sequence=1, held=7, ask=20, want=20, pause=0.0, keep=10.0)
        assert (await lender.report(report, limit=50, terms=terms)).held == 7
        sequence = 1
        while True:
            sequence += 1
            report = SlotReport(owner="b", sequence=sequence, held=0, ask=50, want=50, pause=0.0, keep=10.0)
            grant = await lender.report(report, limit=50, terms=terms)
            if grant.held:
                break
            await asyncio.sleep(0.02)
        assert (grant.held, grant.others) == (43, ((7, 20),))
        assert loop.time() - started >= 0.55
    finally:
        await lender.close()


async def test_a_pause_reaches_the_other_processes(service: Service) -> None:
    """A process reads from the engine for how long another one must pause; the longest pause counts."""
    lender = lender_of(new_limiter(service))
    terms = LendingTerms(lease=10.0, keep=10.0, quiet=0.0)
    await lender.connect()
    try:
        for sequence, pause in enumerate((30.0, 5.0)):
            await lender.report(
                SlotReport(owner="a", sequence=sequence + 1, held=0, ask=0, want=0, pause=pause, keep=10.0),
                limit=5,
                terms=terms,
            )
        report = SlotReport(owner="b", sequence=1, held=0, ask=0, want=0, pause=0.0, keep=10.0)
        grant = await lender.report(report, limit=5, terms=terms)
        assert 20.0 < grant.pause <= 30.0
    finally:
        await lender.close()


# --- processes --------------------------------------------------------------------------------------------------------


async def begin(service: Service, name: str) -> str:
    """Let the engine lend at once; returns the address for processes."""
    limiter = new_limiter(service, name=name)
    await limiter.start()
    await until_lent(limiter)
    await limiter.aclose()
    return f"{service.url}#{name}"


@asynccontextmanager
async def sending(address: str, base_url: str, messages: list[int], *extra: str) -> AsyncIterator[list[RateProcess]]:
    """Processes that send."""
    # A thread waits for them, because the server is on this loop. Their end also ends the thread.
    with rate_processes(address, base_url, messages, *extra) as processes:
        for process in processes:
            await asyncio.to_thread(process.wait_until_ready)
        for process in processes:
            process.begin()
        yield processes


@pytest.mark.slow
async def test_two_processes_keep_one_limit(service: Service) -> None:
    """Two processes with responses after 0 to 50 ms, and clocks an hour apart: no 429, no second above 300, and both share the limit."""
    address = await begin(service, secrets.token_hex(4))
    async with StrictServer(limit=300, delay=(0.0, 0.05), seed=3) as server:
        async with sending(address, server.base_url, [450, 450], "--clock-offsets=3600") as processes:
            found = await asyncio.gather(*(asyncio.to_thread(process.result) for process in processes))
        assert [result["accepted"] for result in found] == [450, 450], found
        assert server.refused == 0
        assert fullest_window(server.arrivals) <= 300
        assert all(result["reports"] <= 20 * (result["seconds"] + 1) for result in found)


@pytest.mark.slow
async def test_a_killed_and_a_suspended_process(service: Service) -> None:
    """One process is killed and one is suspended for longer than its lease: no 429, no second above 300, and the others send."""
    address = await begin(service, secrets.token_hex(4))
    async with StrictServer(limit=300, delay=(0.0, 0.05), seed=3) as server:
        async with sending(address, server.base_url, [3_000, 300, 600]) as processes:
            killed, suspended, living = processes
            await server.seen(300)
            killed.process.kill()
            os.kill(suspended.process.pid, signal.SIGSTOP)
            stopped_at = current_loop().time()
            # Longer than the lease, and much shorter than the time limit of its requests. The living process has 300 messages left at least.
            await until(lambda: current_loop().time() - stopped_at > 2.0 and len(server.arrivals) > 500)
            os.kill(suspended.process.pid, signal.SIGCONT)
            found = await asyncio.gather(*(asyncio.to_thread(process.result) for process in (suspended, living)))
        assert [result["accepted"] for result in found] == [300, 600], found
        assert server.refused == 0
        assert fullest_window(server.arrivals) <= 300


# --- the engine fails -------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_an_engine_that_is_killed_and_comes_back(own_service: Service) -> None:
    """Without the engine a process stops at the end of its lease; with it, it continues with the slots that it had."""
    limiter = new_limiter(own_service)
    await limiter.start()
    try:
        await until_lent(limiter)
        held = limiter.slots
        await asyncio.to_thread(own_service.kill)
        while limiter.try_acquire():
            limiter.refund()
            await asyncio.sleep(0.01)
        await until(lambda: limiter.problem is not None)
        assert limiter.problem is not None
        assert "PostgreSQL" in limiter.problem or "Redis" in limiter.problem
        await asyncio.to_thread(own_service.start)
        async with asyncio.timeout(30):
            await limiter.acquire()
        limiter.refund()
        assert 0 < limiter.slots <= held
        await until(lambda: limiter.problem is None)
    finally:
        await limiter.aclose()


@pytest.mark.slow
async def test_an_engine_that_hangs(own_service: Service) -> None:
    """An engine that no longer responds is a failure within the lease, and the limiter continues when it responds again."""
    limiter = new_limiter(own_service)
    await limiter.start()
    try:
        await until_lent(limiter)
        own_service.suspend()
        await until(lambda: limiter.problem is not None)
        assert limiter.problem is not None
        assert limiter.problem.endswith("no response in time")
        own_service.resume()
        resumed = current_loop().time()
        await until(lambda: limiter.problem is None)
        assert current_loop().time() - resumed < 8.0
    finally:
        own_service.resume()
        await limiter.aclose()


# --- errors -----------------------------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there(own_service: Service) -> None:
    """A server that refuses connections is a clear error at the first call."""
    limiter = new_limiter(own_service)
    own_service.kill()
    with pytest.raises(RateLimiterError, match=r"^the rate limiter's (Redis|PostgreSQL) at 127\.0\.0\.1: "):
        await limiter.start()


async def test_a_wrong_password(own_redis: Service) -> None:
    """A password that Redis refuses is an error that does not show it."""
    async with Redis.from_url(own_redis.url) as admin:
        await admin.config_set("requirepass", "right-password")
    limiter = limits.RedisRateLimiter(own_redis.url.replace("redis://", "redis://:wrong-password@"))
    with pytest.raises(RateLimiterError) as caught:
        await limiter.start()
    assert "wrong-password" not in repr(caught.value) + repr(limiter)
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_a_user_who_may_not_create_tables(postgres_service: Service) -> None:
    """A missing permission is a clear error; with the tables from `SCHEMA` and grants on them the limiter works."""
    from callbell_async.limits.postgres import SCHEMA

    role, database = f"limited_{secrets.token_hex(4)}", f"db_{secrets.token_hex(4)}"
    async with await psycopg.AsyncConnection.connect(postgres_service.url, autocommit=True) as admin:
        await admin.execute(f"CREATE DATABASE {database}".encode())
        await admin.execute(f"CREATE ROLE {role} LOGIN".encode())
    url = postgres_service.url.rpartition("/")[0] + f"/{database}"
    limiter = limits.PostgresRateLimiter(url.replace("callbell@", f"{role}@"))
    with pytest.raises(RateLimiterError, match="permission denied"):
        await limiter.start()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        await admin.execute(SCHEMA.encode())
        await admin.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON callbell_rate_limiter, callbell_rate_limiter_process TO {role}".encode()
        )
    await limiter.start()
    await limiter.aclose()


async def test_several_processes_may_create_the_tables_at_once(postgres_service: Service) -> None:
    """Limiters that start at the same time on an empty database all start."""
    database = f"db_{secrets.token_hex(4)}"
    async with await psycopg.AsyncConnection.connect(postgres_service.url, autocommit=True) as admin:
        await admin.execute(f"CREATE DATABASE {database}".encode())
    url = postgres_service.url.rpartition("/")[0] + f"/{database}"
    made = [limits.from_url(url, name=str(number)) for number in range(6)]
    await asyncio.gather(*(limiter.start() for limiter in made))
    await asyncio.gather(*(limiter.aclose() for limiter in made))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://:secret@127.0.0.1:port/0", "url: "),
        ("postgresql://u:secret@127.0.0.1:port:port/db?nothing=1", "url: must be a URL such as"),
    ],
)
async def test_a_url_that_the_driver_refuses(url: str, text: str) -> None:
    """A malformed URL raises `ConfigurationError` when the limiter is built, without its password."""
    with pytest.raises(ConfigurationError) as caught:
        limits.from_url(url)
    assert str(caught.value).startswith(text)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["", None, 3])
async def test_a_limit_has_a_name(service: Service, name: object) -> None:
    """An empty name, or another type, raises `ConfigurationError`."""
    with pytest.raises(ConfigurationError, match=r"^name="):
        limits.from_url(service.url, name=name)
