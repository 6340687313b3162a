"""A sandbox in a thread, for code with its own event loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from callbell_async.sandbox import Sandbox, SandboxThread

__all__ = ["sandbox_in_a_thread"]


@contextmanager
def sandbox_in_a_thread(token: str) -> Iterator[Sandbox]:
    """Run a sandbox with this token on a loop in another thread, until the block is left."""
    with SandboxThread(Sandbox(token=token)) as thread:
        yield thread.sandbox
