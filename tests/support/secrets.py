"""A look for secrets in exceptions, wherever a log, a traceback or a debugger may find them."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator

from tests.support.calls import NUMBER, TEXT, TOKEN

__all__ = ["assert_no_secrets"]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and all that a traceback or a debugger finds beneath it."""
    waiting, seen = [error], set[int]()
    while waiting:
        if (one := waiting.pop()) is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]


def assert_no_secrets(error: BaseException) -> None:
    """No exception of the chain holds the token, and the text of none tells the recipient's number or the message's text."""
    for one in chain(error):
        held = f"{one.args!r} {one!r} {one} {vars(one)!r} {getattr(one, 'object', '')} {getattr(one, 'doc', '')}"
        assert TOKEN not in held
    assert TOKEN.encode() not in pickle.dumps(error)
    told = "".join(traceback.format_exception(error)) + "".join(f"{one!r}{one.args!r}" for one in chain(error))
    for secret in (TOKEN, NUMBER, NUMBER[1:], NUMBER.replace("+", "%2B"), TEXT):
        assert secret not in told
