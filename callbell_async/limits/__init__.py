"""Rate limiters: for one process, and shared over Redis or PostgreSQL.

`RedisRateLimiter` and `PostgresRateLimiter` are imported at their first use, because each needs a driver that is an extra.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from callbell_async.errors import ConfigurationError
from callbell_async.redaction import HiddenFrames

# Type checkers read the imports instead, so that they report a misspelt name.
if TYPE_CHECKING:
    from callbell_async.limits.base import RateLimiter as RateLimiter
    from callbell_async.limits.base import TrackedSlot as TrackedSlot
    from callbell_async.limits.postgres import PostgresRateLimiter as PostgresRateLimiter
    from callbell_async.limits.redis import RedisRateLimiter as RedisRateLimiter
    from callbell_async.limits.shared import SharedRateLimiter as SharedRateLimiter
    from callbell_async.limits.window import WindowRateLimiter as WindowRateLimiter
else:
    _EXPORTS = {
        "PostgresRateLimiter": "callbell_async.limits.postgres",
        "RateLimiter": "callbell_async.limits.base",
        "RedisRateLimiter": "callbell_async.limits.redis",
        "SharedRateLimiter": "callbell_async.limits.shared",
        "TrackedSlot": "callbell_async.limits.base",
        "WindowRateLimiter": "callbell_async.limits.window",
    }

    __all__ = [*_EXPORTS, "from_url"]

    def __getattr__(name: str) -> object:
        if name not in _EXPORTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_EXPORTS[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)


def from_url(url: str, *, limit: int = 300, **options: Any) -> "SharedRateLimiter":
    """Return the rate limiter for a URL: `redis://`, `rediss://` or `unix://` for Redis, `postgresql://` for PostgreSQL.

    Args:
        url: The address of the engine.
        limit: The number of requests in any second, of all processes together: 1 or more.
        **options: Further arguments of `RedisRateLimiter` or `PostgresRateLimiter`, such as `name`.

    Returns:
        A `RedisRateLimiter` or a `PostgresRateLimiter`.

    Raises:
        ConfigurationError: The URL names no engine, or an argument is not valid.
        ModuleNotFoundError: The extra `redis` or `postgres` is not installed.
    """
    with HiddenFrames():
        redis = ("callbell_async.limits.redis", "RedisRateLimiter")
        postgres = ("callbell_async.limits.postgres", "PostgresRateLimiter")
        engines = {"redis": redis, "rediss": redis, "unix": redis, "postgres": postgres, "postgresql": postgres}
        scheme = url.partition("://")[0] if isinstance(url, str) and "://" in url else ""
        if scheme not in engines:
            # Without its text: it may hold a password.
            raise ConfigurationError("url: must begin with redis://, rediss://, unix:// or postgresql://")
        module, name = engines[scheme]
        limiter: SharedRateLimiter = getattr(import_module(module), name)(url, limit=limit, **options)
        return limiter
