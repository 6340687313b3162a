"""Callbell for synchronous programs: one client on one event loop, for all threads of a process."""

import atexit
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from callbell_async import CallbellClient, Journal, Message, MessageReceipt
from callbell_async.limits import from_url

Result = TypeVar("Result")


class _Opened(NamedTuple):
    thread: threading.Thread
    portal: BlockingPortal
    callbell: CallbellClient
    journal: Journal


_lock = threading.Lock()
_opened: _Opened | None = None


def send(message: Message) -> MessageReceipt:
    """Send a message once for each key, from any thread, and return its receipt."""
    opened = _open()
    return opened.portal.call(partial(opened.callbell.send, message, journal=opened.journal))


def call(function: Callable[[CallbellClient], Awaitable[Result]]) -> Result:
    """Return the result of any call of the client: `call(lambda callbell: callbell.auth.me())`."""
    opened = _open()
    return opened.portal.call(function, opened.callbell)


def close() -> None:
    """Close the client after the calls that are in flight; a later call opens a new one."""
    global _opened
    with _lock:
        opened, _opened = _opened, None
    if opened is not None:
        opened.portal.start_task_soon(opened.portal.stop)
        opened.thread.join()


def _open() -> _Opened:
    """Return the client and its event loop. They are opened at the first use, and so after a server has forked."""
    global _opened
    with _lock:
        if _opened is None:
            ready: Future[tuple[BlockingPortal, CallbellClient, Journal]] = Future()
            thread = threading.Thread(target=_run, args=(ready,), name="callbell", daemon=True)
            thread.start()
            _opened = _Opened(thread, *ready.result())
        return _opened


def _run(ready: Future[tuple[BlockingPortal, CallbellClient, Journal]]) -> None:
    try:
        anyio.run(_serve, ready)
    except BaseException as error:
        if ready.done():
            raise
        # Such as a missing token: the caller gets it.
        ready.set_exception(error)


async def _serve(ready: Future[tuple[BlockingPortal, CallbellClient, Journal]]) -> None:
    url = os.environ["DATABASE_URL"]
    journal = Journal.connect(url, name="orders")
    async with CallbellClient(rate_limit=from_url(url)) as callbell, BlockingPortal() as portal:
        ready.set_result((portal, callbell, journal))
        await portal.sleep_until_stopped()


def _forget() -> None:
    """Let a forked child open a client of its own: the thread exists in its parent only."""
    global _lock, _opened
    _lock, _opened = threading.Lock(), None


atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
