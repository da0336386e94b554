import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import repeatable

from soulwatch import Answer, LinkHeader, NextLink, Offset, OnePage, PageToken, UnexpectedAnswer

HERE = "https://api.example/v1/things?limit=2&filter=a%20b"


def answer(url=HERE, **headers):
    return Answer(url, 200, httpx.Headers(headers), b"{}")


def test_one_page_is_all():
    here = answer(link='<https://api.example/2>; rel="next"')

    assert OnePage().next(here, {"next": "https://api.example/2"}, 9) is None


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("https://api.example/v1/things?page=2", "https://api.example/v1/things?page=2"),
        ("/v1/things?page=2", "https://api.example/v1/things?page=2"),
        ("?page=2", "https://api.example/v1/things?page=2"),
        ("more", "https://api.example/v1/more"),
        (None, None),
        ("", None),
        (False, None),
    ],
)
def test_a_next_link_is_taken_from_the_body(link, url):
    assert NextLink("paging.next").next(answer(), {"paging": {"next": link}}, 2) == url


@pytest.mark.parametrize("value", [{}, [], None, {"paging": None}, {"paging": []}])
def test_no_link_is_the_end(value):
    assert NextLink("paging.next").next(answer(), value, 2) is None


@pytest.mark.parametrize("link", [True, 7, {"href": "/2"}, ["/2"]])
def test_a_link_of_another_shape_is_not_taken_for_the_end(link):
    with pytest.raises(UnexpectedAnswer):
        NextLink().next(answer(), {"next": link}, 2)


@pytest.mark.parametrize("link", ["http://a:b", "https://x\x00y/", "http://\ud800/", "a" * 70_000])
def test_a_link_that_is_no_address_is_named(link):
    with pytest.raises(UnexpectedAnswer, match="no address"):
        NextLink().next(answer(), {"next": link}, 2)


@pytest.mark.parametrize(
    ("header", "url"),
    [
        ('<https://api.example/2>; rel="next"', "https://api.example/2"),
        ("<https://api.example/2>; rel=next", "https://api.example/2"),
        ('</2?a=1,2&b=3>; rel="next"', "https://api.example/2?a=1,2&b=3"),
        ('<https://api.example/2;v=1>; rel="next"', "https://api.example/2;v=1"),
        ('<https://api.example/9>; rel="last", <https://api.example/2>; rel="next"', "https://api.example/2"),
        ('<https://api.example/2>; title="a, b; rel=last"; rel="next"', "https://api.example/2"),
        ('<https://api.example/2>; rel="last next"', "https://api.example/2"),
        ('<https://api.example/2> ; REL="Next"', "https://api.example/2"),
        ('<https://api.example/1>; rel="prev"', None),
        ('<https://api.example/1>; title="next"', None),
        ('<https://api.example/1>; xrel="next"', None),
        ("", None),
        ("<", None),
        ("nonsense", None),
        ("<https://api.example/2>", None),
    ],
)
def test_a_link_header_names_the_next_page(header, url):
    assert LinkHeader().next(answer(link=header), [], 2) == url


def test_no_link_header_is_the_end():
    assert LinkHeader().next(answer(), [], 2) is None


PIECES = ["<", ">", "https://x.example/2", "../2", "; ", "rel=", "next", '"', ", ", "=", "title"]


@repeatable
@given(st.text(st.characters(max_codepoint=255)) | st.lists(st.sampled_from(PIECES), max_size=16).map("".join))
def test_no_link_header_breaks_the_reading(header):
    try:
        url = LinkHeader().next(answer(link=header.encode("latin-1", "replace")), [], 2)
    except UnexpectedAnswer:
        return
    assert url is None or httpx.URL(url).scheme


def test_a_page_token_is_sent_as_a_parameter_beside_the_others():
    url = PageToken("page.token", "pageToken").next(answer(), {"page": {"token": "a b&c"}}, 2)

    assert dict(httpx.URL(url).params) == {"limit": "2", "filter": "a b", "pageToken": "a b&c"}


def test_a_page_token_takes_the_place_of_the_one_before():
    url = PageToken().next(answer(f"{HERE}&pageToken=1"), {"nextPageToken": 2}, 2)

    assert httpx.URL(url).params.get_list("pageToken") == ["2"]


@pytest.mark.parametrize("value", [{}, {"nextPageToken": None}, {"nextPageToken": ""}, []])
def test_no_page_token_is_the_end(value):
    assert PageToken().next(answer(), value, 2) is None


@pytest.mark.parametrize("token", [{"a": 1}, [1], True])
def test_a_page_token_of_another_shape_is_not_sent(token):
    with pytest.raises(UnexpectedAnswer):
        PageToken().next(answer(), {"nextPageToken": token}, 2)


def test_an_offset_counts_what_was_read_and_a_short_page_is_the_last():
    paging = Offset(limit=2, param="start")

    second = paging.next(answer(), [], 2)
    assert httpx.URL(second).params["start"] == "2"
    assert httpx.URL(paging.next(answer(second), [], 2)).params.get_list("start") == ["4"]
    assert paging.next(answer(second), [], 1) is None
    assert paging.next(answer(second), [], 0) is None
