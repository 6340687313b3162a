"""Tracebacks without the local variables of this package, because some reporters show them."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

__all__ = ["HiddenFrames", "chain", "hide_frames"]


def hide_frames(error: BaseException) -> None:
    """Remove the frames of aiohttp, asyncio and this package from the tracebacks of an error and of all beneath it.

    Their local variables hold the token, the body and the URL, and some reporters show local variables. The frames of
    a caller's own code, such as a middleware, stay.
    """
    for one in chain(error):
        kept: list[TracebackType] = []
        traceback = one.__traceback__
        while traceback is not None:
            package = traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0]
            if package not in ("aiohttp", "asyncio", "callbell_async"):
                kept.append(traceback)
            traceback = traceback.tb_next
        for entry in reversed(kept):
            traceback = TracebackType(traceback, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
        one.__traceback__ = traceback


class HiddenFrames:
    """A block that hides the frames of this package in the traceback of an error that leaves it, as `hide_frames` does.

    The frame of the block is hidden as well: its local variables may hold a number, a text, a URL or a piece of a file.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            hide_frames(error)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and every cause and context beneath it, each once."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]
