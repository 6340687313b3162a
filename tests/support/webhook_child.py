"""A receiver in its own process, which a test kills: `python -m tests.support.webhook_child FILE HOST PORT SECRET STOP_AT`.

HOST is `aiohttp` or `uvicorn`. It prints `ready` when it accepts connections. Its handler writes the key of each event into FILE; at the event
with the number STOP_AT it never returns. The response is sent after the handler.
"""

from __future__ import annotations

import asyncio
import math
import socket
import sys
from pathlib import Path
from typing import TextIO

import uvicorn
from aiohttp import web

from callbell_async.webhooks import Event, WebhookApp, add_webhook_route


async def serve(lines: TextIO, host: str, port: str, secret: str, stop_at: str) -> None:
    """Serve until killed."""
    handled = 0

    async def handler(event: Event) -> None:
        nonlocal handled
        handled += 1
        lines.write(f"{event.key}\n")
        if handled == int(stop_at):
            await asyncio.sleep(math.inf)

    with socket.create_server(("127.0.0.1", int(port)), backlog=1024) as listener:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        if host == "aiohttp":
            app = web.Application()
            add_webhook_route(app, "/events", handler, secret=secret, respond_after="handler")
            await web._run_app(app, sock=listener, print=None)
        else:
            webhook = WebhookApp(handler, secret=secret, respond_after="handler")
            await uvicorn.Server(uvicorn.Config(webhook, log_level="warning")).serve(sockets=[listener])


if __name__ == "__main__":
    file, *arguments = sys.argv[1:]
    with Path(file).open("a", encoding="utf-8", buffering=1) as lines:
        asyncio.run(serve(lines, *arguments))
