"""A rate limiter that processes share over Redis. Needs the extra `redis`."""

from __future__ import annotations

import contextlib
import json
import math
from urllib.parse import urlsplit

import attrs

from callbell_async.errors import ConfigurationError, RateLimiterError
from callbell_async.limits.lending import LendingTerms, SlotGrant, SlotReport
from callbell_async.limits.shared import SharedRateLimiter, SlotLender

try:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "RedisRateLimiter needs the Redis driver: pip install 'callbell-async[redis]'", name=error.name
    ) from error

__all__ = ["RedisRateLimiter"]

# One hash for each limit: the fields of the engine, and one field for each process, whose name begins with "process:". Times are in
# milliseconds of Redis' clock. A restart, also with an old snapshot, and a failover show by another run_id.
_SCRIPT = """
local key = KEYS[1]
local report = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local engine, processes, remaining = {}, {}, false
local fields = redis.call('HGETALL', key)
for i = 1, #fields, 2 do
  local owner = string.match(fields[i], '^process:(.*)$')
  if owner then
    processes[owner] = cjson.decode(fields[i + 1])
    -- One that wants no slots was closed.
    remaining = remaining or processes[owner].want > 0
  else
    engine[fields[i]] = fields[i + 1]
  end
end
local quiet_until = tonumber(engine.quiet_until or 0)
local called = tonumber(engine.called or 0)
if engine.run ~= run or (remaining and math.abs(now - called) > report.lease) then
  quiet_until = now + report.quiet
end
quiet_until = math.min(quiet_until, now + report.quiet)
-- Set back, the clock must not make a pause longer.
local paused_until = tonumber(engine.paused_until or 0) - math.max(0, called - now)
paused_until = math.max(paused_until, now + report.pause)

local others, lent = {}, 0
for owner, process in pairs(processes) do
  -- Expired; or the clock was set back, and the time to keep it begins again.
  if process.keep_until <= now then
    redis.call('HDEL', key, 'process:' .. owner)
    processes[owner] = nil
  else
    if process.keep_until > now + report.longest_keep then
      process.keep_until = now + report.longest_keep
      redis.call('HSET', key, 'process:' .. owner, cjson.encode(process))
    end
    if owner ~= report.owner then
      others[#others + 1] = {process.held, process.want}
      lent = lent + process.held
    end
  end
end
local mine = processes[report.owner]
if mine and mine.sequence >= report.sequence then
  return cjson.encode({sequence = mine.sequence, held = mine.held, pause = 0})
end
local held = report.held
if now >= quiet_until then
  held = math.max(held, math.min(report.ask, report.limit - lent))
end
redis.call('HSET', key, 'run', run, 'called', now, 'quiet_until', quiet_until, 'paused_until', paused_until,
  'process:' .. report.owner, cjson.encode({
    sequence = report.sequence, held = held, want = report.want, keep_until = now + report.keep}))
local grant = {sequence = report.sequence, held = held, pause = math.max(0, paused_until - now)}
-- cjson writes an empty table as an object.
if #others > 0 then grant.others = others end
return cjson.encode(grant)
"""


class RedisRateLimiter(SharedRateLimiter):
    """One limit for all processes that use the same Redis server and the same `name`.

    ```python
    CallbellClient(rate_limit=RedisRateLimiter("redis://127.0.0.1:6379/0", limit=300))
    ```

    Each process sends about four requests a second to Redis, at most 20, and none per message. While Redis can't be reached, a process
    sends for 1.5 seconds more, then it waits. When Redis was restarted, or is new, it grants slots after 3.5 seconds; processes
    keep those they have.

    Args:
        url: The address of the server, as `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS, or `unix://path`.
        limit: The number of requests in any second, of all processes together: 1 or more. Each process must be given the same one.
        name: The name of the limit, one for each Callbell account; not empty.
        period: The length of the window in seconds, more than 0.
        unanswered: The seconds for which the slot of a request without a response is held beyond `period`, 0 or more.
        jitter: As for `WindowRateLimiter`: a number of seconds for the paced rule, `None` for the strict one.
        request_timeout: The longest time that a request takes, in seconds: at least the `timeout` of the clients.

    Raises:
        ConfigurationError: An argument has another type or is out of range.
        ModuleNotFoundError: The extra `redis` is not installed.
    """

    def _new_lender(self, url: str, name: str) -> SlotLender:
        return _RedisLender(url, name)


class _RedisLender(SlotLender):
    def __init__(self, url: str, name: str) -> None:
        if not isinstance(url, str) or not url.startswith(("redis://", "rediss://", "unix://")):
            raise ConfigurationError("url: must begin with redis://, rediss:// or unix://")
        self._url = url
        self._key = f"callbell-async:rate-limiter:{name}"
        self._client: Redis | None = None
        failure = ""
        try:
            pool = self._open().connection_pool
            # Without it, a parameter that the driver does not know is an error of the first use.
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError, RedisError) as error:
            failure = str(error)
        if failure:
            # Outside the handler: the driver's error would be the context, and its frames hold the password.
            raise ConfigurationError(f"url: {failure}")

    def __repr__(self) -> str:
        parts = urlsplit(self._url)
        return f"the rate limiter's Redis at {parts.hostname or parts.path}"

    def _open(self) -> Redis:
        # The limiter repeats what fails, and knows for how long.
        client: Redis = Redis.from_url(self._url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=5.0)
        self._script = client.register_script(_SCRIPT)
        return client

    @property
    def connected(self) -> bool:
        return self._client is not None

    async def connect(self) -> None:
        with contextlib.suppress(RuntimeError):
            # RuntimeError: it belongs to an event loop that has ended.
            await self.close()
        self._client = client = self._open()
        failure = ""
        try:
            await client.script_load(_SCRIPT)
        except (RedisError, OSError) as error:
            failure = f"{self}: {error}"
        except BaseException:
            await self.close()
            raise
        if failure:
            await self.close()
            # Outside the handler: the driver's error would be the context, and its frames hold the password.
            raise RateLimiterError(failure)

    async def report(self, report: SlotReport, *, limit: int, terms: LendingTerms) -> SlotGrant:
        document = attrs.asdict(report) | {
            "limit": limit,
            "pause": _milliseconds(report.pause),
            "keep": _milliseconds(report.keep),
            "lease": _milliseconds(terms.lease),
            "quiet": _milliseconds(terms.quiet),
            "longest_keep": _milliseconds(terms.keep),
        }
        if self._client is None:
            raise RateLimiterError(f"{self}: not connected")
        failure, found = "", b""
        try:
            found = await self._script(keys=[self._key], args=[json.dumps(document)], client=self._client)
        except (RedisError, OSError) as error:
            failure = f"{self}: {error}"
        except BaseException:
            # Cancelled or too late: Redis may still execute it, and its response belongs to nobody.
            await self.close()
            raise
        if failure:
            await self.close()
            raise RateLimiterError(failure)
        grant = json.loads(found)
        return SlotGrant(
            sequence=grant["sequence"],
            held=grant["held"],
            pause=grant["pause"] / 1000,
            others=tuple((held, want) for held, want in grant.get("others", ())),
        )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _milliseconds(seconds: float) -> int:
    """Round up: the engine must not forget too early."""
    return math.ceil(seconds * 1000)
