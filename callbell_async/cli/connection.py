"""The connection of a command: its address, and the token from the environment, a file or a prompt."""

from __future__ import annotations

import functools
import stat
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from click.core import ParameterSource

from callbell_async.arguments import check_base_url, check_token, is_insecure
from callbell_async.cli.options import DEFAULT_RATE, option
from callbell_async.cli.output import info, is_terminal, warn
from callbell_async.cli.places import RATE_LIMITER, RateLimiterPlace
from callbell_async.errors import ConfigurationError

if TYPE_CHECKING:
    from callbell_async.client import CallbellClient
    from callbell_async.limits import RateLimiter

__all__ = [
    "Connection",
    "address_for_journal",
    "connection_options",
    "full_address",
    "read_secret",
    "same_address",
]

Command = Callable[..., Any]

_LONGEST_TOKEN = 4096
"""Characters; an API token has some dozens, and anything longer is another file."""


@attrs.frozen(kw_only=True)
class Connection:
    """The connection options of a command; `offers_sandbox` if it can be tried with `--sandbox`."""

    token: str | None = attrs.field(default=None, repr=False)
    token_file: Path | None = None
    base_url: str | None = None
    sandbox: bool = False
    offers_sandbox: bool = True
    rate_limiter: RateLimiterPlace | None = None

    def ready(self) -> Connection:
        """The same connection with the token: from the file, the option or the environment, or from a prompt at a terminal.

        Raises `ConfigurationError` when there is none, or when it would go to another machine unencrypted.
        """
        if self.sandbox:
            return self
        check_encrypted(self.base_url)
        if self.token_file is not None:
            secret = read_secret(self.token_file, "--token-file")
            return attrs.evolve(self, token=_check_token(secret, f"--token-file: {self.token_file}"))
        if self.token and not self.token.isspace():
            return attrs.evolve(self, token=_check_token(self.token, "token"))
        if not is_terminal(sys.stdin):
            raise ConfigurationError(self._no_token)
        return attrs.evolve(self, token=_check_token(self._prompt_for_token(), "token"))

    @property
    def _no_token(self) -> str:
        advice = ", or try it with --sandbox" if self.offers_sandbox else ""
        return f"no token; set CALLBELL_TOKEN or use --token-file FILE{advice}"

    def _prompt_for_token(self) -> str:
        try:
            return str(click.prompt("Callbell's API token", hide_input=True, err=True))
        except click.Abort as error:
            if isinstance(error.__context__, EOFError):
                # Ctrl-D is not an interrupt.
                raise ConfigurationError(self._no_token) from None
            raise

    def for_journal(self, options: Mapping[str, Any]) -> Connection:
        """The same connection to the address of a journal's messages, whose stored options these are.

        Raises what `address_for_journal` raises. An address other than Callbell's own is printed.
        """
        base_url = address_for_journal(options, self.base_url)
        if not same_address(base_url, None):
            info(f"using {full_address(base_url)}")
        return attrs.evolve(self, base_url=base_url)

    @asynccontextmanager
    async def open(self, *, rate: int = DEFAULT_RATE, concurrency: int | None = None) -> AsyncIterator[CallbellClient]:
        """A client, open until the block is left.

        With a rate limiter `rate` is the limit of all processes together. Raises `RateLimiterError` if its engine can't be used.
        """
        from callbell_async.client import CallbellClient

        token, base_url = self.token, self.base_url
        limit: int | RateLimiter = rate
        async with AsyncExitStack() as stack:
            if self.sandbox:
                from callbell_async.sandbox import Sandbox

                local = await stack.enter_async_context(Sandbox(start=datetime.now(UTC)))
                token, base_url = local.token, local.url
            elif self.rate_limiter is not None:
                limit = shared = self.rate_limiter.limiter(rate)
                # Otherwise the first message would fail, and each one after it.
                await shared.start()
                stack.push_async_callback(shared.aclose)
            with warnings.catch_warnings(record=True) as risks:
                warnings.simplefilter("always")
                callbell = CallbellClient(token, base_url=base_url, rate_limit=limit, max_connections=concurrency)
            for risk in risks:
                # Users of the command line know the client's argument as an option.
                warn(str(risk.message).replace("max_connections", "--concurrency"))
            yield await stack.enter_async_context(callbell)


def connection_options(*, sandbox: bool = True) -> Callable[[Command], Command]:
    """Give a command the options for its connection, with or without `--sandbox`; it gets them as `connection`."""

    def with_options(command: Command) -> Command:
        @option(
            "--token-file",
            type=click.Path(path_type=Path),
            group="Connection",
            help="File with the API token; the default is CALLBELL_TOKEN in the environment.",
        )
        @option(
            "--token",
            envvar="CALLBELL_TOKEN",
            group="Connection",
            help="The API token. Other users can see it in the list of processes: prefer --token-file.",
        )
        @option("--base-url", envvar="CALLBELL_BASE_URL", group="Connection", help="Another base URL of the API.")
        @option(
            "--rate-limiter",
            type=RATE_LIMITER,
            envvar="CALLBELL_RATE_LIMITER",
            metavar="URL",
            group="Connection",
            help="Redis or PostgreSQL over which all processes with this URL share one rate limit.",
        )
        @functools.wraps(command)
        def with_connection(
            *,
            token: str | None,
            token_file: Path | None,
            base_url: str | None,
            rate_limiter: RateLimiterPlace | None,
            sandbox: bool | None = None,
            **options: Any,
        ) -> Any:
            if sandbox:
                _check_sandbox_alone()
            connection = Connection(
                token=token,
                token_file=token_file,
                base_url=base_url or None,
                sandbox=bool(sandbox),
                offers_sandbox=sandbox is not None,
                rate_limiter=rate_limiter,
            )
            return command(connection=connection, **options)

        if not sandbox:
            return with_connection
        return option(
            "--sandbox",
            is_flag=True,
            group="Connection",
            help="Use a mock Callbell server inside this process; no account is needed.",
        )(with_connection)

    return with_options


def _check_sandbox_alone() -> None:
    """Raise `ConfigurationError` for an option that contradicts `--sandbox`; the environment may be meant for other commands."""
    context = click.get_current_context()
    for name in ("token", "token_file", "base_url", "rate_limiter"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise ConfigurationError(f"--sandbox: can't be used together with --{name.replace('_', '-')}")


# --- secrets ----------------------------------------------------------------------------------------------------------


def _check_token(token: str, source: str) -> str:
    """The token without spaces around it; raises `ConfigurationError`, without any part of it, for a text that is not a token."""
    if len(token) > _LONGEST_TOKEN:
        raise ConfigurationError(f"{source}: has more than {_LONGEST_TOKEN} characters, too many for an API token")
    try:
        return check_token(token)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {str(error).removeprefix('token: ')}") from None


def read_secret(path: Path, name: str) -> str:
    """The secret in a file, without spaces around it; `name` is the option that names the file.

    Warns when other users can read the file. Raises `ConfigurationError`, without any part of the secret.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            mode = path.stat().st_mode
            # More than any secret has, and no endless device.
            secret = file.read(2 * _LONGEST_TOKEN).strip()
    except OSError as error:
        raise ConfigurationError(f"{name}: {path} can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: {path} is not a text file") from None
    if not secret:
        raise ConfigurationError(f"{name}: {path} is empty")
    if stat.S_ISREG(mode) and mode & stat.S_IROTH and sys.platform != "win32":
        warn(f"{name}: other users can read {path}; run chmod 600 {path}")
    return secret


# --- addresses ---------------------------------------------------------------------------------------------------------


def full_address(base_url: str | None) -> str:
    """A base URL in its usual form; `None` is Callbell's own."""
    # Imported here: `--help` of a command needs no HTTP client.
    from callbell_async.client import DEFAULT_BASE_URL

    return (base_url or DEFAULT_BASE_URL).strip().rstrip("/")


def same_address(one: str | None, other: str | None) -> bool:
    """Whether two base URLs are the same; `None` is Callbell's own."""
    return full_address(one) == full_address(other)


def check_encrypted(base_url: str | None) -> None:
    """Raise `ConfigurationError` where the token would go to another machine without encryption."""
    address = check_base_url(full_address(base_url), example=full_address(None))
    if is_insecure(address):
        raise ConfigurationError(
            f"--base-url: {address} is another machine, and http would send the API token to it unencrypted; use https"
        )


def address_for_journal(options: Mapping[str, Any], given: str | None) -> str | None:
    """The base URL for the messages of a journal, from the options stored in it and the one that the user gave.

    The stored one only confirms what the user gave: a journal from elsewhere must not decide where the token goes.

    Raises:
        ConfigurationError: The messages were sent to another address than Callbell's, and the user gave none, or they were sent to
            a sandbox, which ended with its run.
    """
    if options.get("sandbox"):
        raise ConfigurationError(
            "the journal's messages were sent with --sandbox, and that mock Callbell server ended with the run; "
            "to try this out, start `callbell-async sandbox` and send with its --base-url"
        )
    stored: str | None = options.get("base_url")
    if given is None and not same_address(stored, None):
        raise ConfigurationError(
            f"the journal's messages were sent to {stored}, not to Callbell; to send the API token there, give --base-url {stored}"
        )
    return given
