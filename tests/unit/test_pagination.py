"""Lists: fetched page by page with their filters, and always ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbell_async import CallbellClient, ConfigurationError, Contact, Page, PaginationError, ServerError
from callbell_async.http.pagination import MAX_EMPTY_PAGES, Pager
from tests.fixtures.strategies import quick
from tests.support.recorder import Recorder, recorded_client


@pytest.fixture
async def api() -> AsyncIterator[tuple[CallbellClient, Recorder]]:
    """A client, and the server that records what it asks for."""
    async with recorded_client() as both:
        yield both


def contacts(*names: str, **meta: Any) -> dict[str, Any]:
    """One page of contacts."""
    return {"contacts": [{"uuid": name} for name in names], **({"meta": meta} if meta else {})}


async def test_contacts_go_by_cursor(api: tuple[CallbellClient, Recorder]) -> None:
    """Each cursor is sent back as `after` with the same filters, until it is null."""
    callbell, recorder = api
    recorder.respond_with(
        contacts("a", "b", page=1, pages=900, next="c=1"),
        contacts("c", page=1, pages=900, next="c 2"),
        contacts("d", page=1, pages=900, next=None),
    )
    assert [contact.uuid async for contact in callbell.contacts.list(tags=["lead"])] == ["a", "b", "c", "d"]
    assert [request.target for request in recorder.requests] == [
        "/v1/contacts?tags=lead",
        "/v1/contacts?tags=lead&after=c%3D1",
        "/v1/contacts?tags=lead&after=c%202",
    ]


async def test_an_account_without_cursors_goes_by_page(api: tuple[CallbellClient, Recorder]) -> None:
    """Without `meta.next` the pages are counted, with the same filters, up to `meta.pages`."""
    callbell, recorder = api
    recorder.respond_with(contacts("a", page=1, pages=2), contacts("b", page=2, pages=2))
    assert [contact.uuid async for contact in callbell.contacts.list(source="whatsapp")] == ["a", "b"]
    assert [request.target for request in recorder.requests] == [
        "/v1/contacts?source=whatsapp",
        "/v1/contacts?source=whatsapp&page=2",
    ]


async def test_history_goes_on_until_an_empty_page(api: tuple[CallbellClient, Recorder]) -> None:
    """Without `meta` the list ends with a page that has nothing on it."""
    callbell, recorder = api
    recorder.respond_with({"messages": [{"uuid": "a"}]}, {"messages": [{"uuid": "b"}]}, {"messages": []})
    assert [message.uuid async for message in callbell.contacts.messages("u")] == ["a", "b"]
    assert len(recorder.requests) == 3


async def test_a_history_with_meta_ends_at_its_last_page(api: tuple[CallbellClient, Recorder]) -> None:
    """With `meta` the last page is known, and no empty page is requested."""
    callbell, recorder = api
    recorder.respond_with({"messages": [{"uuid": "a"}], "meta": {"page": 1, "pages": 1}})
    assert [message.uuid async for message in callbell.contacts.messages("u")] == ["a"]
    assert len(recorder.requests) == 1


async def test_funnels_are_one_page(api: tuple[CallbellClient, Recorder]) -> None:
    """A list that is not paged is requested once."""
    callbell, recorder = api
    recorder.respond_with({"funnels": [{"uuid": "a"}]})
    assert [funnel.uuid async for funnel in callbell.funnels.list()] == ["a"]
    assert len(recorder.requests) == 1


async def test_a_page_is_fetched_when_it_is_needed(api: tuple[CallbellClient, Recorder]) -> None:
    """Code that stops on the first page causes no request for the second."""
    callbell, recorder = api
    recorder.respond_with(contacts("a", "b", page=1, pages=2), contacts("c", page=2, pages=2))
    async for contact in callbell.contacts.list():
        assert contact.uuid == "a"
        break
    assert len(recorder.requests) == 1


async def test_whole_pages_are_reachable(api: tuple[CallbellClient, Recorder]) -> None:
    """`pages` gives each page with its items, its number and its untouched JSON."""
    callbell, recorder = api
    first, second = contacts("a", page=1, pages=2), contacts("b", "c", page=2, pages=2)
    recorder.respond_with(first, second)
    pages = [page async for page in callbell.contacts.list().pages()]
    assert [(len(page), page.number, page.total_pages, page.raw) for page in pages] == [
        (1, 1, 2, first),
        (2, 2, 2, second),
    ]
    assert list(pages[0]) == [Contact(uuid="a")]


async def test_a_list_can_be_read_twice(api: tuple[CallbellClient, Recorder]) -> None:
    """Each iteration begins with the first page."""
    callbell, recorder = api
    recorder.respond_with(contacts("a", page=1, pages=1))
    everybody = callbell.contacts.list()
    assert [contact.uuid async for contact in everybody] == [contact.uuid async for contact in everybody] == ["a"]
    assert len(recorder.requests) == 2


async def test_a_failure_in_the_middle_comes_out(api: tuple[CallbellClient, Recorder]) -> None:
    """A request that fails raises its exception at its page, after the items before it."""
    callbell, recorder = api
    recorder.respond_with(contacts("a", page=1, pages=2))
    everybody = aiter(callbell.contacts.list())
    assert (await anext(everybody)).uuid == "a"
    recorder.respond_with({}, status=500)
    with pytest.raises(ServerError):
        await anext(everybody)


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ([contacts("a", next="1"), contacts("b", next="2"), contacts("c", next="1")], "received twice"),
        ([contacts("a", next="1"), contacts("b", next="1")], "received twice"),
        (
            [contacts("a", page=1, pages=3), contacts("a", page=1, pages=3)],
            "page 2 was requested, but page 1 was received",
        ),
        ([{"contacts": [{"uuid": "a"}]}, {"contacts": [{"uuid": "a"}]}], "a page was received twice"),
    ],
    ids=["cursors in a circle", "the same cursor", "a page that stays", "history that stays"],
)
async def test_a_list_that_repeats_itself_ends(
    api: tuple[CallbellClient, Recorder], pages: list[Mapping[str, Any]], expected: str
) -> None:
    """A page or a cursor that is received twice ends the list with an error."""
    callbell, recorder = api
    recorder.respond_with(*pages)
    with pytest.raises(PaginationError, match=expected):
        _ = [contact async for contact in callbell.contacts.list()]
    assert len(recorder.requests) == len(pages)


async def test_an_empty_page_with_a_cursor_is_not_the_end(api: tuple[CallbellClient, Recorder]) -> None:
    """Where there is a cursor it alone decides: a filtered page may be empty."""
    callbell, recorder = api
    recorder.respond_with(contacts(next="1"), contacts("a", next=None))
    assert [contact.uuid async for contact in callbell.contacts.list()] == ["a"]


# --- a list that does not end -----------------------------------------------------------------------------------------


def page(number: int, *names: str, by: str, is_last: bool = False) -> dict[str, Any]:
    """One page of a list that is paged by `page`, and promises a billion of them, or by `next`, with ever new cursors."""
    if by == "page":
        return contacts(*names, page=number, pages=number if is_last else 10**9)
    return contacts(*names, next=None if is_last else f"c{number}")


@pytest.mark.parametrize("by", ["page", "next"])
async def test_a_list_of_empty_pages_ends(api: tuple[CallbellClient, Recorder], by: str) -> None:
    """After 100 empty pages in a row a further one ends the list with an error, though the server names ever more pages."""
    callbell, recorder = api
    recorder.respond_with(*(page(number, by=by) for number in range(1, 200)))
    with pytest.raises(PaginationError, match="101 empty pages in a row"):
        await callbell.contacts.list().to_list()
    assert len(recorder.requests) == MAX_EMPTY_PAGES + 1 == 101


@pytest.mark.slow
@pytest.mark.parametrize("by", ["page", "next"])
async def test_some_empty_pages_are_not_the_end(api: tuple[CallbellClient, Recorder], by: str) -> None:
    """100 empty pages in a row are passed over, each time that they come between others."""
    callbell, recorder = api
    names = {1: "a", 102: "b", 203: "c"}
    recorder.respond_with(
        *(page(number, *names.get(number, ""), by=by) for number in range(1, 304)), page(304, by=by, is_last=True)
    )
    assert [contact.uuid for contact in await callbell.contacts.list().to_list()] == ["a", "b", "c"]


@pytest.mark.slow
def test_a_page_of_deep_json_is_compared() -> None:
    """However deep the JSON of a page is, the next one can be requested."""
    deep: Any = "bottom"
    for _ in range(100_000):
        deep = [deep]
    pager = Pager({})
    pager.advance(Page(items=(1,), number=1, total_pages=3, raw={"contacts": deep}))
    assert pager.query == {"page": 2}
    with pytest.raises(PaginationError, match="received twice"):
        pager.advance(Page(items=(1,), number=2, total_pages=3, raw={"contacts": deep}))


# --- the whole list, and its beginning --------------------------------------------------------------------------------


async def test_a_list_as_a_list(api: tuple[CallbellClient, Recorder]) -> None:
    """`to_list` gives all items; with a limit it asks for no page beyond them."""
    callbell, recorder = api
    recorder.respond_with(contacts("a", "b", page=1, pages=2), contacts("c", page=2, pages=2))
    assert [contact.uuid for contact in await callbell.contacts.list().to_list()] == ["a", "b", "c"]
    assert len(recorder.requests) == 2
    for limit, names in [(1, "a"), (2, "ab"), (3, "abc"), (9, "abc")]:
        recorder.requests.clear()
        recorder.respond_with(contacts("a", "b", page=1, pages=2), contacts("c", page=2, pages=2))
        assert [contact.uuid for contact in await callbell.contacts.list().to_list(limit=limit)] == list(names)
        assert len(recorder.requests) == (1 if limit < 3 else 2)


async def test_the_first_item(api: tuple[CallbellClient, Recorder]) -> None:
    """`first` gives the first item, of the second page if the first page is empty, and `None` for an empty list."""
    callbell, recorder = api
    recorder.respond_with(contacts("a", "b", page=1, pages=2))
    assert await callbell.contacts.list().first() == Contact(uuid="a")
    recorder.respond_with(contacts(page=1, pages=2), contacts("b", page=2, pages=2))
    assert await callbell.contacts.list().first() == Contact(uuid="b")
    recorder.respond_with(contacts(page=1, pages=1))
    assert await callbell.contacts.list().first() is None


@pytest.mark.parametrize("limit", [0, -1, True, 2.5, "3"])
async def test_a_limit_is_a_whole_number(api: tuple[CallbellClient, Recorder], limit: Any) -> None:
    """A limit of no items, or one that is not a number of items, is refused before any request."""
    callbell, recorder = api
    with pytest.raises(ConfigurationError, match=r"^limit="):
        await callbell.contacts.list().to_list(limit=limit)
    assert not recorder.requests


# --- whatever comes ---------------------------------------------------------------------------------------------------

PAGES = st.builds(
    lambda items, number, pages, cursor, has_cursor: Page(
        items=tuple(items),
        number=number,
        total_pages=pages,
        cursor=cursor,
        has_cursor=has_cursor or cursor is not None,
        raw={"items": items, "number": number, "cursor": cursor},
    ),
    st.lists(st.integers(0, 3), max_size=2),
    st.none() | st.integers(-1, 4),
    st.none() | st.integers(-1, 6),
    st.none() | st.sampled_from(["a", "b", "c"]),
    st.booleans(),
)


@quick
@given(responses=st.lists(PAGES, min_size=1, max_size=4), single=st.booleans())
def test_a_list_ends_whatever_the_server_responds(responses: list[Page[int]], single: bool) -> None:
    """A server that repeats the same few pages for ever gets a bounded number of requests."""
    pager = Pager({"tags": ["x"]}, is_single_page=single)
    asked = 0
    try:
        while pager.query is not None:
            assert pager.query["tags"] == ["x"]
            pager.advance(responses[asked % len(responses)])
            asked += 1
            assert asked < 100
    except PaginationError:
        pass
