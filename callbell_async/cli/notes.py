"""What `send-many` writes into its journal so that `resume` can go on: the file and the options, never the token."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from callbell_async.cli.input_text import STANDARD_INPUT
from callbell_async.cli.message_form import MessageForm
from callbell_async.errors import ConfigurationError

__all__ = ["Order", "base_url_in", "options_in", "order_in", "unchanged"]

_FORMAT = "1"


@attrs.frozen(kw_only=True)
class Order:
    """What is to be sent, and how: all that a run needs but the token."""

    file: Path
    form: MessageForm
    to_column: str = "to"
    bsuid_column: str | None = None
    key_column: str | None = None
    sandbox: bool = False
    base_url: str | None = None
    rate: int
    concurrency: int
    digest: str | None = None

    def notes(self) -> dict[str, str]:
        """The order as a journal keeps it; the file is known by what is in it."""
        is_stream = self.file == STANDARD_INPUT
        file = self.file if is_stream else self.file.absolute()
        options = attrs.asdict(self, filter=attrs.filters.exclude("file", "digest"))
        return {
            "send-many": _FORMAT,
            "file": str(file),
            "digest": self.digest or "",
            "options": json.dumps(options, ensure_ascii=True),
        }

    def signed(self) -> Order:
        """The same with the digest of the file; a stream has none."""
        return attrs.evolve(self, digest=_digest(self.file) if self.file.is_file() else None)


def order_in(notes: Mapping[str, str], journal: Path) -> Order:
    """The order in a journal's notes; raises `ConfigurationError` when there is none that can be read again."""
    if notes.get("send-many") != _FORMAT:
        raise ConfigurationError(
            f"{journal}: does not say what was sent from where; only a journal that send-many wrote can be resumed"
        )
    file = Path(notes["file"])
    if not notes["digest"]:
        said = "standard input" if file == STANDARD_INPUT else str(file)
        raise ConfigurationError(
            f"{journal}: its messages came from {said}, which can't be read again; give the same input to the same "
            "send-many with --journal once more: what is done is not sent twice"
        )
    options = options_in(notes)
    try:
        return Order(file=file, digest=notes["digest"], **{**options, "form": MessageForm(**options["form"])})
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"{journal}: was written by another version of this program; give the same command to send-many once more: what is done is not sent twice"
        ) from None


def base_url_in(notes: Mapping[str, str]) -> str | None:
    """Where the messages of a journal were sent to, if not to Callbell's own address.

    Raises `ConfigurationError` if it was to a sandbox that ended with the run.
    """
    options = options_in(notes)
    if options.get("sandbox"):
        raise ConfigurationError(
            "the journal's messages were sent with --sandbox, which knows nothing of them any more"
        )
    base_url: str | None = options.get("base_url")
    return base_url


def options_in(notes: Mapping[str, str]) -> dict[str, Any]:
    """The options in a journal's notes; none if another program wrote it."""
    options: dict[str, Any] = json.loads(notes["options"]) if notes.get("send-many") == _FORMAT else {}
    return options


def unchanged(order: Order, journal: Path) -> None:
    """Raise `ConfigurationError` unless the file of an order is there and holds what it held."""
    if not order.file.exists():
        raise ConfigurationError(f"{order.file}: is gone; {journal} needs it where it was")
    if _digest(order.file) != order.digest:
        raise ConfigurationError(
            f"{order.file}: has changed since; to send what it says now, run send-many with --journal {journal} again: "
            "what is done is not sent twice"
        )


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
