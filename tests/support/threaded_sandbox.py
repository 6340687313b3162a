"""A sandbox in a thread, for code with its own event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from callbell_async.sandbox import Sandbox

__all__ = ["sandbox_in_a_thread"]


@contextmanager
def sandbox_in_a_thread(token: str) -> Iterator[Sandbox]:
    """Run a sandbox on a loop in another thread, until the block is left."""
    sandbox = Sandbox(token=token)
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with sandbox:
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield sandbox
    finally:
        done.set()
        thread.join()
