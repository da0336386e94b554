import contextlib
import gzip
import ssl
import time
import tracemalloc
import zlib

import anyio
import httpx
import pytest
from cryptography import x509
from hypothesis import example, given
from hypothesis import strategies as st
from support.authority import HERE, Authority
from support.bare import Server, answer, chunked
from support.examples import repeatable

from soulwatch import Identity, Misconfigured, OAuth2, Platform, UnexpectedAnswer
from soulwatch.host.outbound import Addresses, Outbound, client_over, open_way, trust

MIB = 1024 * 1024
GITHUB = Platform(
    "github",
    "GitHub",
    OAuth2(
        "https://github.com/login/oauth/authorize",
        "https://github.com/login/oauth/access_token",
        "https://api.github.com/applications/x/token",
    ),
    ("api.github.com",),
    Identity("https://api.github.com/user"),
)
ONE_HOST = Platform(
    "one",
    "One",
    OAuth2("https://one.example/oauth/a", "https://one.example/oauth/t"),
    ("one.example",),
    Identity("https://one.example/me"),
)


@contextlib.asynccontextmanager
async def way_to(server, context=None, **limits):
    """A client whose platform is at `server`."""
    found = open_way(Addresses.of(ONE_HOST, server.url, server.url), context or ssl.create_default_context(), 4)
    way = Outbound(found.addresses, found._inner, **limits)
    async with client_over(way) as http:
        yield http


@pytest.mark.fault("F12", how="real")
async def test_a_connection_is_used_again_at_once_but_not_after_it_was_idle_so_long_that_the_platform_may_close_it():
    async with Server(answer(), keeps_open=True) as server, way_to(server) as http:
        for _ in range(3):
            await http.get("https://one.example/")
        assert server.visits == 1
        await anyio.sleep(1.5)
        await http.get("https://one.example/")
        assert server.visits == 2
        assert len(server.asked) == 4


# Where a request goes


def test_a_platform_is_asked_where_it_says_it_is():
    addresses = Addresses.of(GITHUB, None, None)

    for url in ("https://api.github.com/user?a=1", "https://github.com/login/oauth/access_token"):
        assert addresses.locate(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "http://api.github.com/user",
        "https://api.github.com.evil.example/",
        "https://api.github.com./user",
        "https://api.github.com:8443/user",
        "https://api.github.com@evil.example/",
        "https://api.github.com%5C@evil.example/",
        "https://evil@api.github.com/",
        "https://www.github.com/",
        "//api.github.com/user",
        "/user",
        "ftp://api.github.com/",
        "file:///etc/passwd",
        "",
    ],
)
def test_no_other_host_is_asked(url):
    with pytest.raises(UnexpectedAnswer, match="none of the platform's hosts"):
        Addresses.of(GITHUB, None, None).locate(url)


@pytest.mark.fault("F26")
@repeatable
@given(
    st.text()
    | st.from_regex(r"\Ahttps?:/?/?[\w.@:%\\#?/\[\]-]{0,30}(api\.github\.com)[\w.@:%\\#?/\[\]-]{0,30}\Z")
    | st.builds("https://{}{}{}".format, st.text(max_size=3), st.just("api.github.com"), st.text(max_size=3))
)
@example("https://api.github.com\\@evil.example/")
@example("https://api.github.com\t.evil.example/")
@example("https://api.github.com%2eevil.example/")
def test_whatever_is_let_through_goes_to_one_of_the_platforms_hosts(text):
    try:
        url = httpx.URL(text)
        found = Addresses.of(GITHUB, None, None).locate(str(url))
    except (httpx.InvalidURL, UnexpectedAnswer, ValueError):
        return
    assert (httpx.URL(found).scheme, httpx.URL(found).host) in (("https", "api.github.com"), ("https", "github.com"))
    assert httpx.URL(found).port is None


@pytest.mark.fault("F26")
async def test_a_foreign_host_is_refused_before_anything_is_sent():
    async with Server(answer()) as server, way_to(server) as http, Server(answer()) as foreign:
        with pytest.raises(UnexpectedAnswer):
            await http.get(f"{foreign.url}/?token=1", headers={"Authorization": "Bearer access"})
        assert foreign.asked == []


@pytest.mark.parametrize(
    ("api_url", "oauth_url", "url", "found"),
    [
        (
            "https://ghe.example/api/v3",
            None,
            "https://api.github.com/user?a=1#b",
            "https://ghe.example/api/v3/user?a=1#b",
        ),
        ("https://ghe.example/api/v3/", None, "https://api.github.com/user", "https://ghe.example/api/v3/user"),
        ("http://127.0.0.1:9", None, "https://api.github.com?a=1", "http://127.0.0.1:9?a=1"),
        ("http://127.0.0.1:9", None, "https://API.github.com/User", "http://127.0.0.1:9/User"),
        ("https://ghe.example/api/v3", None, GITHUB.oauth.token_url, GITHUB.oauth.token_url),
        (None, "https://ghe.example", GITHUB.oauth.token_url, "https://ghe.example/login/oauth/access_token"),
        (None, "https://ghe.example", "https://api.github.com/user", "https://api.github.com/user"),
        ("https://a.example/v3", "https://b.example", "https://api.github.com/user", "https://a.example/v3/user"),
        (
            "https://a.example/v3",
            "https://b.example",
            GITHUB.oauth.revoke_url,
            "https://a.example/v3/applications/x/token",
        ),
    ],
)
def test_an_operators_address_takes_the_place_of_a_platforms(api_url, oauth_url, url, found):
    addresses = Addresses.of(GITHUB, api_url, oauth_url)

    assert addresses.locate(url) == found
    assert addresses.named(url) == found
    # What comes back from there, such as a link to the next page, is asked there.
    assert addresses.locate(found) == found


def test_a_platform_of_one_host_moves_as_one():
    addresses = Addresses.of(ONE_HOST, "http://127.0.0.1:9/x", "http://127.0.0.1:9/x")

    assert addresses.locate("https://one.example/me") == "http://127.0.0.1:9/x/me"
    assert addresses.locate(ONE_HOST.oauth.token_url) == "http://127.0.0.1:9/x/oauth/t"


async def test_a_moved_request_names_the_host_it_goes_to_and_keeps_its_body():
    async with Server(answer()) as server, way_to(server) as http:
        response = await http.post("https://one.example/oauth/t?x=1", data={"a": "b"}, headers={"X-More": "yes"})

    head = server.asked[0].lower()
    assert head.startswith("post /oauth/t?x=1 ")
    assert f"host: {server.url.removeprefix('http://')}\r\n" in head
    assert head.count("host:") == 1
    assert "x-more: yes" in head
    assert "content-length: 3" in head
    # The platform's own name stays that of the request, so that links are joined to it.
    assert str(response.url) == "https://one.example/oauth/t?x=1"


@pytest.mark.fault("F26")
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed(status):
    async with Server(answer()) as sink, Server(answer(status=status, location=f"{sink.url}/steal")) as server:
        async with way_to(server) as http:
            response = await http.post("https://one.example/oauth/t", data={"refresh_token": "secret"})
        assert response.status_code == int(status[:3])
        assert sink.asked == []
        assert len(server.asked) == 1


async def test_what_one_connection_is_given_to_keep_is_not_sent_for_another():
    async with Server(answer(set_cookie="session=ada; Path=/")) as server, way_to(server) as http:
        assert "set-cookie" not in (await http.get("https://one.example/me")).headers
        await http.get("https://one.example/me")

    assert "cookie" not in server.asked[1].lower()


# How much comes back


async def test_a_packed_answer_is_unpacked():
    body = gzip.compress(b'{"a": 1}')
    async with Server(answer(body, content_encoding="gzip")) as server, way_to(server) as http:
        response = await http.get("https://one.example/me")

    assert response.json() == {"a": 1}
    assert "content-encoding" not in response.headers
    assert "accept-encoding: gzip\r\n" in server.asked[0].lower()


@pytest.mark.parametrize("size", [1000, 1001])
async def test_an_answer_may_be_as_large_as_is_allowed_and_no_larger(size):
    async with Server(answer(b"a" * size)) as server, way_to(server, largest=1000) as http:
        if size == 1000:
            assert len((await http.get("https://one.example/me")).content) == size
        else:
            with pytest.raises(UnexpectedAnswer, match="larger than 1,000 bytes"):
                await http.get("https://one.example/me")


@pytest.mark.parametrize("size", [1000, 1001])
async def test_what_counts_is_the_size_unpacked(size):
    body = gzip.compress(b"a" * size)
    async with Server(answer(body, content_encoding="gzip")) as server, way_to(server, largest=1000) as http:
        if size == 1000:
            assert len((await http.get("https://one.example/me")).content) == size
        else:
            with pytest.raises(UnexpectedAnswer, match="larger"):
                await http.get("https://one.example/me")


@pytest.mark.fault("F25")
async def test_a_gzip_bomb_does_not_go_off():
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([*(packer.compress(bytes(MIB)) for _ in range(100)), packer.flush()])
    async with Server(answer(bomb, content_encoding="gzip")) as server, way_to(server, largest=MIB) as http:
        tracemalloc.start()
        with pytest.raises(UnexpectedAnswer, match="larger"):
            await http.get("https://one.example/me")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert len(bomb) < 200_000
    assert most < 8 * MIB


@pytest.mark.fault("F25")
async def test_an_answer_that_does_not_end_is_left():
    pieces = chunked(b"a" * 65536 for _ in range(10_000))
    async with Server(*pieces) as server, way_to(server, largest=MIB) as http:
        with pytest.raises(UnexpectedAnswer, match="larger"):
            await http.get("https://one.example/me")


@pytest.mark.fault("F25")
@pytest.mark.parametrize(
    "filler",
    [
        pytest.param(b"\x00\x00\x00\xff\xff" * 13_107, id="blocks of nothing"),
        pytest.param(b"a" * 65536, id="behind its end"),
    ],
)
async def test_a_packed_answer_that_never_grows_is_left_too(filler):
    packer = zlib.compressobj(wbits=31)
    head = packer.compress(b"{}") + packer.flush(zlib.Z_FULL_FLUSH)
    if filler.startswith(b"a"):
        head += packer.flush()
    pieces = chunked([head, *[filler] * 100], content_encoding="gzip")
    async with Server(*pieces) as server, way_to(server, largest=MIB) as http:
        with pytest.raises(UnexpectedAnswer, match="larger"):
            await http.get("https://one.example/me")


@pytest.mark.parametrize(
    "body",
    [b"not packed at all", gzip.compress(b'{"a": 1}')[:-9], gzip.compress(b"a")[:5]],
    ids=["not packed at all", "without its end", "a beginning"],
)
async def test_a_packed_answer_that_cannot_be_unpacked_is_a_broken_one(body):
    async with Server(answer(body, content_encoding="gzip")) as server, way_to(server) as http:
        with pytest.raises(httpx.DecodingError):
            await http.get("https://one.example/me")


async def test_nothing_packed_is_nothing():
    nothing = answer(b"", status="304 Not Modified", content_encoding="gzip")
    async with Server(nothing) as server, way_to(server) as http:
        assert (await http.get("https://one.example/me")).content == b""


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "nonsense"])
async def test_an_encoding_nobody_asked_for_is_refused(encoding):
    async with Server(answer(b"{}", content_encoding=encoding)) as server, way_to(server) as http:
        with pytest.raises(UnexpectedAnswer, match="not asked for"):
            await http.get("https://one.example/me")


# How long it takes


@pytest.mark.fault("F24")
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"HTTP/1.1 200 OK\r\n", *[b"x-slow: 1\r\n"] * 100], id="headers"),
        pytest.param([b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", *[b"a"] * 100], id="body"),
    ],
)
async def test_an_answer_that_drips_is_not_waited_for(pieces):
    async with Server(*pieces, pause=0.05) as server, way_to(server, timeout_s=0.2) as http:
        began = time.monotonic()
        with pytest.raises(httpx.ReadTimeout, match="No whole answer"):
            await http.get("https://one.example/me")
        assert time.monotonic() - began < 2


@pytest.mark.fault("F24")
async def test_a_way_is_free_again_after_an_answer_that_was_not_waited_for():
    async with Server(answer()) as server, way_to(server) as http:
        slow = Outbound(http._transport.addresses, http._transport._inner, timeout_s=0)
        for _ in range(8):  # twice as many as there are connections
            with pytest.raises(httpx.TimeoutException):
                await slow.handle_async_request(httpx.Request("GET", "https://one.example/me"))
        assert (await http.get("https://one.example/me")).status_code == 200


@pytest.mark.fault("F12", how="real")
async def test_a_host_that_is_not_there_is_told_apart_by_its_error():
    async with Server(answer()) as gone:
        pass
    async with way_to(gone) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("https://one.example/me")


@pytest.mark.parametrize(
    "pieces", [[], [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"], [b"SSH-2.0-OpenSSH\r\n\r\n"]]
)
async def test_an_answer_that_breaks_off_is_a_transports_error(pieces):
    async with Server(*pieces) as server, way_to(server) as http:
        with pytest.raises(httpx.TransportError):
            await http.get("https://one.example/me")


# Who is believed


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


async def test_an_authority_of_the_operators_own_is_believed(authority):
    context = authority.context(HERE)
    async with Server(answer(), context=context) as server, way_to(server, trust(authority.file)) as http:
        assert (await http.get("https://one.example/me")).status_code == 200


@pytest.mark.fault("F13", how="real")
@pytest.mark.parametrize(
    ("alt", "days", "is_known", "why"),
    [
        pytest.param(HERE, 1, False, "certificate", id="an authority nobody knows"),
        pytest.param(x509.DNSName("elsewhere.example"), 1, True, "certificate", id="another host"),
        pytest.param(HERE, -1, True, "expired", id="one whose time is over"),
    ],
)
async def test_a_certificate_that_is_not_right_is_not_spoken_to(authority, alt, days, is_known, why):
    async with Server(answer(), context=authority.context(alt, days=days)) as server:
        async with way_to(server, trust(authority.file if is_known else None)) as http:
            with pytest.raises(httpx.ConnectError, match=why):
                await http.post("https://one.example/oauth/t", data={"refresh_token": "secret"})
        assert server.asked == []


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_file_that_cannot_be_read_is_the_operators_to_mend(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Misconfigured, match=r"ca\.pem cannot be read"):
        trust(path)
