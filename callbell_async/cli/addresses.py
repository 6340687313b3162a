"""Which addresses the token may be sent to; no input and no output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callbell_async.arguments import check_base_url, is_insecure
from callbell_async.errors import ConfigurationError

__all__ = ["address_for_journal", "check_encrypted", "full_address", "same_address"]


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
            f"--base-url: {address} is another machine, and http would send the API key to it unencrypted; use https"
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
            f"the journal's messages were sent to {stored}, not to Callbell; to send the API key there, give --base-url {stored}"
        )
    return given
