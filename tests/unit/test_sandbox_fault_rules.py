"""The requests that get a fault: by count, in a sequence, by chance, and by a predicate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from callbell_async import CallbellClient, PaymentRequiredError, TemplateMessage, TextMessage
from callbell_async.sandbox import DeliveryFailure, Fault, Sandbox, SandboxChannel, faults
from tests.fixtures.sandbox import GOOD, ask, number
from tests.support.calls import until

HELLO = TextMessage(to="+31612345678", text="Hello!")


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without a limit."""
    async with Sandbox(limit=None) as running:
        yield running


async def statuses(sandbox: Sandbox, count: int, *, token: str = "sandbox", **changes: Any) -> list[int]:
    """Send `count` messages and return the statuses of the responses."""
    body = {**GOOD, **changes}
    return [(await ask(sandbox, "POST", "/messages/send", token=token, json=body))[0] for _ in range(count)]


async def test_faults_by_count(sandbox: Sandbox) -> None:
    """With `times`, this number of requests get the fault, and no more."""
    rule = sandbox.inject(faults.respond(500), times=2)
    assert await statuses(sandbox, 4) == [500, 500, 200, 200]
    assert rule.has_ended


async def test_faults_in_a_sequence(sandbox: Sandbox) -> None:
    """Several faults are applied one after the other, and the last one repeats, until the rule is removed."""
    rule = sandbox.inject(faults.respond(500), faults.no_fault(), faults.respond(503))
    assert await statuses(sandbox, 4) == [500, 200, 503, 503]
    rule.remove()
    assert await statuses(sandbox, 1) == [200]
    assert rule.applied == 4


async def test_faults_by_probability(sandbox: Sandbox) -> None:
    """The same seed chooses the same requests, another seed others, in about the given proportion."""

    async def statuses_with(seed: int) -> list[int]:
        rule = sandbox.inject(faults.respond(500), probability=0.25, seed=seed)
        found = await statuses(sandbox, 60)
        rule.remove()
        return found

    first = await statuses_with(1)
    assert await statuses_with(1) == first
    assert await statuses_with(2) != first
    assert 5 < first.count(500) < 30
    sandbox.inject(faults.respond(500), probability=0.0)
    assert await statuses(sandbox, 5) == [200] * 5


async def test_faults_by_predicate(sandbox: Sandbox) -> None:
    """A predicate chooses by any property of the request, also by its recipient."""
    sandbox.inject(faults.respond(500), when=lambda request: request.to == number(1))
    sandbox.inject(faults.respond(503), when=lambda request: request.path == "/plan")
    assert await statuses(sandbox, 1) == [200]
    assert await statuses(sandbox, 1, to=number(1)) == [500]
    assert (await ask(sandbox, "GET", "/plan"))[0] == 503


async def test_the_first_rule_that_applies_is_used(sandbox: Sandbox) -> None:
    """Rules are tried in the order in which they were added; one that is over, or does not apply, is skipped."""
    sandbox.inject(faults.respond(500), when=lambda request: request.to == number(1), times=1)
    sandbox.inject(faults.respond(503), times=1)
    sandbox.inject(faults.respond(504))
    assert await statuses(sandbox, 3, to=number(1)) == [500, 503, 504]


async def test_depleted_credit_is_for_templates(sandbox: Sandbox) -> None:
    """An empty wallet refuses templates with its code, and nothing else, until the rule is removed."""
    rule = sandbox.inject(faults.depleted_credit())
    template = TemplateMessage(to="+31612345678", template_uuid="x", optin_contact=True)
    async with CallbellClient(sandbox.token, base_url=sandbox.url) as callbell:
        with pytest.raises(PaymentRequiredError) as caught:
            await callbell.send(template)
        assert caught.value.code == "whatsapp_wallet_depleted_credit"
        await callbell.send(HELLO)
        rule.remove()
        await callbell.send(template)
    assert (await ask(sandbox, "GET", "/plan"))[0] == 200


async def test_no_response_applies_where_the_late_fault_applies(sandbox: Sandbox) -> None:
    """A `no_response` with a late fault for some requests applies to none of the others."""
    sandbox.inject(faults.no_response(until=asyncio.Event(), then=faults.depleted_credit()))
    assert await statuses(sandbox, 2) == [200, 200]


BAD_MESSAGES = ({"to": ""}, {"channel_uuid": "nowhere"})


@pytest.mark.parametrize("bad", BAD_MESSAGES, ids=["a wrong field", "a wrong reference"])
async def test_the_next_accepted_message_fails(sandbox: Sandbox, bad: dict[str, Any]) -> None:
    """A failed delivery waits for an accepted message: neither an invalid message nor another request uses it up."""
    sandbox.account.seed(SandboxChannel(title="The only one"))
    rule = sandbox.inject(faults.failed_delivery(DeliveryFailure(reason="no")), times=1)
    assert await statuses(sandbox, 1, **bad) == [400]
    assert (await ask(sandbox, "POST", "/contacts", json=GOOD))[0] == 400
    assert (await ask(sandbox, "POST", "/../messages/send", json=GOOD))[0] == 404
    assert rule.applied == 0
    assert await statuses(sandbox, 2) == [200, 200]
    assert [message.failure for message in sandbox.messages] == [DeliveryFailure(reason="no"), None]


async def test_an_invalid_template_is_refused_before_the_wallet_is_checked(sandbox: Sandbox) -> None:
    """An invalid template gets 400 also with an empty wallet, and does not use the fault up."""
    sandbox.inject(faults.depleted_credit(), times=1)
    template: dict[str, Any] = {"template_uuid": "x", "optin_contact": True}
    assert await statuses(sandbox, 1, template_uuid="x") == [400]
    assert await statuses(sandbox, 2, **template) == [402, 200]


async def test_a_request_with_a_fault_counts_within_the_limit() -> None:
    """Requests that get a fault count within the limit; those beyond it are refused and get none."""
    async with Sandbox(limit=3, clock=lambda: 0.0) as sandbox:
        sandbox.inject(faults.respond(500), faults.no_fault())
        assert await statuses(sandbox, 5) == [500, 200, 200, 429, 429]


RESPONSES_WITHOUT_EXECUTION = [
    faults.respond(500),
    faults.html(500, b""),
    faults.depleted_credit(),
    faults.oversized_response(0, 500),
]


@pytest.mark.parametrize("fault", RESPONSES_WITHOUT_EXECUTION, ids=lambda fault: fault.name)
@pytest.mark.parametrize("when", [None, lambda request: request.to is not None], ids=["any", "asked"])
async def test_refusals_come_first(fault: Fault, when: Any) -> None:
    """A wrong token gets 401 and a request beyond the limit 429, in place of a fault; neither uses a fault up."""
    template: dict[str, Any] = {"template_uuid": "x", "optin_contact": True}
    now = [0.0]
    async with Sandbox(limit=2, clock=lambda: now[0]) as sandbox:
        status = 402 if fault.valid_messages_only else 500
        rule = sandbox.inject(fault, times=3, when=when)
        assert await statuses(sandbox, 2, token="wrong", **template) == [401, 401]
        assert await statuses(sandbox, 3, **template) == [status, status, 429]
        assert (rule.applied, [request.fault for request in sandbox.requests if request.status in (401, 429)]) == (
            2,
            [None] * 3,
        )
        now[0] = 2.0
        assert await statuses(sandbox, 2, **template) == [status, 200]


async def test_predicates_see_no_refused_request(sandbox: Sandbox) -> None:
    """A predicate is not called with a request that has a wrong token."""
    seen: list[int | None] = []
    sandbox.inject(faults.respond(500), when=lambda request: bool(seen.append(request.status)))  # type: ignore[func-returns-value]
    assert await statuses(sandbox, 1, token="wrong") == [401]
    assert await statuses(sandbox, 1) == [200]
    assert seen == [None]


async def test_faults_before_reading_need_no_token() -> None:
    """A fault that applies before reading also applies to a request with a wrong token."""
    async with Sandbox(limit=None) as sandbox:
        refusing = sandbox.inject(faults.respond(500))
        sandbox.inject(faults.close_before_reading(), when=lambda request: request.path == "/plan")
        assert await statuses(sandbox, 1, token="wrong") == [401]
        with pytest.raises(aiohttp.ClientError):
            await ask(sandbox, "GET", "/plan", token="wrong")
        assert refusing.applied == 0


@pytest.mark.parametrize("removed", [False, True])
async def test_an_incomplete_request_uses_no_fault_up(sandbox: Sandbox, removed: bool) -> None:
    """A fault is taken while the body arrives; if the client leaves instead, the next request gets it, unless the rule was removed."""
    rule = sandbox.inject(faults.respond(500), times=1)
    _, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.url.split(":")[2].split("/")[0]))
    writer.write(
        b"POST /v1/messages/send HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sandbox\r\nContent-Length: 500\r\n\r\n{"
    )
    await until(lambda: rule.has_ended)
    assert await statuses(sandbox, 1) == [200]
    if removed:
        rule.remove()
    writer.close()
    await until(lambda: rule.applied == 0)
    assert rule.has_ended == removed
    assert await statuses(sandbox, 1) == [200 if removed else 500]


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_wrong_rules_are_refused(probability: float) -> None:
    """A rule without faults, with something else than a fault, or with a wrong probability, is refused at once."""
    with pytest.raises(ValueError, match="probability"):
        Sandbox().inject(faults.no_fault(), probability=probability)
    with pytest.raises(ValueError, match="faults"):
        Sandbox().inject()
    given: Any
    for given in (503, faults.accept_then_close):
        with pytest.raises(TypeError, match=rf"such as faults\.respond\(503\), not {type(given).__name__}"):
            Sandbox().inject(faults.no_fault(), given)
