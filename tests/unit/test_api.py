from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from soulwatch import (
    Account,
    Api,
    CursorExpired,
    Identity,
    Misconfigured,
    NeedsReauth,
    OAuth2,
    Platform,
    PlatformError,
    RateLimited,
    Unavailable,
    UnexpectedAnswer,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
URL = "https://api.example/things"
SECONDARY = "You have exceeded a secondary rate limit."
PLATFORM = Platform(
    "example",
    "Example",
    OAuth2("https://auth.example/a", "https://auth.example/t"),
    ("api.example",),
    Identity("https://api.example/me"),
    headers={"X-Version": "7"},
    limit_reasons=("rateLimitExceeded", SECONDARY),
    client_limit_reasons=("QUOTA_EXCEEDED", "dailyLimitExceeded"),
)


class Site:
    """Answers in turn, the last one for ever, and remembers what it was asked; tokens count up when refused."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.refused = []
        self.api = Api(
            PLATFORM,
            Account("7", "ada"),
            httpx.AsyncClient(transport=httpx.MockTransport(self)),
            self.access_token,
            lambda: NOW,
        )

    def __call__(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def access_token(self, refused):
        self.refused.append(refused)
        return f"access-{len(self.refused)}"

    async def refusal(self, url=URL):
        with pytest.raises(PlatformError) as caught:
            await self.api.get(url)
        return caught.value


def said(status, body=None, **headers):
    return httpx.Response(status, json=body if body is not None else {}, headers=headers)


async def test_a_request_is_signed_and_its_answer_handed_on():
    site = Site(httpx.Response(200, json={"a": 1}, headers={"etag": "1"}))
    answer = await site.api.get(URL, params={"q": "x y"}, headers={"X-More": "yes"}, etag='W/"0"')

    assert (answer.url, answer.status, answer.headers["etag"]) == (f"{URL}?q=x+y", 200, "1")
    assert answer.value() == {"a": 1}
    sent = site.asked[0].headers
    assert sent["authorization"] == "Bearer access-1"
    assert (sent["x-version"], sent["x-more"], sent["if-none-match"]) == ("7", "yes", 'W/"0"')


async def test_an_answer_does_not_show_what_it_holds():
    assert "secret" not in repr(await Site(httpx.Response(200, json="secret")).api.get(URL))


@pytest.mark.parametrize(
    ("response", "unchanged", "empty"),
    [
        (httpx.Response(304), True, True),
        (httpx.Response(204), False, True),
        (httpx.Response(200, content=b" \r\n"), False, True),
        (httpx.Response(200, content=b"[]"), False, False),
    ],
)
async def test_answers_may_say_nothing(response, unchanged, empty):
    answer = await Site(response).api.get(URL)

    assert (answer.is_unchanged, answer.is_empty) == (unchanged, empty)


@pytest.mark.parametrize("body", [b"<p>hotel", b'{"half', b"\xff", b"[" * 100_000])
async def test_an_answer_that_is_no_json_says_where_from_and_nothing_of_its_query(body):
    answer = await Site(httpx.Response(200, content=body)).api.get(f"{URL}?q=personal")
    with pytest.raises(UnexpectedAnswer, match=r"^https://api\.example/things answered no JSON") as caught:
        answer.value()

    assert "personal" not in str(caught.value)


async def test_a_refused_token_is_tried_again_newer_once():
    site = Site(said(401), said(200, [1]))
    assert (await site.api.get(URL)).value() == [1]
    assert site.refused == [None, "access-1"]
    assert [request.headers["authorization"] for request in site.asked] == ["Bearer access-1", "Bearer access-2"]

    site = Site(said(401, {"message": "Bad credentials"}))
    error = await site.refusal()
    assert type(error) is Unavailable
    assert error.code == "Bad credentials"
    assert len(site.asked) == 2


async def test_who_has_no_newer_token_says_so_itself():
    site = Site(said(401))

    async def access_token(refused):
        if refused:
            raise NeedsReauth("gone")
        return "access"

    site.api = Api(PLATFORM, Account("7", "ada"), site.api._http, access_token)
    with pytest.raises(NeedsReauth, match="gone"):
        await site.api.get(URL)
    assert len(site.asked) == 1


SPOTIFY_QUOTA = {"error": {"status": 429, "message": "Too many requests", "reason": "QUOTA_EXCEEDED"}}
GOOGLE_RATE = {"error": {"code": 403, "message": "…", "errors": [{"reason": "rateLimitExceeded", "domain": "x"}]}}
GOOGLE_DAY = {"error": {"code": 403, "errors": [{"reason": "dailyLimitExceeded"}]}}
GOOGLE_NEW = {"error": {"code": 403, "message": "…", "status": "PERMISSION_DENIED"}}


@pytest.mark.parametrize(
    ("response", "kind", "code"),
    [
        pytest.param(said(429), RateLimited, "", id="429"),
        pytest.param(said(429, SPOTIFY_QUOTA), RateLimited, "QUOTA_EXCEEDED", id="429 with a reason"),
        pytest.param(said(403, GOOGLE_RATE), RateLimited, "rateLimitExceeded", id="403 that is a limit by its reason"),
        pytest.param(
            said(403, {"message": f"{SECONDARY} Wait."}), RateLimited, f"{SECONDARY} Wait.", id="by its prose"
        ),
        pytest.param(
            said(403, {"message": "no"}, **{"retry-after": "9"}), RateLimited, "no", id="403 that asks to wait"
        ),
        pytest.param(
            said(403, **{"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9999999999"}), RateLimited, "", id="GitHub"
        ),
        pytest.param(said(403), Misconfigured, "http_403", id="403"),
        pytest.param(said(403, GOOGLE_NEW), Misconfigured, "PERMISSION_DENIED", id="403 with a status"),
        pytest.param(said(403, {"error": "insufficient_scope"}), Misconfigured, "insufficient_scope", id="403 scope"),
        pytest.param(said(408), Unavailable, "", id="408"),
        pytest.param(said(425), Unavailable, "", id="425"),
        pytest.param(said(500), Unavailable, "", id="500"),
        pytest.param(httpx.Response(502, html="<p>Bad gateway"), Unavailable, "", id="502 HTML"),
        pytest.param(said(503, {"error": "down"}), Unavailable, "down", id="503"),
        pytest.param(said(599), Unavailable, "", id="599"),
        pytest.param(said(410), CursorExpired, "", id="410"),
        pytest.param(said(400, {"code": "bad_request"}), UnexpectedAnswer, "bad_request", id="400"),
        pytest.param(said(404), UnexpectedAnswer, "", id="404"),
        pytest.param(said(451), UnexpectedAnswer, "", id="451"),
        pytest.param(httpx.Response(301, headers={"location": URL}), UnexpectedAnswer, "", id="301"),
        pytest.param(httpx.Response(307, headers={"location": URL}), UnexpectedAnswer, "", id="307"),
        pytest.param(httpx.ConnectError("no"), Unavailable, "", id="refused"),
        pytest.param(httpx.ReadTimeout("late"), Unavailable, "", id="time-out"),
        pytest.param(httpx.RemoteProtocolError("cut"), Unavailable, "", id="cut"),
    ],
)
async def test_each_refusal_has_its_name(response, kind, code):
    site = Site(response)
    error = await site.refusal(f"{URL}?q=personal")

    assert (type(error), error.code) == (kind, code)
    assert URL in str(error)
    assert "personal" not in str(error)
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("response", "whole"),
    [
        (said(429), "connection"),
        (said(429, SPOTIFY_QUOTA), "client"),
        (said(403, GOOGLE_RATE), "connection"),
        (said(403, GOOGLE_DAY), "client"),
    ],
)
async def test_a_limit_says_who_has_to_wait(response, whole):
    assert (await Site(response).refusal()).whole == whole


@pytest.mark.parametrize(
    ("status", "headers", "retry_at"),
    [
        (429, {"retry-after": "30"}, NOW + timedelta(seconds=30)),
        (429, {"retry-after": "48925"}, NOW + timedelta(seconds=48925)),
        (429, {"retry-after": format_datetime(NOW + timedelta(hours=2), usegmt=True)}, NOW + timedelta(hours=2)),
        (429, {"retry-after": "soon"}, None),
        (503, {"retry-after": "1.5"}, NOW + timedelta(seconds=1.5)),
        (
            403,
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp()) + 60)},
            NOW + timedelta(seconds=60),
        ),
    ],
)
async def test_a_refusal_says_until_when_as_long_as_the_platform_says(status, headers, retry_at):
    assert (await Site(said(status, **headers)).refusal()).retry_at == retry_at


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<p>no",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b"7",
        b'{"error": 7}',
        b'{"error": {"errors": []}}',
        b'{"error": {"errors": [7]}}',
        b'{"error": {"errors": [{"reason": 7}]}}',
        b'{"error": {"errors": {"reason": "x"}}}',
        b'{"code": 403, "message": ["no"]}',
    ],
)
async def test_a_refusal_in_any_body_is_still_a_refusal(body):
    error = await Site(httpx.Response(403, content=body)).refusal()

    assert type(error) is Misconfigured


async def test_a_reason_is_told_at_a_length_that_can_be_read():
    error = await Site(said(404, {"message": "x" * 10_000})).refusal()

    assert len(str(error)) < 400


@pytest.mark.parametrize("url", ["https://a:b/", "https://x\x00y/", "https://exa mple.com:port/"])
async def test_an_address_that_is_none_is_not_asked(url):
    site = Site(said(200))

    assert type(await site.refusal(url)) is UnexpectedAnswer
    assert site.asked == []


async def test_an_accounts_name_cannot_change_where_a_request_goes():
    site = Site(said(200))
    site.api.account = Account("../me?x=", "a/b#c")

    assert site.api.locate("https://api.example/u/{account_id}/{account_name}") == (
        "https://api.example/u/..%2Fme%3Fx%3D/a%2Fb%23c"
    )
