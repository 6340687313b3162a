"""Changes of a contact that take several requests: tags that are read, changed and verified, and the steps of a hand-off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from callbell_async.errors import CallbellError, ConfigurationError, ContactConflictError, HandOffError, Outcome
from callbell_async.models.contacts import Contact

__all__ = ["MAX_TAG_WRITES", "change_tags", "check_tags", "run_steps", "with_tags", "without_tags"]

MAX_TAG_WRITES = 3
"""The most writes of one change of tags; then another program undoes them, or Callbell does not keep them."""


def check_tags(tags: Sequence[str]) -> None:
    """Refuse tags that are not strings, or are blank."""
    if not all(isinstance(tag, str) and tag.strip() for tag in tags):
        raise ConfigurationError('tags: each must be a non-blank string; pass them one by one, such as "vip", "paid"')


def with_tags(present: Sequence[str], tags: Sequence[str]) -> list[str]:
    """Return the present tags and those that are not among them; upper and lower case are the same."""
    names = set(map(_name, present))
    changed = [*present]
    for tag in tags:
        if _name(tag) not in names:
            names.add(_name(tag))
            changed.append(tag)
    return changed


def without_tags(present: Sequence[str], tags: Sequence[str]) -> list[str]:
    """Return the present tags that are not among `tags`; upper and lower case are the same."""
    names = set(map(_name, tags))
    return [tag for tag in present if _name(tag) not in names]


def _name(tag: str) -> str:
    # Callbell's filter of tags ignores the case as well.
    return tag.strip().casefold()


async def change_tags(
    read: Callable[[], Awaitable[Contact]],
    write: Callable[[list[str]], Awaitable[object]],
    change: Callable[[Sequence[str]], list[str]],
) -> Contact:
    """Write the changed tags until a contact that is read afterwards has them, and return it.

    A write that may have been made is verified like one that was.

    Raises:
        ContactConflictError: The contact does not have the change after `MAX_TAG_WRITES` writes, or its tags can't be read.
    """
    doubt: CallbellError | None = None
    contact = await read()
    for _ in range(MAX_TAG_WRITES):
        if [*contact.tags] != (contact.raw.get("tags") or []):
            # Unreadable tags are left out of the model, and the write would delete them.
            raise ContactConflictError(
                "tags: the response does not have them as a list of strings; nothing was written, because some would be deleted",
                contact=contact,
            )
        tags = change(contact.tags)
        if tags == [*contact.tags]:
            return contact
        doubt = None
        try:
            await write(tags)
        except CallbellError as error:
            if error.outcome is not Outcome.UNKNOWN:
                raise
            doubt = error
        contact = await read()
    if change(contact.tags) == [*contact.tags]:
        return contact
    raise ContactConflictError(
        f"tags: the contact does not have the change after {MAX_TAG_WRITES} writes;"
        " another program changes its tags, or Callbell does not keep these; try again later",
        contact=contact,
    ) from doubt


async def run_steps(steps: Mapping[str, Callable[[], Awaitable[Any]]]) -> dict[str, Any]:
    """Do the steps one after another, and return what they return.

    Raises:
        HandOffError: A step failed.
        ConfigurationError: An argument of the first step is not valid; nothing was done.
    """
    results: dict[str, Any] = {}
    for name, step in steps.items():
        try:
            results[name] = await step()
        except CallbellError as error:
            if not results and isinstance(error, ConfigurationError):
                raise
            done = dict.fromkeys(results, Outcome.ACCEPTED)
            raise HandOffError({**dict.fromkeys(steps, Outcome.SKIPPED), **done, name: error.outcome}) from error
    return results
