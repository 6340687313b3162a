"""Secrets of your own, in a webhook's URL or in a header: beside Callbell's signature, or in place of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from starlette.applications import Starlette
from starlette.routing import Route

from callbell_async import CallbellClient, ConfigurationError
from callbell_async.arguments import Secret
from callbell_async.models.account import Webhook
from callbell_async.redaction import mask_url
from callbell_async.sandbox import Sandbox, SandboxWebhook
from callbell_async.webhooks import WebhookApp, WebhookReceiver, add_webhook_route
from callbell_async.webhooks.signature import read_credentials
from tests.support.apps import served_by_aiohttp, served_by_uvicorn
from tests.support.calls import TOKEN, client_for, nobody_listening
from tests.support.secrets import assert_no_secrets, assert_no_secrets_in_locals
from tests.support.webhooks import OK, SECRET, Gate, message_body, post, texts

OWN = "3Vf0-the_secret.of~mine"
HEADER = ("X-Webhook-Secret", "the proxy's secret")
HEADERS: dict[str, str] = dict([HEADER])

GOOD_URLS = [
    f"/hook?secret={OWN}",
    f"https://shop.example.com/hook?shop=5&secret={OWN}#top",
    f"/hook?secret=another&secret={OWN}",
    f"/hook/{OWN}",
    f"/hook/{OWN}?shop=5",
    "/hook?secret=" + OWN.replace("~", "%7E"),
]
BAD_URLS = [
    None,
    "",
    "/hook",
    "/hook?secret=",
    f"/hook?secret={OWN[:-1]}",
    f"/hook?secret={OWN}x",
    f"/hook?secret={OWN.upper()}",
    f"/hook?token={OWN}",
    f"/hook/{OWN}/more",
    f"/{OWN}/hook",
    "/hook?secret=\udcff",
    f"http://[half/hook?secret={OWN}",
]


# --- the receiver -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", GOOD_URLS)
async def test_the_url_may_hold_the_secret(url: str) -> None:
    """With `url_secret`, no signature is needed: the URL holds the secret as `secret` in its query, or as the last part of its path."""
    gate = Gate(is_open=True)
    async with WebhookReceiver(gate, url_secret=OWN) as receiver:
        assert await receiver.receive(message_body("Hi"), url=url) == OK
    assert texts(gate.handled) == ["Hi"]


@pytest.mark.parametrize("url", BAD_URLS)
async def test_a_url_without_the_secret_is_refused(url: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """A URL without the secret is refused as a wrong signature is, whatever the body; the log shows neither the URL nor the secret."""
    caplog.set_level(logging.DEBUG)
    gate = Gate()
    async with WebhookReceiver(gate, secret=SECRET) as signed:
        expected = await post(signed, message_body(), secret="whsec_another")
    async with WebhookReceiver(gate, url_secret=OWN) as receiver:
        for body in (message_body(), b"{}", b"", b"{"):
            assert await receiver.receive(body, url=url) == expected
        assert receiver.stats.refused == 4
    assert (expected.status, gate.began) == (401, [])
    assert "the URL does not hold the secret" in caplog.text
    assert OWN not in caplog.text
    assert OWN[:-1] not in caplog.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Webhook-Secret": HEADER[1]}, 200),
        ({"x-webhook-secret": HEADER[1]}, 200),
        ({"Host": "shop", "X-WEBHOOK-SECRET": HEADER[1]}, 200),
        ({"X-Webhook-Secret": "another"}, 401),
        ({"X-Webhook-Secret": ""}, 401),
        ({"X-Other": HEADER[1]}, 401),
        ({}, 401),
        (None, 401),
    ],
)
async def test_a_header_may_hold_the_secret(headers: dict[str, str] | None, status: int) -> None:
    """With `header_secret`, the named header must hold the secret, in capital or small letters of the name."""
    async with WebhookReceiver(Gate(is_open=True), header_secret=HEADER) as receiver:
        assert (await receiver.receive(message_body(), headers=headers)).status == status


async def test_all_that_is_given_must_be_right() -> None:
    """Beside a signature, each of the three is demanded."""
    gate = Gate(is_open=True)
    right: dict[str, Any] = {"url": GOOD_URLS[0], "headers": HEADERS}
    async with WebhookReceiver(gate, secret=SECRET, url_secret=OWN, header_secret=HEADER) as receiver:
        assert (await receiver.receive(message_body(), None, **right)).status == 401
        for name, wrong in (("url", "/hook"), ("headers", {})):
            assert (await post(receiver, message_body(), **{**right, name: wrong})).status == 401
        assert gate.began == []
        assert await post(receiver, message_body(), **right) == OK


async def test_a_probe_of_callbell_holds_the_secret() -> None:
    """A probe to the right URL gets 200 although it has no signature."""
    async with WebhookReceiver(Gate(), secret=SECRET, url_secret=OWN) as receiver:
        assert await receiver.receive(b"{}", url=GOOD_URLS[0]) == OK
        assert (await receiver.receive(b"{}", url="/hook")).status == 401


async def test_one_of_several_secrets_suffices() -> None:
    """While a secret is replaced, the old and the new one are accepted, in the URL and in the header."""
    async with WebhookReceiver(
        Gate(is_open=True), url_secret=["new", OWN], header_secret=(HEADER[0], ["new", HEADER[1]])
    ) as receiver:
        for url, value in ((GOOD_URLS[0], "new"), ("/hook?secret=new", HEADER[1])):
            assert await receiver.receive(message_body(), url=url, headers={HEADER[0]: value}) == OK


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every given value is compared with every secret by `hmac.compare_digest`, also after one has matched."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("callbell_async.webhooks.signature.hmac.compare_digest", compare)
    gate = Gate(is_open=True)
    receiver = WebhookReceiver(gate, url_secret=["first", "second"])
    receiver._credentials.check_secrets("/last?secret=first", None)
    assert compared == [(b"first", b"first"), (b"first", b"second"), (b"last", b"first"), (b"last", b"second")]


# --- configuration ----------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a blank URL secret": ({"url_secret": " "}, "url_secret: is blank"),
    "no URL secret in a list": ({"url_secret": []}, "url_secret: the list is empty"),
    "a URL secret with a slash": ({"url_secret": f"{TOKEN}/"}, "url_secret: holds a character that a URL may change"),
    "a URL secret with blanks": ({"url_secret": f"{TOKEN} {TOKEN}"}, r"letters, digits and - \. _ ~ only"),
    "a URL secret of another type": ({"url_secret": 5}, "url_secret: must be a string"),
    "a header secret alone": ({"header_secret": TOKEN}, "header_secret: must be a pair"),
    "a pair of letters": ({"header_secret": "ab"}, "header_secret: must be a pair"),
    "three items": ({"header_secret": ("X-A", TOKEN, TOKEN)}, "header_secret: must be a pair"),
    "a header's name with a blank": ({"header_secret": ("X A", TOKEN)}, "the name of a header"),
    "the secret as the name": ({"header_secret": (f"{TOKEN}/", "X-A")}, "the name of a header"),
    "Callbell's header": ({"header_secret": ("x-callbell-signature", TOKEN)}, "use another header"),
    "a header secret that is not set": ({"header_secret": ("X-A", None)}, "header_secret: must be a string"),
    "a header secret with a line break": ({"header_secret": ("X-A", f"{TOKEN}\n{TOKEN}")}, "can't hold it"),
    "another argument": ({"url_secret": TOKEN, "header_secret": ("X-A", TOKEN), "queue_size": 0}, "queue_size"),
    "a wrong secret beside it": (
        {"url_secret": TOKEN, "header_secret": ("X-A", TOKEN), "secret": ""},
        "webhook secret",
    ),
    "a wrong header beside it": ({"url_secret": TOKEN, "header_secret": ("X A", TOKEN)}, "header_secret"),
    "a wrong URL secret beside it": ({"url_secret": "é", "header_secret": ("X-A", TOKEN)}, "url_secret"),
}

BUILDERS: dict[str, Callable[..., object]] = {
    "receiver": WebhookReceiver,
    "ASGI": WebhookApp,
    "aiohttp": lambda **arguments: add_webhook_route(web.Application(), "/hook", **arguments),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_a_secret_that_can_t_be_checked_is_refused(build: Callable[..., object], arguments: Any, said: str) -> None:
    """A wrong argument is named with its remedy when the receiver is built, and no secret is in the error or in a local variable."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        build(**arguments)
    assert_no_secrets(caught.value)
    assert_no_secrets_in_locals(caught.value)


def test_without_any_secret_a_receiver_names_all_of_them() -> None:
    """The error for a missing secret names each way to prove that Callbell sent a request."""
    with pytest.raises(ConfigurationError, match="url_secret or header_secret, or unsigned=True"):
        WebhookReceiver(url_secret=None, header_secret=None)


def test_no_secret_is_in_a_repr() -> None:
    """The repr of what a receiver keeps shows no secret."""
    kept = read_credentials(Secret(TOKEN), Secret(TOKEN), Secret(("X-A", TOKEN)), unsigned=False)
    assert TOKEN not in repr(kept)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://shop.example.com:8443/hook?secret={OWN}", "'https://shop.example.com:8443/…'"),
        (f"https://user:{OWN}@shop.example.com/{OWN}", "'https://shop.example.com/…'"),
        (f"http://127.0.0.1?secret={OWN}", "'http://127.0.0.1/…'"),
        (OWN, "'…'"),
        (None, "None"),
    ],
)
def test_a_url_shows_only_its_host(url: str | None, shown: str) -> None:
    """The repr of a subscribed webhook has the host of its URL, and neither the path nor the query."""
    assert mask_url(url) == shown
    assert OWN not in repr(Webhook(url=url))
    assert OWN not in repr(SandboxWebhook(url=url or "", subscriptions=[]))


async def test_a_failed_subscription_shows_no_secret() -> None:
    """The URL is in no text and in no local variable of the error when a subscription fails."""
    with nobody_listening() as base_url:
        async with client_for(base_url) as callbell:
            for subscriptions in (["message_created"], "message_created"):
                with pytest.raises(Exception) as caught:  # noqa: PT011 - any error
                    await callbell.webhooks.subscribe(f"https://shop.example.com/?secret={TOKEN}", subscriptions)
                assert_no_secrets_in_locals(caught.value)


# --- over HTTP --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def aiohttp_route(path: str, **arguments: Any) -> AsyncIterator[str]:
    """A route of aiohttp."""
    app = web.Application()
    add_webhook_route(app, path, **arguments)
    async with served_by_aiohttp(app) as url:
        yield url


@asynccontextmanager
async def asgi_alone(path: str, **arguments: Any) -> AsyncIterator[str]:
    """An ASGI application alone."""
    async with served_by_uvicorn(WebhookApp(**arguments)) as url:
        yield url


@asynccontextmanager
async def starlette_route(path: str, **arguments: Any) -> AsyncIterator[str]:
    """A route of Starlette."""
    async with WebhookApp(**arguments) as app, served_by_uvicorn(Starlette(routes=[Route(path, app)])) as url:
        yield url


@pytest.mark.parametrize("serve", [aiohttp_route, asgi_alone, starlette_route])
@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("/hook", f"/hook?secret={OWN}", "/hook?secret=another"),
        ("/hook/{secret}", f"/hook/{OWN}", f"/hook/another?token={OWN}"),
    ],
    ids=["query", "path"],
)
async def test_both_secrets_over_http(serve: Any, path: str, good: str, bad: str) -> None:
    """Every kind of server checks the URL and the header of a request; with both right, its event is handled."""
    gate = Gate(is_open=True)
    async with (
        serve(path, handler=gate, url_secret=OWN, header_secret=HEADER) as base,
        aiohttp.ClientSession() as session,
    ):
        for target, headers, status in (
            (good, HEADERS, 200),
            (bad, HEADERS, 401),
            (good, {}, 401),
        ):
            async with session.post(base + target, data=message_body(target), headers=headers) as response:
                assert response.status == status
    assert texts(gate.handled) == [good]


@pytest.mark.parametrize("serve", [aiohttp_route, starlette_route])
async def test_the_sandbox_delivers_to_such_a_url(serve: Any) -> None:
    """A URL with a secret that was subscribed gets the sandbox's events and probes, and keeps the secret when it is listed."""
    gate = Gate(is_open=True)
    async with (
        serve("/hook", handler=gate, url_secret=OWN) as base,
        Sandbox() as sandbox,
        CallbellClient(sandbox.token, base_url=sandbox.url) as callbell,
    ):
        webhook = await callbell.webhooks.subscribe(f"{base}/hook?secret={OWN}", ["message_created"])
        assert webhook.url == f"{base}/hook?secret={OWN}"
        sandbox.emit("message_created", {"text": "Hi", "status": "received"})
        await sandbox.wait_delivered()
        assert await sandbox.deliveries.probe() == 200
        assert OWN not in f"{webhook!r} {sandbox.account.webhook!r}"
    assert texts(gate.handled) == ["Hi"]
