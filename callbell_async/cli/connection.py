"""The connection of a command: its address, and the token from the environment, a file or a prompt."""

from __future__ import annotations

import functools
import re
import stat
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from click.core import ParameterSource

from callbell_async.cli.addresses import address_for_journal, check_encrypted, full_address, same_address
from callbell_async.cli.option_groups import option
from callbell_async.cli.output import info, is_terminal, warn
from callbell_async.errors import ConfigurationError

if TYPE_CHECKING:
    from callbell_async.client import CallbellClient

__all__ = [
    "DEFAULT_CONCURRENCY",
    "DEFAULT_RATE",
    "Connection",
    "check_secret",
    "connection_options",
    "read_secret",
    "warn_of_few_descriptors",
]

Command = Callable[..., Any]

DEFAULT_RATE = 300
DEFAULT_CONCURRENCY = 50
_POOL = 100
_OTHER_FILES = 32
"""File descriptors that a run needs besides its connections: the input, the journal, the event loop, the outputs."""

_LONGEST_TOKEN = 4096
"""Characters; an API key has some dozens, and anything longer is another file."""

_ASSIGNMENT = re.compile(r"(?:export\s+)?(?:(CALLBELL_[A-Z_]+)=|[A-Z][A-Z0-9_]*=(?!=*$))")
"""A line of a `.env` file or of a shell script. A base64 key may end with `=`."""


@attrs.frozen(kw_only=True)
class Connection:
    """The connection options of a command."""

    token: str | None = attrs.field(default=None, repr=False)
    token_file: Path | None = None
    base_url: str | None = None
    sandbox: bool = False

    def ready(self) -> Connection:
        """The same connection with the token: from the file, the option or the environment, or asked for at a terminal.

        Raises `ConfigurationError` when there is none, or when it would go to another machine unencrypted.
        """
        if self.sandbox:
            return self
        check_encrypted(self.base_url)
        if self.token_file is not None:
            secret = read_secret(self.token_file, "--token-file")
            return attrs.evolve(self, token=_check_token(secret, f"--token-file: {self.token_file}"))
        if self.token and not self.token.isspace():
            return attrs.evolve(self, token=_check_token(self.token, "the token"))
        if not is_terminal(sys.stdin):
            raise ConfigurationError(_NO_TOKEN)
        return attrs.evolve(self, token=_check_token(_ask_for_token(), "the token"))

    def for_journal(self, options: Mapping[str, Any]) -> Connection:
        """The same connection to the address of a journal's messages, whose stored options these are.

        Raises what `address_for_journal` raises. An address other than Callbell's own is printed.
        """
        base_url = address_for_journal(options, self.base_url)
        if not same_address(base_url, None):
            info(f"using {full_address(base_url)}")
        return attrs.evolve(self, base_url=base_url)

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


def connection_options(*, sandbox: bool = True) -> Callable[[Command], Command]:
    """Give a command the options for its connection, with or without `--sandbox`; it gets them as `connection`."""

    def with_options(command: Command) -> Command:
        @option(
            "--token-file",
            type=click.Path(path_type=Path),
            group="Connection",
            help="File with the API key; the default is CALLBELL_TOKEN in the environment.",
        )
        @option(
            "--token",
            envvar="CALLBELL_TOKEN",
            group="Connection",
            help="The API key. Other users can see it in the list of processes: prefer --token-file.",
        )
        @option("--base-url", envvar="CALLBELL_BASE_URL", group="Connection", help="Another base URL of the API.")
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
            connection = Connection(token=token, token_file=token_file, base_url=base_url or None, sandbox=sandbox)
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
    for name in ("token", "token_file", "base_url"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise ConfigurationError(f"--sandbox: can't be used together with --{name.replace('_', '-')}")


def warn_of_few_descriptors(concurrency: int) -> None:
    """Warn when the process may open fewer files than a run with this concurrency needs."""
    try:
        import resource
    except ModuleNotFoundError:
        # Only POSIX systems have such a limit.
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < concurrency + _OTHER_FILES:
        warn(
            f"--concurrency: {concurrency} messages in flight need up to {concurrency + _OTHER_FILES} open files, and the limit "
            f"is {limit}; raise it (ulimit -n) or lower --concurrency"
        )


# --- secrets ----------------------------------------------------------------------------------------------------------

_NO_TOKEN = "no token; set CALLBELL_TOKEN or use --token-file FILE, or try it with --sandbox"  # noqa: S105 - an error


def _ask_for_token() -> str:
    try:
        return str(click.prompt("Callbell's API key", hide_input=True, err=True))
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):
            # Ctrl-D is not an interrupt.
            raise ConfigurationError(_NO_TOKEN) from None
        raise


def _check_token(token: str, source: str) -> str:
    """The token without spaces around it; raises `ConfigurationError`, without any part of it, for a text that is not a token."""
    token = token.strip()
    if len(token) > _LONGEST_TOKEN:
        raise ConfigurationError(
            f"{source} has more than {_LONGEST_TOKEN} characters, too many for an API key; give the key alone"
        )
    check_secret(token, source)
    # The dashboard shows the key with this prefix; the client drops it.
    key = token[6:].strip() if token[:6].lower() == "bearer" and token[6:7].isspace() else token
    if any(map(str.isspace, key)):
        raise ConfigurationError(f"{source} has spaces or line breaks in it; give the key alone")
    return token


def check_secret(secret: str, source: str) -> str:
    """The secret without spaces around it; raises `ConfigurationError`, without any part of it, for quotes or `NAME=` around it."""
    secret = secret.strip()
    if found := _ASSIGNMENT.match(secret):
        # The name is not secret if it is one of ours; another one may be a part of the secret.
        raise ConfigurationError(
            f"{source} begins with {found[1] or 'NAME'}=, like a line of .env; give only the text behind the ="
        )
    if secret[:1] in ("'", '"', "“", "‘") or secret[-1:] in ("'", '"', "”", "’"):
        raise ConfigurationError(f"{source} has quotes around it; give it without them")
    return secret


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
