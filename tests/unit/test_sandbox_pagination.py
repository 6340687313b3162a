"""The sandbox's pages and cursors: each list has each record once."""

from __future__ import annotations

import pytest

from callbell_async.sandbox import Sandbox, SandboxContact
from tests.fixtures.sandbox import Clock, ask, get, number, seed, send


def many(sandbox: Sandbox, count: int) -> list[str]:
    """Create contacts and return their names in the order of the list: the last one first."""
    names = [
        sandbox.account.seed(
            SandboxContact(
                identifier=number(place), name=str(place), tags=["even"] if place % 2 == 0 else ["odd", "strange"]
            )
        ).name
        for place in range(count)
    ]
    return names[::-1]


async def test_contacts_by_page(sandbox: Sandbox) -> None:
    """A page has 20 contacts, each contact is on one page, and a page after the last one is empty."""
    names = many(sandbox, 45)
    pages = [await get(sandbox, f"/contacts?page={page}") for page in (1, 2, 3, 4)]
    assert [len(page["contacts"]) for page in pages] == [20, 20, 5, 0]
    assert [contact["name"] for page in pages for contact in page["contacts"]] == names
    assert [page["meta"]["page"] for page in pages] == [1, 2, 3, 4]
    assert {page["meta"]["pages"] for page in pages} == {3}


async def test_the_page_limit(sandbox: Sandbox) -> None:
    """Page 500 of the contacts is the last one that can be requested; beside a cursor, `page` is ignored."""
    many(sandbox, 21)
    assert (await get(sandbox, "/contacts?page=500"))["contacts"] == []
    limit = (400, {"error": "Pagination limit exceeded"})
    assert await ask(sandbox, "GET", "/contacts?page=501") == limit
    cursor = (await get(sandbox, "/contacts"))["meta"]["next"]
    assert len((await get(sandbox, f"/contacts?page=501&after={cursor}"))["contacts"]) == 1


async def test_contacts_by_cursor(sandbox: Sandbox) -> None:
    """A walk by cursor finds each contact once, although contacts are deleted and write meanwhile; later contacts are left out."""
    names = many(sandbox, 45)
    found: list[str] = []
    path = "/contacts"
    while True:
        page = await get(sandbox, path)
        found += [contact["name"] for contact in page["contacts"]]
        if page["meta"]["next"] is None:
            break
        if len(found) == 20:
            await ask(sandbox, "DELETE", f"/contacts/{page['contacts'][-1]['uuid']}")
            sandbox.account.seed(SandboxContact(identifier="+1", name="late"))
            for place in (0, 10, 44):
                sandbox.account.receive_message("Hi", sender=number(place))
        path = f"/contacts?after={page['meta']['next']}"
    assert found == names


async def test_the_most_recent_conversation_comes_first(sandbox: Sandbox) -> None:
    """Contacts are ordered by their last message, or by their creation; a conversation that is opened again counts, a note does not."""
    for place in range(4):
        sandbox.account.seed(SandboxContact(identifier=number(place), name=str(place), uuid=str(place)))

    async def names() -> list[str]:
        return [contact["name"] for contact in (await get(sandbox, "/contacts"))["contacts"]]

    assert await names() == ["3", "2", "1", "0"]
    await send(sandbox, to=number(1))
    assert await names() == ["1", "3", "2", "0"]
    sandbox.account.receive_message("Hi", sender=number(0))
    assert await names() == ["0", "1", "3", "2"]
    await ask(sandbox, "POST", "/contacts/2/conversation/note", json={"text": "Call back"})
    await ask(sandbox, "POST", "/contacts/2/conversation/close")
    assert await names() == ["0", "1", "3", "2"]
    await ask(sandbox, "POST", "/contacts/2/conversation/open")
    assert await names() == ["2", "0", "1", "3"]


async def test_filters_apply_beside_a_cursor(sandbox: Sandbox) -> None:
    """The cursor does not contain the filters: they are sent with it each time."""
    names = many(sandbox, 90)
    first = await get(sandbox, "/contacts?tags=odd,strange&source=whatsapp")
    second = await get(sandbox, f"/contacts?tags=odd,strange&source=whatsapp&after={first['meta']['next']}")
    assert [contact["name"] for page in (first, second) for contact in page["contacts"]] == names[:80:2]
    assert (await get(sandbox, "/contacts?tags=odd,even"))["contacts"] == []
    assert (await get(sandbox, "/contacts?team_uuid=x"))["contacts"] == []


@pytest.mark.parametrize("cursor", ["", "x", "%00", "é", "Y29udGFjdHM6MQ", "a" * 5000])
async def test_a_bad_cursor(sandbox: Sandbox, cursor: str) -> None:
    """A cursor that is not the sandbox's is refused with Callbell's text."""
    assert await ask(sandbox, "GET", f"/contacts?after={cursor}") == (400, {"error": "Invalid pagination cursor"})


async def test_an_account_without_cursors(sandbox: Sandbox) -> None:
    """The responses of such an account have no `next`, and its lists are paged by number."""
    many(sandbox, 21)
    sandbox.account.contacts_have_cursors = False
    assert (await get(sandbox, "/contacts?page=2&after=x"))["meta"] == {"page": 2, "pages": 2}


@pytest.mark.parametrize("page", ["0", "-1", "x", "1.5", "", "٣", "9" * 5000])
async def test_a_bad_page(sandbox: Sandbox, page: str) -> None:
    """A page must be a number from 1, in every list; the error names the field."""
    expected = (400, {"error": {"page": ["must be a whole number from 1"]}})
    assert await ask(sandbox, "GET", f"/contacts?page={page}") == expected
    assert await ask(sandbox, "GET", f"/channels?page={page}") == expected


async def test_a_page_s_leading_zeros(sandbox: Sandbox) -> None:
    """Leading zeros of a number are ignored."""
    zeros = "0" * 5000
    assert (await get(sandbox, f"/channels?page={zeros}1"))["meta"] == {"page": 1, "pages": 1}
    assert (await get(sandbox, f"/webhooks/events?page=01&items={zeros}10"))["meta"] == {"page": 1, "pages": 1}


@pytest.mark.parametrize("has_meta", [True, False])
async def test_history_by_page(sandbox: Sandbox, clock: Clock, has_meta: bool) -> None:
    """A history comes newest first, in pages, with `meta` as the service does, or without it as documented."""
    assert sandbox.account.history_has_meta
    sandbox.account.history_has_meta = has_meta
    seed(sandbox.account)
    for place in range(25):
        await ask(sandbox, "POST", "/contacts/contact/conversation/note", json={"text": str(place)})
        clock.now += 1
    pages = [await get(sandbox, f"/contacts/contact/messages?page={page}") for page in (1, 2, 3)]
    assert [line["text"] for page in pages for line in page["messages"]] == [str(24 - place) for place in range(25)]
    assert [page.get("meta") for page in pages] == (
        [{"page": page, "pages": 2} for page in (1, 2, 3)] if has_meta else [None] * 3
    )
