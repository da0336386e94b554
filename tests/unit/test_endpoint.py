import json
import logging
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import repeatable

from soulwatch import (
    WHOLE_BODY,
    Account,
    Api,
    Cursor,
    Endpoint,
    Identity,
    LinkHeader,
    NextLink,
    OAuth2,
    Offset,
    PageToken,
    Platform,
    Since,
    UnexpectedAnswer,
)

URL = "https://api.example/things"
PLATFORM = Platform(
    "example",
    "Example",
    OAuth2("https://auth.example/a", "https://auth.example/t"),
    ("api.example",),
    Identity("https://api.example/me"),
    headers={"X-Version": "7"},
)
THINGS = Endpoint("things", URL, paging=NextLink())


class Site:
    """A platform whose answers are told by address, and which remembers what it was asked."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def __call__(self, request):
        self.asked.append(request)
        answer = self.answers(request) if callable(self.answers) else self.answers[str(request.url)]
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    @property
    def urls(self):
        return [str(request.url) for request in self.asked]

    def api(self):
        async def access_token(refused):
            return "access"

        http = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return Api(PLATFORM, Account("7/x", "ada b"), http, access_token)

    async def read(self, endpoint, cursor=Cursor()):  # noqa: B008  - a frozen value
        return [page async for page in endpoint.pages(self.api(), cursor)]

    async def read_until_refused(self, endpoint, cursor=Cursor()):  # noqa: B008  - a frozen value
        pages = []
        try:
            async for page in endpoint.pages(self.api(), cursor):
                pages.append(page)  # noqa: PERF401  - what came before the error is wanted
        except UnexpectedAnswer as refused:
            return pages, str(refused)
        pytest.fail(f"nothing was refused in {len(pages)} pages")


def keys(pages):
    return [[item.key for item in page.items] for page in pages]


async def test_pages_are_read_to_the_end():
    site = Site({URL: {"items": [{"id": 1}, {"id": "b"}], "next": "?p=2"}, f"{URL}?p=2": {"items": [{"id": 3}]}})
    pages = await site.read(THINGS)

    assert keys(pages) == [["1", "b"], ["3"]]
    assert [page.is_last for page in pages] == [False, True]
    assert [json.loads(item.raw) for page in pages for item in page.items] == [{"id": 1}, {"id": "b"}, {"id": 3}]


async def test_a_request_carries_the_platforms_headers_the_endpoints_and_its_parameters():
    site = Site(lambda _: {"items": []})
    url = "https://api.example/u/{account_id}/{account_name}?fixed=1"
    await site.read(Endpoint("things", url, params={"limit": "5"}, headers={"X-More": "yes"}))

    assert site.urls == ["https://api.example/u/7%2Fx/ada%20b?fixed=1&limit=5"]
    sent = site.asked[0].headers
    assert (sent["x-version"], sent["x-more"], sent["authorization"]) == ("7", "yes", "Bearer access")


@pytest.mark.parametrize(
    ("items", "body"),
    [
        ("items", {"items": "another shape"}),
        ("items", {"items": {"1": {"id": 1}}}),
        ("items", {"items": None}),
        ("items", {"error": "what?"}),
        ("items", []),
        ("items", None),
        ("items", "items"),
        ("", {"items": []}),
        ("data.list", {"data": [{"id": 1}]}),
    ],
)
async def test_a_page_that_is_no_list_is_named_with_what_was_expected(items, body):
    site = Site(lambda _: httpx.Response(200, content=json.dumps(body)))
    pages, said = await site.read_until_refused(Endpoint("things", URL, items=items))

    assert pages == []
    assert said.startswith(f"things: expected a list at {items or 'the top'!r}, got ")
    assert "update the connector" in said


async def test_a_page_that_is_no_json_is_named_with_where_it_came_from():
    site = Site(lambda _: httpx.Response(200, html="<p>Welcome to the hotel"))
    _, said = await site.read_until_refused(replace(THINGS, params={"since": "yesterday"}))

    assert said.startswith("https://api.example/things answered no JSON (text/html")
    assert "yesterday" not in said


@pytest.mark.fault("F28")
async def test_a_page_that_asks_for_itself_is_read_once():
    site = Site(lambda request: {"items": [{"id": 1}], "next": str(request.url)})
    pages, said = await site.read_until_refused(THINGS)

    assert keys(pages) == [["1"]]
    assert said.startswith("things: paging does not end")
    assert site.urls == [URL]


@pytest.mark.fault("F28")
async def test_two_pages_that_ask_for_each_other_are_read_once():
    site = Site({URL: {"items": [{"id": 1}], "next": "?p=2"}, f"{URL}?p=2": {"items": [{"id": 2}], "next": URL}})
    pages, said = await site.read_until_refused(THINGS)

    assert keys(pages) == [["1"], ["2"]]
    assert "does not end" in said
    assert len(site.asked) == 2


@pytest.mark.fault("F28")
async def test_a_list_without_end_is_left_at_some_point():
    site = Site(lambda request: {"items": [{"id": 1}], "next": f"?p={int(request.url.params.get('p', '1')) + 1}"})
    pages, said = await site.read_until_refused(replace(THINGS, max_pages=5))

    assert len(pages) == len(site.asked) == 5
    assert "more than 5" in said


async def test_a_list_of_just_the_most_pages_is_whole():
    def answer(request):
        page = int(request.url.params.get("p", "1"))
        return {"items": [{"id": page}], "next": f"?p={page + 1}" if page < 5 else None}

    assert len(await Site(answer).read(replace(THINGS, max_pages=5))) == 5


@pytest.mark.fault("F28")
@repeatable
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
async def test_whatever_a_platform_links_to_the_reading_ends(links):
    def answer(request):
        page = int(request.url.params.get("p", "0"))
        return {"items": [{"id": page}], "next": f"?p={links[page % len(links)]}"}

    site = Site(answer)
    await site.read_until_refused(THINGS)
    assert len(site.urls) == len(set(site.urls)) <= 6


async def test_a_page_is_kept_though_its_next_link_is_no_address():
    site = Site(lambda _: {"items": [{"id": 1}], "next": "http://a:b"})
    pages, said = await site.read_until_refused(THINGS)

    assert keys(pages) == [["1"]]
    assert not pages[0].is_last
    assert "no address" in said


@pytest.mark.fault("F28")
async def test_an_empty_page_that_has_a_next_one_is_not_the_end():
    site = Site({URL: {"items": [], "next": "?p=2"}, f"{URL}?p=2": {"items": [{"id": 2}]}})

    assert keys(await site.read(THINGS)) == [[], ["2"]]


async def test_pages_may_be_linked_by_header_token_or_offset():
    def linked(request):
        headers = {} if request.url.params else {"link": f'<{URL}?p=2>; rel="next"'}
        return httpx.Response(200, json=[{"id": str(request.url.params)}], headers=headers)

    def tokened(request):
        return {"items": [{"id": 1}], **({} if "pageToken" in request.url.params else {"nextPageToken": "t"})}

    def counted(request):
        return {"items": [{"id": 1}] * (2 if "offset" not in request.url.params else 1)}

    for site, paging, items in [
        (Site(linked), LinkHeader(), ""),
        (Site(tokened), PageToken(), "items"),
        (Site(counted), Offset(2), "items"),
    ]:
        assert len(await site.read(Endpoint("things", URL, items=items, paging=paging))) == 2


async def test_one_odd_item_is_kept_by_its_content_and_stops_nobody(caplog):
    odd = [{"name": "no id"}, {"id": None}, "a text", None, 7, ["id"]]
    site = Site(lambda _: {"items": [{"id": 1}, *odd, {"id": 2}]})
    with caplog.at_level(logging.WARNING):
        [page] = await site.read(THINGS)

    assert len(page.items) == 8
    assert (page.items[0].key, page.items[-1].key) == ("1", "2")
    strange = [item.key for item in page.items[1:-1]]
    assert all(key.startswith("content:") for key in strange)
    assert len(set(strange)) == 6
    assert [json.loads(item.raw) for item in page.items[1:-1]] == odd
    assert "things: an item without id is kept by its content" in caplog.text
    assert "no id" not in caplog.text


async def test_the_same_odd_item_has_the_same_key_again():
    first = await Site(lambda _: {"items": [{"id": 1}, {"b": 1, "a": 2}]}).read(THINGS)
    again = await Site(lambda _: {"items": [{"id": 1}, {"a": 2, "b": 1}]}).read(THINGS)

    assert keys(first) == keys(again)


async def test_where_no_item_has_its_key_the_shape_has_changed():
    site = Site(lambda _: {"items": [{"uuid": 1}, {"uuid": 2}]})
    _, said = await site.read_until_refused(THINGS)

    assert said.startswith("things: no item has the key id")


async def test_a_key_of_several_fields_tells_items_apart():
    plays = [
        {"at": "a|b", "track": {"uri": "c"}},
        {"at": "a", "track": {"uri": "b|c"}},
        {"at": "a", "track": {"uri": "b"}},
        {"at": "a\\", "track": {"uri": "b"}},
        {"at": "a", "track": {}},
    ]
    endpoint = Endpoint("plays", URL, key=("at", "track.uri"))
    [page] = await Site(lambda _: {"items": plays}).read(endpoint)

    assert len({item.key for item in page.items}) == 5
    assert page.items[2].key == "a|b"
    assert page.items[4].key.startswith("content:")


async def test_an_id_is_the_same_as_a_number_and_as_a_text():
    assert keys(await Site(lambda _: {"items": [{"id": 12}, {"id": "12"}]}).read(THINGS)) == [["12", "12"]]


@pytest.mark.parametrize("answer", [httpx.Response(204), httpx.Response(200), httpx.Response(200, content=b" \n")])
async def test_nothing_to_say_is_an_empty_last_page_and_the_cursor_stays(answer):
    cursor = Cursor("p-1", "etag-1")
    for endpoint in (THINGS, Endpoint("state", URL, items=WHOLE_BODY)):
        [page] = await Site(lambda _: answer).read(endpoint, cursor)
        assert (page.items, page.cursor, page.is_last) == ((), cursor, True)


async def test_nothing_new_is_an_empty_last_page_and_the_cursor_stays():
    site = Site(lambda _: httpx.Response(304))
    [page] = await site.read(replace(THINGS, conditional=True), Cursor("p-1", 'W/"1"'))

    assert (page.items, page.cursor, page.is_last) == ((), Cursor("p-1", 'W/"1"'), True)
    assert site.asked[0].headers["if-none-match"] == 'W/"1"'


async def test_an_etag_is_sent_for_the_first_page_alone_and_only_where_the_platform_knows_it():
    def answer(request):
        if request.url.params:
            return httpx.Response(200, json={"items": [{"id": 2}]}, headers={"etag": "second"})
        return httpx.Response(200, json={"items": [{"id": 1}], "next": "?p=2"}, headers={"etag": "first"})

    site = Site(answer)
    pages = await site.read(replace(THINGS, conditional=True), Cursor(None, "before"))
    assert [request.headers.get("if-none-match") for request in site.asked] == ["before", None]
    assert [page.cursor for page in pages] == [Cursor(None, "first")] * 2

    site = Site(answer)
    await site.read(THINGS, Cursor(None, "before"))
    assert [request.headers.get("if-none-match") for request in site.asked] == [None, None]


async def test_the_first_page_says_where_the_next_poll_starts():
    endpoint = replace(THINGS, since=Since("after", at="cursors.after"))
    site = Site(
        lambda request: {
            "items": [{"id": 1}],
            "next": None if "p" in request.url.params else "?p=2",
            "cursors": {"after": 40 if "p" in request.url.params else 50},
        }
    )
    pages = await site.read(endpoint, Cursor("30"))

    assert site.urls == [f"{URL}?after=30", f"{URL}?p=2"]
    assert [page.cursor.position for page in pages] == ["50", "50"]


@pytest.mark.parametrize(
    "body",
    [
        {"items": []},
        {"items": [], "cursors": None},
        {"items": [], "cursors": {"after": None}},
        {"items": [], "cursors": {"after": ""}},
        {"items": [], "cursors": {"after": {"moved": 1}}},
        {"items": [], "cursors": {"after": [1]}},
        {"items": [], "cursors": {"after": True}},
        {"items": [], "cursors": "after"},
    ],
)
async def test_a_platform_that_names_no_place_leaves_us_at_ours(body):
    endpoint = replace(THINGS, since=Since("after", at="cursors.after"))

    [page] = await Site(lambda _: body).read(endpoint, Cursor("30"))
    assert page.cursor.position == "30"
    [page] = await Site(lambda _: body).read(endpoint)
    assert page.cursor.position is None


async def test_a_state_is_one_item_that_changes():
    endpoint = Endpoint("playing", URL, items=WHOLE_BODY, volatile=("progress",))
    [one] = await Site(lambda _: httpx.Response(200, content=b'{ "track": 1, "progress": 5}')).read(endpoint)
    [later] = await Site(lambda _: {"track": 1, "progress": 9}).read(endpoint)
    [other] = await Site(lambda _: {"track": 2, "progress": 9}).read(endpoint)

    assert [page.items[0].key for page in (one, later, other)] == ["playing"] * 3
    assert one.items[0].raw == b'{ "track": 1, "progress": 5}'
    assert one.items[0].digest == later.items[0].digest != other.items[0].digest


async def test_a_state_with_half_a_character_is_stored_as_json_that_everybody_reads():
    endpoint = Endpoint("playing", URL, items=WHOLE_BODY)
    [page] = await Site(lambda _: httpx.Response(200, content=rb'{"title": "cut \ud83d"}')).read(endpoint)

    assert page.items[0].raw == b'{"title":"cut ?"}'


@pytest.mark.parametrize(
    ("said", "wait"),
    [
        ("60", timedelta(seconds=60)),
        ("0", timedelta(0)),
        ("1.5", timedelta(seconds=1.5)),
        ("", None),
        ("soon", None),
        ("9" * 30, timedelta(days=31)),
        ("9" * 5000, None),
    ],
)
async def test_the_wait_a_platform_asks_for_is_told(said, wait):
    site = Site(lambda _: httpx.Response(200, json={"items": []}, headers={"x-poll-interval": said}))
    [page] = await site.read(replace(THINGS, poll_interval_header="X-Poll-Interval"))

    assert page.wait == wait


@pytest.mark.parametrize(("total", "told"), [(250, 250), ("250", None), (True, None), (None, None)])
async def test_how_much_there_is_is_told_where_the_platform_says_it(total, told):
    [page] = await Site(lambda _: {"items": [], "total": total}).read(THINGS)

    assert page.total == told
