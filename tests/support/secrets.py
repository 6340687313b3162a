"""A search for secrets in exceptions, wherever a log, a traceback or an error reporter may show them."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

from rich.traceback import Traceback

from tests.support.calls import NUMBER, TEXT, TOKEN

__all__ = ["assert_no_secrets", "assert_no_secrets_in_locals"]

TESTS = str(Path(__file__).parents[1])
SECRETS = (TOKEN, NUMBER, NUMBER[1:], NUMBER.replace("+", "%2B"), TEXT)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the exception and every one that a traceback or a debugger finds beneath it."""
    waiting, seen = [error], set[int]()
    while waiting:
        if (one := waiting.pop()) is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]


def assert_no_secrets(error: BaseException) -> None:
    """Assert that no exception of the chain holds the token, and that no text shows the recipient's number or the message."""
    for one in chain(error):
        held = f"{one.args!r} {one!r} {one} {vars(one)!r} {getattr(one, 'object', '')} {getattr(one, 'doc', '')}"
        assert TOKEN not in held
    assert TOKEN.encode() not in pickle.dumps(error)
    shown = "".join(traceback.format_exception(error)) + "".join(f"{one!r}{one.args!r}" for one in chain(error))
    for secret in SECRETS:
        assert secret not in shown


def assert_no_secrets_in_locals(error: BaseException) -> None:
    """Assert that no local variable in the chain's tracebacks shows the token, the recipient's number or the message.

    The frames of the tests are left out. Rich shows more than `repr`: it takes attrs classes apart.
    """
    for one in chain(error):
        summary = traceback.TracebackException(type(one), one, one.__traceback__, capture_locals=True)
        frames = [(frame.filename, frame.name, str(frame.locals)) for frame in summary.stack]
        extracted = Traceback.extract(
            type(one), one, one.__traceback__, show_locals=True, locals_max_length=9999, locals_max_string=9999
        )
        frames += [
            (frame.filename, frame.name, f"{name} = {node}")
            for stack in extracted.stacks
            for frame in stack.frames
            for name, node in (frame.locals or {}).items()
        ]
        for filename, name, shown in frames:
            if not filename.startswith(TESTS):
                assert not [secret for secret in SECRETS if secret in shown], f"{filename} {name}: {shown}"
