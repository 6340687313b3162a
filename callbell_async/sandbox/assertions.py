"""Assertions about a sandbox, which explain themselves when they fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import orjson

from callbell_async.models.validation import is_same_recipient, normalize_recipient
from callbell_async.sandbox.exchange import SandboxRequest
from callbell_async.sandbox.records import SandboxMessage

__all__ = ["Assertions"]

SHOWN = 10
"""The number of messages, and of requests, that a failure shows."""


def _whole_body(message: SandboxMessage) -> Hashable:
    return orjson.dumps(dict(message.body), option=orjson.OPT_SORT_KEYS)


class Assertions:
    """Assertions about the accepted `messages` and the `requests`. A failure shows both."""

    requests: list[SandboxRequest]

    @property
    def messages(self) -> list[SandboxMessage]:
        """The accepted messages, in order."""
        raise NotImplementedError

    def messages_to(self, to: str) -> list[SandboxMessage]:
        """Return the accepted messages to a recipient; any spelling of a number will do."""
        return [message for message in self.messages if is_same_recipient(message.recipient, to)]

    def copies(self) -> Counter[str]:
        """Return the number of accepted messages for each recipient, by the first spelling of the number."""
        spellings: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for message in self.messages:
            counts[spellings.setdefault(normalize_recipient(message.recipient), message.recipient)] += 1
        return counts

    def assert_sent(self, count: int) -> None:
        """Assert that exactly `count` messages were accepted.

        Raises:
            AssertionError: The number is another one.
        """
        if len(self.messages) != count:
            self._fail(f"expected {_messages(count)}, but {len(self.messages)} accepted")

    def assert_sent_to(self, to: str, *, count: int | None = None) -> list[SandboxMessage]:
        """Assert that at least one message, or exactly `count`, were accepted for a recipient.

        Args:
            to: The recipient; any spelling of a number will do.
            count: The number of messages; `None` (default) for at least one.

        Returns:
            The messages to this recipient.

        Raises:
            AssertionError: The number is another one.
        """
        found = self.messages_to(to)
        if count is None and not found:
            self._fail(f"expected a message to {to}, but there is none")
        if count is not None and len(found) != count:
            self._fail(f"expected {_messages(count)} to {to}, but there are {len(found)}", of=found)
        return found

    def assert_sent_once(self, *, to: str, **expected: Any) -> SandboxMessage:
        """Assert that exactly one message was accepted for a recipient, and check its body.

        Args:
            to: The recipient; any spelling of a number will do.
            **expected: Keys of the body with their values, such as `type="image"`; `text` and `url` are those of the content.

        Returns:
            The message.

        Raises:
            AssertionError: There is another number of messages, or a value is another one.
        """
        (message,) = self.assert_sent_to(to, count=1)
        content = message.body.get("content") or {}
        found = {**message.body, **{name: content[name] for name in ("text", "url") if name in content}}
        for name, value in expected.items():
            if found.get(name) != value:
                self._fail(
                    f"expected the message to {to} to have {name}={value!r}, but it is {found.get(name)!r}",
                    of=[message],
                )
        return message

    def assert_no_duplicates(self, key: Callable[[SandboxMessage], Hashable] = _whole_body) -> None:
        """Assert that no message was accepted twice.

        Args:
            key: Returns a value that is equal for equal messages (default: the whole body).

        Raises:
            AssertionError: Two messages have the same key.
        """
        groups: dict[Hashable, list[SandboxMessage]] = {}
        for message in self.messages:
            groups.setdefault(key(message), []).append(message)
        repeated = [group for group in groups.values() if len(group) > 1]
        if repeated:
            lines = [f"{len(group)} times: {group[0]}" for group in repeated]
            self._fail(f"{_messages(len(repeated))} sent more than once:\n{_list(lines)}", of=[])

    def _fail(self, error: str, *, of: Sequence[SandboxMessage] | None = None) -> None:
        __tracebackhide__ = True
        lines = [error]
        shown = self.messages if of is None else of
        if shown:
            lines.append(f"accepted:\n{_list(shown)}")
        lines.append(f"requests ({len(self.requests)}):\n{_list(self.requests)}" if self.requests else "no requests")
        raise AssertionError("\n".join(lines))


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def _list(items: Iterable[object]) -> str:
    lines = [f"  {item}" for item in items]
    more = [] if len(lines) <= SHOWN else [f"  and {len(lines) - SHOWN} more"]
    return "\n".join(lines[:SHOWN] + more)
