"""The sandbox's messages, requests, copies, and assertions that explain themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from callbell_async.sandbox import Sandbox, faults
from tests.fixtures.sandbox import GOOD, ask, number


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox that has accepted two messages to one number, and refused one to another."""
    async with Sandbox() as running:
        await ask(running, "POST", "/messages/send", json=GOOD)
        await ask(
            running, "POST", "/messages/send", json={**GOOD, "to": "31 612 345 678", "type": "image", "content": IMAGE}
        )
        running.inject(faults.respond(503), times=1)
        await ask(running, "POST", "/messages/send?x=1&x=2", json={**GOOD, "to": number(1)})
        yield running


IMAGE = {"url": "https://example.com/a.png", "text": "A mill"}


async def test_a_message_keeps_its_request(sandbox: Sandbox) -> None:
    """An accepted message has its body and its request."""
    message = sandbox.messages[0]
    assert (message.body, message.recipient) == (GOOD, "+31612345678")
    assert message.request is sandbox.requests[0]
    assert message.request.headers["authorization"] == "Bearer sandbox"
    assert message.request.document == GOOD


async def test_requests_are_all_that_were_read(sandbox: Sandbox) -> None:
    """Every request is kept, with the status of its response and the name of its fault."""
    await ask(sandbox, "GET", "/contacts?page=1", token="wrong")
    assert [(request.method, request.path, request.status, request.fault) for request in sandbox.requests] == [
        ("POST", "/messages/send", 200, None),
        ("POST", "/messages/send", 200, None),
        ("POST", "/messages/send", 503, "respond 503"),
        ("GET", "/contacts", 401, None),
    ]
    assert sandbox.requests[2].query == {"x": "1"}
    assert [request.to for request in sandbox.requests] == ["+31612345678", "31 612 345 678", number(1), None]
    assert sandbox.requests[3].document is None


async def test_copies_by_recipient(sandbox: Sandbox) -> None:
    """Copies are counted by recipient, under the first spelling of the number."""
    assert sandbox.copies() == {"+31612345678": 2}
    assert sandbox.messages_to("0031 612345678") == sandbox.messages
    assert sandbox.messages_to(number(1)) == []


async def test_true_assertions_return_the_messages(sandbox: Sandbox) -> None:
    """An assertion that holds returns the messages it is about."""
    sandbox.assert_sent(2)
    sandbox.assert_no_duplicates()
    assert sandbox.assert_sent_to("+31612345678", count=2) == sandbox.messages
    assert sandbox.assert_sent_to("+31612345678") == sandbox.messages
    assert sandbox.assert_sent_to(number(1), count=0) == []
    await ask(sandbox, "POST", "/messages/send", json={**GOOD, "to": number(2), "type": "image", "content": IMAGE})
    once = sandbox.assert_sent_once(to=number(2), text="A mill", url=IMAGE["url"], type="image", content=IMAGE)
    assert once is sandbox.messages[2]


async def test_a_wrong_count_is_explained(sandbox: Sandbox) -> None:
    """A failed count shows the expected number, the accepted messages, and the outcome of every request."""
    with pytest.raises(AssertionError) as caught:
        sandbox.assert_sent(3)
    first, second = sandbox.messages
    assert str(caught.value).splitlines() == [
        "expected 3 messages, but 2 accepted",
        "accepted:",
        f"  text to +31612345678: {{'text': 'Hello!'}} ({first.uuid})",
        f"  image to 31 612 345 678: {IMAGE} ({second.uuid})",
        "requests (3):",
        "  POST /messages/send to +31612345678 -> 200",
        "  POST /messages/send to 31 612 345 678 -> 200",
        f"  POST /messages/send to {number(1)} -> 503 (respond 503)",
    ]


async def test_a_second_copy_is_explained(sandbox: Sandbox) -> None:
    """A message that was sent twice is shown with the number of its copies; a key decides which messages are equal."""
    await ask(sandbox, "POST", "/messages/send", json=GOOD)
    with pytest.raises(AssertionError, match=r"1 message sent more than once:\n  2 times: text to .31612345678"):
        sandbox.assert_no_duplicates()
    with pytest.raises(AssertionError, match=r"expected 1 message to .31612345678, but there are 3"):
        sandbox.assert_sent_once(to="+31612345678")
    with pytest.raises(AssertionError, match="2 times: text"):
        sandbox.assert_no_duplicates(key=lambda message: str(message.body["type"]))
    sandbox.assert_no_duplicates(key=lambda message: message.uuid)


async def test_a_missing_message_is_explained(sandbox: Sandbox) -> None:
    """The error about a recipient without a message shows the accepted messages."""
    with pytest.raises(
        AssertionError, match=r"expected a message to \+31600000001, but there is none\naccepted:\n  text"
    ):
        sandbox.assert_sent_to(number(1))
    with pytest.raises(AssertionError, match=r"expected 1 message to .*, but there are 0\nrequests"):
        sandbox.assert_sent_once(to=number(1))


async def test_a_wrong_body_is_explained(sandbox: Sandbox) -> None:
    """The error about a wrong body names the key, the expected value and the actual one."""
    await ask(sandbox, "POST", "/messages/send", json={**GOOD, "to": number(2)})
    with pytest.raises(AssertionError, match="to have text='Hi', but it is 'Hello!'"):
        sandbox.assert_sent_once(to=number(2), text="Hi")
    with pytest.raises(AssertionError, match="to have url='x', but it is None"):
        sandbox.assert_sent_once(to=number(2), text="Hello!", url="x")


async def test_many_are_cut_short() -> None:
    """Ten lines of each kind are shown, and the number of the others; a request without a response is marked."""
    async with Sandbox() as sandbox:
        with pytest.raises(AssertionError, match="no requests"):
            sandbox.assert_sent(1)
        for place in range(12):
            await ask(sandbox, "POST", "/messages/send", json={**GOOD, "to": number(place)})
        with pytest.raises(AssertionError, match="and 2 more\nrequests") as caught:
            sandbox.assert_sent(0)
        assert str(caught.value).count("\n") == 1 + 2 * 11 + 1
        sandbox.requests[0].status = None
        with pytest.raises(AssertionError, match="no complete response"):
            sandbox.assert_sent(0)
