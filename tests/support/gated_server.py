"""A strict server that holds its responses from a certain request on, so that a client can be killed while its requests are in flight."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import orjson
from aiohttp import web

from tests.support.strict_server import StrictServer

__all__ = ["GatedServer", "socket_owners"]


class GatedServer(StrictServer):
    """Holds the responses of all requests after the first `free` ones until `release`.

    Attributes:
        held: The texts of the messages whose responses are held, and the client's port of each.
    """

    def __init__(self, *, free: int, limit: int = 300) -> None:
        super().__init__(limit=limit)
        self._free = free
        self._gate = asyncio.Event()
        self.held: dict[str, int] = {}

    async def seen_held(self, requests: int) -> None:
        """Return when this number of responses is held."""
        await self.seen(self._free + requests)

    def release(self) -> None:
        """Respond to all requests, also to those that come later."""
        self._gate.set()

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        response = await super()._respond(request)
        if len(self.arrivals) > self._free and not self._gate.is_set():
            assert request.transport is not None
            text = orjson.loads(await request.read())["content"]["text"]
            self.held[text] = request.transport.get_extra_info("peername")[1]
            await self._gate.wait()
        return response


def socket_owners(base_url: str) -> dict[int, int]:
    """Return the process on this machine of each connection to a server on 127.0.0.1, by the client's port. Linux only."""
    address = f"0100007F:{int(base_url.rpartition(':')[2]):04X}"
    ports = {}
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *rest = row.split()
        if remote == address:
            ports[f"socket:[{rest[6]}]"] = int(local.partition(":")[2], 16)
    owners = {}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        # A process or a descriptor may have gone.
        with contextlib.suppress(OSError):
            port = ports.get(str(descriptor.readlink()))
            if port is not None:
                owners[port] = int(descriptor.parts[2])
    return owners
