"""Where the messages go, and the token: from the environment, a file or a prompt."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from click.core import ParameterSource

from callbell_async.cli.notes import base_url_in
from callbell_async.cli.output import is_terminal
from callbell_async.errors import ConfigurationError

if TYPE_CHECKING:
    from callbell_async.client import CallbellClient

__all__ = ["Connection", "connection_options", "read_secret"]

Command = Callable[..., Any]

DEFAULT_RATE = 300
DEFAULT_CONCURRENCY = 50
_POOL = 100

_LONGEST_TOKEN = 4096
"""Characters; an API key has some dozens, and what is longer is another file."""


@attrs.frozen(kw_only=True)
class Connection:
    """What the options say of the way to Callbell."""

    token: str | None = attrs.field(default=None, repr=False)
    token_file: Path | None = None
    base_url: str | None = None
    sandbox: bool = False

    def ready(self) -> Connection:
        """The same with the token in hand: from the file, given, or asked for where there is somebody to ask.

        Raises `ConfigurationError` when there is none.
        """
        if self.sandbox:
            return self
        if self.token_file is not None:
            secret = read_secret(self.token_file, "--token-file")
            return attrs.evolve(self, token=_checked_token(secret, f"--token-file: {self.token_file}"))
        if self.token and not self.token.isspace():
            return attrs.evolve(self, token=_checked_token(self.token, "the token"))
        if not is_terminal(sys.stdin):
            raise ConfigurationError(_NONE_GIVEN)
        return attrs.evolve(self, token=_checked_token(_asked_token(), "the token"))

    def like(self, notes: Mapping[str, str]) -> Connection:
        """The same to the address that the messages of a journal were sent to, unless another is given."""
        return attrs.evolve(self, base_url=self.base_url or base_url_in(notes))

    @asynccontextmanager
    async def open(
        self, *, rate: int = DEFAULT_RATE, concurrency: int = DEFAULT_CONCURRENCY
    ) -> AsyncIterator[CallbellClient]:
        """A client, open until the block is left."""
        from callbell_async.client import CallbellClient

        token, base_url = self.token, self.base_url
        async with AsyncExitStack() as stack:
            if self.sandbox:
                from callbell_async.sandbox import Sandbox

                local = await stack.enter_async_context(Sandbox(start=datetime.now(UTC)))
                token, base_url = local.token, local.url
            yield await stack.enter_async_context(
                CallbellClient(token, base_url=base_url, rate_limit=rate, max_connections=max(concurrency, _POOL))
            )


_NONE_GIVEN = "no token; set CALLBELL_TOKEN or give --token-file FILE, or try it out with --sandbox"


def _asked_token() -> str:
    try:
        return str(click.prompt("Callbell's API key", hide_input=True, err=True))
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):
            # Ctrl-D: nobody interrupted anything.
            raise ConfigurationError(_NONE_GIVEN) from None
        raise


def _checked_token(token: str, source: str) -> str:
    """The token without blanks around it; raises `ConfigurationError`, which shows nothing of it, for what can be none."""
    token = token.strip()
    if len(token) > _LONGEST_TOKEN:
        raise ConfigurationError(f"{source} has {len(token)} characters, far more than an API key; give the key alone")
    if "CALLBELL_TOKEN=" in token:
        raise ConfigurationError(f"{source} begins like a line of .env; give only what stands behind CALLBELL_TOKEN=")
    # The dashboard shows the key with this before it; the client drops it.
    key = token[6:].strip() if token[:6].lower() == "bearer" and token[6:7].isspace() else token
    if any(map(str.isspace, key)):
        raise ConfigurationError(f"{source} has blanks or line breaks in it; give the key alone")
    return token


def connection_options(*, sandbox: bool = True) -> Callable[[Command], Command]:
    """Give a command the options that lead to Callbell, or, with `sandbox`, to one on this machine; it gets them as `connection`."""

    def with_options(command: Command) -> Command:
        @click.option(
            "--token-file", type=click.Path(path_type=Path), help="A file with the API key; or set CALLBELL_TOKEN."
        )
        @click.option(
            "--token", envvar="CALLBELL_TOKEN", help="The API key, for all to see who list the machine's processes."
        )
        @click.option("--base-url", envvar="CALLBELL_BASE_URL", help="Another address of the API.")
        @functools.wraps(command)
        def with_connection(
            *,
            token: str | None,
            token_file: Path | None,
            base_url: str | None,
            sandbox: bool = False,
            **options: Any,
        ) -> Any:
            if sandbox:
                _check_sandbox_alone()
            connection = Connection(token=token, token_file=token_file, base_url=base_url, sandbox=sandbox)
            return command(connection=connection, **options)

        if not sandbox:
            return with_connection
        return click.option(
            "--sandbox", is_flag=True, help="Talk to a Callbell on this machine instead; needs no account."
        )(with_connection)

    return with_options


def _check_sandbox_alone() -> None:
    """Raise `ConfigurationError` where an option leads elsewhere than `--sandbox`; what is in the environment is for other commands too."""
    context = click.get_current_context()
    for name in ("token", "token_file", "base_url"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise ConfigurationError(
                f"--sandbox: does not go with --{name.replace('_', '-')}; it is a Callbell of its own, and needs no account"
            )


def read_secret(path: Path, option: str) -> str:
    """The secret in a file, without blanks around it. Raises `ConfigurationError`, which shows nothing of it."""
    try:
        secret = path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise ConfigurationError(f"{option}: {path} can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{option}: {path} is no text") from None
    if not secret:
        raise ConfigurationError(f"{option}: {path} is empty")
    return secret
