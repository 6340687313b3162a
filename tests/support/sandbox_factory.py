"""A sandbox for the client's tests: any token, no limit, on the test's clock, with one fault for each request."""

from __future__ import annotations

import asyncio
import ssl

from callbell_async.sandbox import Fault, Sandbox

__all__ = ["local_callbell"]


def local_callbell(*faults: Fault, tls: ssl.SSLContext | None = None) -> Sandbox:
    """Return a sandbox whose requests get `faults`, one each, in this order; the last one repeats.

    ```python
    async with local_callbell(reset_after_reading(), no_fault()) as server:
        ...  # the first request is reset, every later one gets its response
    ```
    """
    sandbox = Sandbox(token=None, limit=None, clock=asyncio.get_running_loop().time, tls=tls)
    if faults:
        sandbox.inject(*faults)
    return sandbox
