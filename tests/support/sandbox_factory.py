"""The sandbox as the client's own tests want it: no questions of tokens and limits, on the test's clock, and each request meets what it is told."""

from __future__ import annotations

import asyncio
import ssl

from callbell_async.sandbox import Fault, Sandbox

__all__ = ["local_callbell"]


def local_callbell(*faults: Fault, tls: ssl.SSLContext | None = None) -> Sandbox:
    """A sandbox whose requests meet `faults`, one each, in this order; the last one repeats. Without any all goes well.

    ```python
    async with local_callbell(reset_after_reading(), no_fault()) as server:
        ...  # the first request meets a reset, every later one is answered
    ```
    """
    sandbox = Sandbox(token=None, limit=None, clock=asyncio.get_running_loop().time, tls=tls)
    if faults:
        sandbox.inject(*faults)
    return sandbox
