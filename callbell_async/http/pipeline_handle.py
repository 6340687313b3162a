"""A client's life, and the access to its pipeline while it is open."""

from __future__ import annotations

import asyncio

from callbell_async.errors import ClientClosedError, ConfigurationError
from callbell_async.http.pipeline import RequestPipeline

__all__ = ["ClientLife", "PipelineHandle"]


class ClientLife:
    """Whether a client is open. It is the same for the clients that `with_options` derives.

    Attributes:
        loop: The event loop of the first call; `None` before it.
        closed: Whether the client was closed.
    """

    __slots__ = ("closed", "loop")

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False


class PipelineHandle:
    """Provides a request pipeline while its client is open, on the event loop of its first call.

    Holds no reference to the client, so that an unclosed client can be garbage-collected, and warn.
    """

    def __init__(self, pipeline: RequestPipeline, life: ClientLife) -> None:
        self.pipeline = pipeline
        self.life = life

    def __call__(self) -> RequestPipeline:
        """Return the pipeline; raises `ClientClosedError`, or `ConfigurationError` on another event loop than the first."""
        life = self.life
        if life.closed:
            raise ClientClosedError("the client is closed; build a new one")
        loop = asyncio.get_running_loop()
        if life.loop is not loop:
            if life.loop is not None:
                raise ConfigurationError(
                    "the client belongs to another event loop (that of its first call); build one client for each loop"
                )
            life.loop = loop
        return self.pipeline

    async def close(self) -> None:
        """Close the pipeline; a call that is in flight ends at once."""
        self.life.closed = True
        await self.pipeline.close()
