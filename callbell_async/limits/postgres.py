"""A rate limiter that processes share over PostgreSQL. Needs the extra `postgres`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any

import attrs

from callbell_async.errors import ConfigurationError, RateLimiterError
from callbell_async.limits.lending import LendingTerms, SlotGrant, SlotReport
from callbell_async.limits.shared import REPORT_TIMEOUT, SharedRateLimiter, SlotLender

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "PostgresRateLimiter needs the PostgreSQL driver: pip install 'callbell-async[postgres]'", name=error.name
    ) from error

__all__ = ["SCHEMA", "PostgresRateLimiter"]

SCHEMA = """\
CREATE UNLOGGED TABLE IF NOT EXISTS callbell_rate_limiter (
    name text PRIMARY KEY,
    server_started timestamptz NOT NULL,
    called timestamptz NOT NULL,
    quiet_until timestamptz NOT NULL,
    paused_until timestamptz NOT NULL
);
CREATE UNLOGGED TABLE IF NOT EXISTS callbell_rate_limiter_process (
    name text,
    owner text,
    sequence bigint NOT NULL,
    held integer NOT NULL,
    want integer NOT NULL,
    keep_until timestamptz NOT NULL,
    PRIMARY KEY (name, owner)
);
"""
"""The tables. They are created at the first use, if the user may create tables. A crash of the server empties them, as the limiter expects."""

_MISSING = "SELECT to_regclass('callbell_rate_limiter') IS NULL OR to_regclass('callbell_rate_limiter_process') IS NULL"

# Two processes that create a table at once would fail.
_CREATE = f"BEGIN; SELECT pg_advisory_xact_lock(hashtext('callbell_rate_limiter')); {SCHEMA} COMMIT"

# One message to the server, and so one round trip. Each statement sees what the other processes have committed, because the first one
# waits for its row, and the isolation level gives each statement a view of its own. Another start of the server, also from an old
# backup or on a replica, shows by its time.
_REPORT = """
BEGIN ISOLATION LEVEL READ COMMITTED;
INSERT INTO callbell_rate_limiter AS l (name, server_started, called, quiet_until, paused_until)
VALUES (%(name)s, pg_postmaster_start_time(), clock_timestamp(), clock_timestamp() + %(quiet)s * interval '1 s',
        clock_timestamp() + %(pause)s * interval '1 s')
ON CONFLICT (name) DO UPDATE SET
    quiet_until = CASE
        WHEN l.server_started <> excluded.server_started
            OR (clock_timestamp() NOT BETWEEN l.called - %(lease)s * interval '1 s' AND l.called + %(lease)s * interval '1 s'
                AND EXISTS (SELECT FROM callbell_rate_limiter_process WHERE name = l.name AND want > 0))
        THEN clock_timestamp() + %(quiet)s * interval '1 s'
        ELSE least(l.quiet_until, clock_timestamp() + %(quiet)s * interval '1 s') END,
    server_started = excluded.server_started,
    called = clock_timestamp(),
    paused_until = greatest(
        l.paused_until - greatest(l.called - clock_timestamp(), interval '0'), excluded.paused_until);
DELETE FROM callbell_rate_limiter_process WHERE name = %(name)s AND keep_until <= clock_timestamp();
UPDATE callbell_rate_limiter_process SET keep_until = clock_timestamp() + %(longest_keep)s * interval '1 s'
WHERE name = %(name)s AND keep_until > clock_timestamp() + %(longest_keep)s * interval '1 s';
INSERT INTO callbell_rate_limiter_process AS p (name, owner, sequence, held, want, keep_until)
SELECT l.name, %(owner)s, %(sequence)s,
    CASE WHEN l.quiet_until > clock_timestamp() THEN %(held)s
         ELSE greatest(%(held)s, least(%(ask)s, %(limit)s - (
            SELECT coalesce(sum(held), 0) FROM callbell_rate_limiter_process
            WHERE name = l.name AND owner <> %(owner)s))) END,
    %(want)s, clock_timestamp() + %(keep)s * interval '1 s'
FROM callbell_rate_limiter AS l WHERE l.name = %(name)s
ON CONFLICT (name, owner) DO UPDATE
SET sequence = excluded.sequence, held = excluded.held, want = excluded.want, keep_until = excluded.keep_until
WHERE p.sequence < excluded.sequence;
SELECT p.owner = %(owner)s, p.sequence, p.held, p.want,
    greatest(0, extract(epoch FROM l.paused_until - clock_timestamp()))::double precision
FROM callbell_rate_limiter AS l JOIN callbell_rate_limiter_process AS p ON p.name = l.name WHERE l.name = %(name)s;
COMMIT
"""
_SELECT_INDEX = 5
"""The place of the SELECT among the statements."""


class PostgresRateLimiter(SharedRateLimiter):
    """One limit for all processes that use the same PostgreSQL database and the same `name`.

    ```python
    CallbellClient(rate_limit=PostgresRateLimiter("postgresql://user:password@127.0.0.1/app", limit=300))
    ```

    Each process holds one connection, and sends about four short transactions a second, at most 20, and none per message. While PostgreSQL can't be
    reached, a process sends for 1.5 seconds more, then it waits. When the server was restarted, and at the first use, it grants slots
    after 3.5 seconds; processes keep those they have.

    The tables `callbell_rate_limiter` and `callbell_rate_limiter_process` are created at the first use in the first schema of the search
    path. Where the user may not create tables, run `callbell_async.limits.postgres.SCHEMA` as another user and grant `SELECT`, `INSERT`,
    `UPDATE` and `DELETE`.

    Args:
        url: The database, as a URL `postgresql://[user[:password]@]host[:port]/database` or in another form of libpq.
        limit: The number of requests in any second, of all processes together: 1 or more. Each process must be given the same one.
        name: The name of the limit, one for each Callbell account; not empty.
        period: The length of the window in seconds, more than 0.
        unanswered: The seconds for which the slot of a request without a response is held beyond `period`, 0 or more.
        jitter: As for `WindowRateLimiter`: a number of seconds for the paced rule, `None` for the strict one.
        request_timeout: The longest time that a request takes, in seconds: at least the `timeout` of the clients.

    Raises:
        ConfigurationError: An argument has another type or is out of range.
        ModuleNotFoundError: The extra `postgres` is not installed.
    """

    def _new_lender(self, url: str, name: str) -> SlotLender:
        return _PostgresLender(url, name)


class _PostgresLender(SlotLender):
    def __init__(self, url: str, name: str) -> None:
        try:
            self._place = conninfo_to_dict(url).get("host") or "this host"
        except (psycopg.ProgrammingError, TypeError, AttributeError):
            # libpq's text quotes the URL, and so the password.
            valid = False
        else:
            valid = True
        if not valid:
            raise ConfigurationError("url: must be a URL such as postgresql://user:password@host/database")
        self._url = url
        self._name = name
        self._broken = False
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    def __repr__(self) -> str:
        return f"the rate limiter's PostgreSQL at {self._place}"

    @property
    def connected(self) -> bool:
        return self._connection is not None and not self._connection.closed

    async def connect(self) -> None:
        await self.close()
        self._broken = False
        failure = ""
        try:
            # Statements with several commands can't be prepared, nor be given parameters by the server.
            self._connection = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, cursor_factory=psycopg.AsyncClientCursor, connect_timeout=5
            )
            if (await self._execute(_MISSING))[0][0]:
                await self._execute(_CREATE, result=None)
        except (psycopg.Error, OSError) as error:
            failure = self._failure(error)
        except BaseException:
            await self.close()
            raise
        if failure:
            await self.close()
            # Outside the handler: the driver's error would be the context, and its frames hold the password.
            raise RateLimiterError(failure)

    async def report(self, report: SlotReport, *, limit: int, terms: LendingTerms) -> SlotGrant:
        parameters = attrs.asdict(report) | {
            "name": self._name,
            "limit": limit,
            "lease": terms.lease,
            "quiet": terms.quiet,
            "longest_keep": terms.keep,
        }
        failure = ""
        rows = []
        try:
            rows = await self._execute(_REPORT, parameters, result=_SELECT_INDEX)
        except (psycopg.Error, OSError) as error:
            failure = self._failure(error)
        if failure:
            await self.close()
            raise RateLimiterError(failure)
        others = []
        grant = SlotGrant(sequence=0, held=0, pause=0.0)
        for is_mine, sequence, held, want, pause in rows:
            if is_mine:
                grant = SlotGrant(sequence=sequence, held=held, pause=pause)
            else:
                others.append((held, want))
        return attrs.evolve(grant, others=tuple(others))

    async def _execute(
        self, query: str, parameters: dict[str, Any] | None = None, *, result: int | None = 0
    ) -> list[tuple[Any, ...]]:
        """Return the rows of one of the query's statements.

        If it takes too long, or this task is cancelled, the connection is broken. psycopg would first ask the server to cancel the
        query, and a server that hangs makes it wait for ten seconds.
        """
        running = asyncio.ensure_future(self._fetch(query, parameters, result))
        timer = asyncio.get_running_loop().call_later(REPORT_TIMEOUT, self._break)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._break()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()
            raise
        finally:
            timer.cancel()

    async def _fetch(self, query: str, parameters: dict[str, Any] | None, result: int | None) -> list[tuple[Any, ...]]:
        if self._connection is None:
            raise RateLimiterError(f"{self}: not connected")
        # Bytes, because a query that is not a literal is not a `LiteralString` for type checkers.
        async with self._connection.cursor() as cursor:
            await cursor.execute(query.encode(), parameters)
            if result is None:
                return []
            for _ in range(result):
                cursor.nextset()
            return await cursor.fetchall()

    def _failure(self, error: Exception) -> str:
        # libpq's texts have several lines.
        return f"{self}: {'no response in time' if self._broken else ' '.join(str(error).split())}"

    def _break(self) -> None:
        """End the connection at once: a task that waits for a response gets an error."""
        self._broken = True
        if self._connection is not None and not self._connection.closed:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
