"""What a test asks a sandbox, with answers that explain themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import orjson

from callbell_async.sandbox.exchange import SandboxRequest
from callbell_async.sandbox.records import SandboxMessage, same_recipient

__all__ = ["Assertions"]

SHOWN = 10
"""How many lines of a kind a failure shows."""


def _whole_body(message: SandboxMessage) -> Hashable:
    return orjson.dumps(dict(message.body), option=orjson.OPT_SORT_KEYS)


class Assertions:
    """Questions about `messages` (those accepted) and `requests` (those read); a failure lists both."""

    requests: list[SandboxRequest]

    @property
    def messages(self) -> list[SandboxMessage]:
        """The messages that were accepted, in order."""
        raise NotImplementedError

    def messages_to(self, to: str) -> list[SandboxMessage]:
        """The accepted messages to this recipient, however the number is spelt."""
        wanted = same_recipient(to)
        return [message for message in self.messages if same_recipient(message.recipient) == wanted]

    def copies(self) -> Counter[str]:
        """How many messages were accepted for each recipient, by its first spelling."""
        spellings: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for message in self.messages:
            counts[spellings.setdefault(same_recipient(message.recipient), message.recipient)] += 1
        return counts

    def assert_sent(self, count: int) -> None:
        """Exactly so many messages were accepted."""
        if len(self.messages) != count:
            self._fail(f"expected {_messages(count)} to be accepted, but it was {len(self.messages)}")

    def assert_sent_to(self, to: str, *, count: int | None = None) -> list[SandboxMessage]:
        """At least one message, or exactly `count`, were accepted for this recipient; they are given back."""
        found = self.messages_to(to)
        if count is None and not found:
            self._fail(f"expected a message to {to}, but there was none")
        if count is not None and len(found) != count:
            self._fail(f"expected {_messages(count)} to {to}, but there were {len(found)}", of=found)
        return found

    def assert_sent_once(self, *, to: str, **expected: Any) -> SandboxMessage:
        """Exactly one message was accepted for this recipient, and its body has what is `expected`; it is given back.

        `expected` are keys of the body, such as `type="image"` or `content={"text": "Hello!"}`; `text` and `url` are those of the content.
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
        """No two accepted messages have equal bodies, or else an equal `key`."""
        groups: dict[Hashable, list[SandboxMessage]] = {}
        for message in self.messages:
            groups.setdefault(key(message), []).append(message)
        twice = [group for group in groups.values() if len(group) > 1]
        if twice:
            lines = [f"{len(group)} times: {group[0]}" for group in twice]
            self._fail(f"{_messages(len(twice))} sent more than once:\n{_list(lines)}", of=[])

    def _fail(self, what: str, *, of: Sequence[SandboxMessage] | None = None) -> None:
        __tracebackhide__ = True
        told = [what]
        shown = self.messages if of is None else of
        if shown:
            told.append(f"accepted:\n{_list(shown)}")
        told.append(f"requests ({len(self.requests)}):\n{_list(self.requests)}" if self.requests else "no request came")
        raise AssertionError("\n".join(told))


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def _list(items: Iterable[object]) -> str:
    lines = [f"  {item}" for item in items]
    more = [] if len(lines) <= SHOWN else [f"  and {len(lines) - SHOWN} more"]
    return "\n".join(lines[:SHOWN] + more)
