"""One client in a web application: opened and closed with it, shared by all its requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from callbell_async import CallbellClient, TextMessage
from callbell_async.sandbox import Sandbox
from tests.support.apps import served_by_uvicorn

CALLS = 40


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox for the application to send to."""
    async with Sandbox() as running:
        yield running


async def send_concurrently(url: str) -> list[str]:
    """Call the application many times at once, and return the uuids of its responses."""

    async def one(session: aiohttp.ClientSession, number: int) -> str:
        async with session.post(f"{url}/greet", json={"to": f"+4477009001{number:02}"}) as response:
            assert response.status == 200
            return str((await response.json())["uuid"])

    async with aiohttp.ClientSession() as session:
        return list(await asyncio.gather(*(one(session, number) for number in range(CALLS))))


async def test_in_an_aiohttp_application(sandbox: Sandbox) -> None:
    """A client in the clean-up context serves concurrent requests, and is closed when the application is."""
    key = web.AppKey("callbell", CallbellClient)

    async def callbell_context(app: web.Application) -> AsyncIterator[None]:
        async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
            app[key] = callbell
            yield

    async def greet(request: web.Request) -> web.Response:
        body = await request.json()
        receipt = await request.app[key].send(TextMessage(to=body["to"], text="Welcome!"))
        return web.json_response({"uuid": receipt.uuid})

    app = web.Application()
    app.cleanup_ctx.append(callbell_context)
    app.router.add_post("/greet", greet)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        uuids = await send_concurrently(f"http://{host}:{port}")
    finally:
        await runner.cleanup()
    assert sorted(uuids) == sorted(message.uuid for message in sandbox.messages)
    assert app[key].closed


async def test_in_a_starlette_lifespan(sandbox: Sandbox) -> None:
    """A client in Starlette's lifespan serves concurrent requests, and is closed when the application is."""
    clients = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, CallbellClient]]:
        async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
            clients.append(callbell)
            yield {"callbell": callbell}

    async def greet(request: Request) -> JSONResponse:
        body = await request.json()
        receipt = await request.state.callbell.send(TextMessage(to=body["to"], text="Welcome!"))
        return JSONResponse({"uuid": receipt.uuid})

    async with served_by_uvicorn(
        Starlette(routes=[Route("/greet", greet, methods=["POST"])], lifespan=lifespan)
    ) as url:
        uuids = await send_concurrently(url)
    assert sorted(uuids) == sorted(message.uuid for message in sandbox.messages)
    assert [client.closed for client in clients] == [True]


async def test_in_a_fastapi_lifespan(sandbox: Sandbox) -> None:
    """The same in FastAPI, where the client is reached through the application's state."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
            app.state.callbell = callbell
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/greet")
    async def greet(body: dict[str, str]) -> dict[str, str]:
        receipt = await app.state.callbell.send(TextMessage(to=body["to"], text="Welcome!"))
        return {"uuid": receipt.uuid}

    async with served_by_uvicorn(app) as url:
        uuids = await send_concurrently(url)
    assert sorted(uuids) == sorted(message.uuid for message in sandbox.messages)
    assert app.state.callbell.closed
