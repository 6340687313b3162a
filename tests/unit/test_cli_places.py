"""`--rate-limiter`: the URL of the engine, what is shown of it, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from callbell_async.cli.exits import DONE, WRONG_USE
from callbell_async.cli.places import JournalPlace, RateLimiterPlace
from callbell_async.cli.results import Rest, explain_rest
from callbell_async.limits import PostgresRateLimiter, RedisRateLimiter, SharedRateLimiter
from callbell_async.redaction import is_secret_parameter
from tests.support.command_line import run

PASSWORD = "s3cretpass"


@pytest.mark.parametrize(
    ("url", "label", "name", "kind"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0", "callbell", RedisRateLimiter),
        (f"rediss://anna:{PASSWORD}@redis/0?name=b", "rediss://anna@redis/0?name=b", "b", RedisRateLimiter),
        (f"redis://:{PASSWORD}@redis", "redis://redis", "callbell", RedisRateLimiter),
        (f"redis://redis/0?password={PASSWORD}", "redis://redis/0", "callbell", RedisRateLimiter),
        (f"redis://redis/0?p%61ssword={PASSWORD}", "redis://redis/0", "callbell", RedisRateLimiter),
        ("unix:///run/redis.sock?db=1&name=b", "unix:///run/redis.sock?db=1&name=b", "b", RedisRateLimiter),
        (f"postgresql://anna:{PASSWORD}@db/shop?name=b", "postgresql://anna@db/shop?name=b", "b", PostgresRateLimiter),
        (f"postgres://db/shop?sslpassword={PASSWORD}", "postgres://db/shop", "callbell", PostgresRateLimiter),
    ],
)
def test_a_place_hides_its_password(url: str, label: str, name: str, kind: type[SharedRateLimiter]) -> None:
    """A URL names the engine and the limit in it; its text and its repr have no password."""
    place = RateLimiterPlace.of(url)
    assert (str(place), place.name) == (label, name)
    assert PASSWORD not in repr(place)
    assert isinstance(place.limiter(300), kind)


@pytest.mark.parametrize(
    ("parameter", "is_secret"),
    [
        *((name, True) for name in ("password", "ssl_password", "sslpassword", "PASSWORD", "oauth_client_secret")),
        *((name, False) for name in ("db", "name", "user", "client_name", "sslmode")),
    ],
)
def test_a_password_has_many_names(parameter: str, is_secret: bool) -> None:
    """The passwords and secrets of both engines, of any version and notation, are not shown; other parameters are."""
    assert is_secret_parameter(parameter) is is_secret


@pytest.mark.parametrize(
    "url",
    [
        f"redis://anna:x/{PASSWORD}@redis/0",
        f"redis://anna:x?{PASSWORD}@redis/0",
        f"redis://anna:x#{PASSWORD}@redis/0",
        f"redis://redis/0?password=x&{PASSWORD}",
        f"redis://redis/{PASSWORD}/0",
        f"redis://redis:{PASSWORD}/0",
        f"redis://[{PASSWORD}/0",
        f"http://anna:{PASSWORD}@redis/0",
    ],
)
def test_a_wrong_url_is_not_quoted(url: str) -> None:
    """A URL in which a password could be taken for another part is refused, and the error does not show it."""
    result = run("me", "--token", "token", "--rate-limiter", url)
    assert result.exit_code == WRONG_USE
    assert "url: must " in result.output
    assert PASSWORD not in result.output


@pytest.mark.parametrize(
    ("url", "driver", "module", "extra"),
    [
        ("redis://redis", "redis.asyncio", "callbell_async.limits.redis", "redis"),
        ("postgresql://db/shop", "psycopg", "callbell_async.limits.postgres", "postgres"),
    ],
)
def test_a_missing_driver_is_wrong_use(
    monkeypatch: pytest.MonkeyPatch, url: str, driver: str, module: str, extra: str
) -> None:
    """Without the driver the error names the extra to install."""
    monkeypatch.setitem(sys.modules, driver, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    result = run("me", "--token", "token", "--rate-limiter", url)
    assert result.exit_code == WRONG_USE
    assert f"pip install 'callbell-async[{extra}]'" in result.output


@pytest.mark.parametrize("parameter", ["socket_timeuot=5", "protocol=9", "ssl_cert_reqs=sometimes"])
def test_an_unknown_parameter_is_wrong_use(parameter: str) -> None:
    """A parameter of the URL that the driver does not take is refused before anything is connected, and named."""
    result = run("me", "--token", "token", "--rate-limiter", f"rediss://anna:{PASSWORD}@redis/0?{parameter}")
    assert result.exit_code == WRONG_USE
    assert "url: " in result.output
    assert PASSWORD not in result.output


def test_the_sandbox_has_no_shared_limit(tmp_path: Path) -> None:
    """`--sandbox` refuses the option, and ignores the environment, which may be meant for other commands."""
    file = tmp_path / "rows.csv"
    file.write_text("to\n+34600000001\n", encoding="utf-8")
    command = ("send-many", file, "--text", "Hi", "--sandbox")
    refused = run(*command, "--rate-limiter", "redis://127.0.0.1:1/0")
    assert refused.exit_code == WRONG_USE
    assert "--sandbox: can't be used together with --rate-limiter" in refused.output
    assert run(*command, environment={"CALLBELL_RATE_LIMITER": "redis://127.0.0.1:1/0"}).exit_code == DONE


def test_the_resume_command_names_the_limiter(capsys: pytest.CaptureFixture[str]) -> None:
    """The command that sends the rest has the rate limiter of the run, without its password."""
    place = RateLimiterPlace.of(f"redis://anna:{PASSWORD}@redis/0?name=b")
    rest = Rest(
        last_line=2,
        not_sent=1,
        is_stream=False,
        failed_to=None,
        journal=JournalPlace.of("spring.db"),
        rate_limiter=place,
    )
    explain_rest("stopped", rest)
    shown = capsys.readouterr().err
    assert shown.endswith("callbell-async resume spring.db --rate-limiter 'redis://anna@redis/0?name=b'\n")
