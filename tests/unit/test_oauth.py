import base64
import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest

from soulwatch import Client, Misconfigured, NeedsReauth, OAuth2, PlatformError, RateLimited, Token, Unavailable
from soulwatch.oauth import RECEIVED_AT

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CLIENT = Client("our id", "our: secret/&")
OLD = Token("access-1", "refresh-1", NOW, ("read", "write"), NOW + timedelta(days=30))
OAUTH = OAuth2("https://auth.example/authorize", "https://auth.example/token", "https://auth.example/revoke")


class Endpoint:
    """A token endpoint that gives one answer and remembers what it was asked."""

    def __init__(self, answer=None, status=200, headers=None, *, text=None):
        self.answer, self.status, self.headers, self.text = answer or {}, status, headers or {}, text
        self.asked = []
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self))

    def __call__(self, request):
        self.asked.append(request)
        body = {"text": self.text} if self.text is not None else {"json": self.answer}
        return httpx.Response(self.status, headers=self.headers, extensions={RECEIVED_AT: NOW}, **body)

    @property
    def form(self):
        return dict(parse_qsl(self.asked[-1].content.decode(), keep_blank_values=True))


def oauth(**habits):
    return OAuth2(
        **{"authorize_url": OAUTH.authorize_url, "token_url": OAUTH.token_url, "revoke_url": OAUTH.revoke_url, **habits}
    )


async def refreshed(answer, before=OLD, **habits):
    return await oauth(**habits).refresh(before, CLIENT, Endpoint({"access_token": "access-2", **answer}).http)


async def refused(endpoint, **habits):
    with pytest.raises(PlatformError) as caught:
        await oauth(**habits).refresh(OLD, CLIENT, endpoint.http)
    return caught.value


def test_a_user_is_sent_with_a_challenge_that_only_the_verifier_answers():
    verifier = "v" * 43
    url = httpx.URL(oauth(scopes=("a", "b")).authorization_url(CLIENT, "http://127.0.0.1/back?x=1", "st&te", verifier))

    assert dict(url.params) == {
        "response_type": "code",
        "client_id": "our id",
        "redirect_uri": "http://127.0.0.1/back?x=1",
        "state": "st&te",
        "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("="),
        "code_challenge_method": "S256",
        "scope": "a b",
    }
    assert verifier not in str(url)


def test_the_challenge_is_that_of_the_standards_own_example():
    url = httpx.URL(OAUTH.authorization_url(CLIENT, "x", "s", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"))

    assert url.params["code_challenge"] == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636, appendix B


def test_a_platforms_own_parameters_and_separator_are_kept():
    url = httpx.URL(
        oauth(
            authorize_url="https://auth.example/authorize?tenant=7",
            scopes=("a", "b"),
            scope_separator=",",
            authorize_params={"prompt": "consent"},
        ).authorization_url(CLIENT, "x", "s", "v")
    )

    assert (url.params["tenant"], url.params["scope"], url.params["prompt"]) == ("7", "a,b", "consent")
    assert "scope" not in httpx.URL(OAUTH.authorization_url(CLIENT, "x", "s", "v")).params


async def test_a_code_is_exchanged_with_its_verifier():
    endpoint = Endpoint({"access_token": "a", "refresh_token": "r", "expires_in": 3600, "scope": "read"})
    token = await oauth(scopes=("asked",)).exchange(CLIENT, "the code", "http://back", "the verifier", endpoint.http)

    assert token == Token("a", "r", NOW + timedelta(hours=1), ("read",))
    assert endpoint.form == {
        "grant_type": "authorization_code",
        "code": "the code",
        "redirect_uri": "http://back",
        "code_verifier": "the verifier",
        "client_id": CLIENT.id,
        "client_secret": CLIENT.secret,
    }
    assert endpoint.asked[0].headers["accept"] == "application/json"


async def test_scopes_that_are_not_named_are_those_that_were_asked_for():
    endpoint = Endpoint({"access_token": "a"})

    assert (await oauth(scopes=("x", "y")).exchange(CLIENT, "c", "u", "v", endpoint.http)).scopes == ("x", "y")


async def test_a_grant_of_known_life_ends_that_long_after_consent():
    habits = oauth(grant_lifetime=timedelta(days=180))
    first = await habits.exchange(CLIENT, "c", "u", "v", Endpoint({"access_token": "a", "refresh_token": "r"}).http)
    assert first.grant_expires_at == NOW + timedelta(days=180)

    later = await habits.refresh(first, CLIENT, Endpoint({"access_token": "b"}).http)
    assert later.grant_expires_at == first.grant_expires_at


async def test_what_a_platform_says_of_the_grant_goes_before_what_is_known():
    answer = {"access_token": "a", "refresh_token_expires_in": 86400}
    token = await oauth(grant_lifetime=timedelta(days=180)).exchange(CLIENT, "c", "u", "v", Endpoint(answer).http)

    assert token.grant_expires_at == NOW + timedelta(days=1)


async def test_a_refused_code_is_an_error():
    with pytest.raises(NeedsReauth):
        await OAUTH.exchange(CLIENT, "c", "u", "v", Endpoint({"error": "invalid_grant"}, 400).http)


async def test_a_refresh_asks_with_the_refresh_token_and_takes_the_new_one():
    endpoint = Endpoint({"access_token": "access-2", "refresh_token": "refresh-2", "expires_in": "7200"})
    token = await OAUTH.refresh(OLD, CLIENT, endpoint.http)

    assert token == Token("access-2", "refresh-2", NOW + timedelta(hours=2), OLD.scopes, OLD.grant_expires_at)
    assert endpoint.form["grant_type"] == "refresh_token"
    assert endpoint.form["refresh_token"] == "refresh-1"


@pytest.mark.fault("F20")
@pytest.mark.parametrize("answer", [{}, {"refresh_token": None}, {"refresh_token": ""}, {"refresh_token": 7}])
async def test_a_platform_that_names_no_new_refresh_token_lets_us_keep_the_old_one(answer):
    assert (await refreshed(answer)).refresh == "refresh-1"


@pytest.mark.parametrize("answer", [{}, {"refresh_token": None}, {"refresh_token": ""}])
async def test_unless_it_is_one_that_has_to(answer):
    error = await refused(Endpoint({"access_token": "access-2", **answer}), must_rotate=True)

    assert isinstance(error, Unavailable)
    assert error.ambiguous


@pytest.mark.parametrize(
    ("said", "scopes"),
    [
        ({}, ("read", "write")),
        ({"scope": None}, ("read", "write")),
        ({"scope": ""}, ("read", "write")),
        ({"scope": ["read"]}, ("read", "write")),
        ({"scope": "read"}, ("read",)),
        ({"scope": "read more"}, ("read", "more")),
        ({"scope": "read,more"}, ("read", "more")),
    ],
)
async def test_scopes_stay_unless_they_are_named(said, scopes):
    assert (await refreshed(said)).scopes == scopes


@pytest.mark.parametrize(
    ("said", "life"),
    [
        ({"expires_in": 7200}, timedelta(hours=2)),
        ({"expires_in": "7200"}, timedelta(hours=2)),
        ({}, timedelta(minutes=30)),
        ({"expires_in": None}, timedelta(minutes=30)),
        ({"expires_in": 0}, timedelta(minutes=30)),
        ({"expires_in": -1}, timedelta(minutes=30)),
        ({"expires_in": "never"}, timedelta(minutes=30)),
        ({"expires_in": 5}, timedelta(seconds=30)),
    ],
)
async def test_a_token_always_ends_and_never_at_once(said, life):
    assert (await refreshed(said, default_lifetime=timedelta(minutes=30))).expires_at == NOW + life


async def test_where_a_platform_has_tokens_without_end_an_answer_that_names_none_is_one():
    assert (await refreshed({}, may_not_expire=True)).expires_at is None
    assert (await refreshed({"expires_in": 60}, may_not_expire=True)).expires_at == NOW + timedelta(minutes=1)
    assert (await refreshed({"expires_in": 0}, may_not_expire=True)).expires_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize("said", [0, -1, "never", None, True, float("1e300"), [], ""])
async def test_an_end_of_the_grant_that_cannot_be_is_no_end(said):
    """Keycloak says 0 of a grant without end; it must not look like one that ends at once."""
    assert (await refreshed({"refresh_token_expires_in": said})).grant_expires_at == OLD.grant_expires_at


async def test_the_end_of_the_grant_moves_where_the_platform_says_so():
    assert (await refreshed({"refresh_token_expires_in": 3600})).grant_expires_at == NOW + timedelta(hours=1)
    assert (await refreshed({"refresh_token_expires_in": "15897600"})).grant_expires_at == NOW + timedelta(days=184)


async def test_a_client_shows_itself_by_basic_with_both_halves_encoded_first():
    endpoint = Endpoint({"access_token": "a"})
    await oauth(client_auth="basic").refresh(OLD, CLIENT, endpoint.http)

    scheme, _, text = endpoint.asked[0].headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(text)) == ("Basic", b"our+id:our%3A+secret%2F%26")
    assert "client_id" not in endpoint.form
    assert "client_secret" not in endpoint.form


async def test_a_client_shows_itself_in_the_body():
    endpoint = Endpoint({"access_token": "a"})
    await oauth(client_auth="body").refresh(OLD, CLIENT, endpoint.http)

    assert (endpoint.form["client_id"], endpoint.form["client_secret"]) == (CLIENT.id, CLIENT.secret)
    assert "authorization" not in endpoint.asked[0].headers


async def test_a_public_client_only_says_its_name():
    endpoint = Endpoint({"access_token": "a"})
    await oauth(client_auth="none").refresh(OLD, CLIENT, endpoint.http)

    assert endpoint.form["client_id"] == CLIENT.id
    assert "client_secret" not in endpoint.form
    assert "authorization" not in endpoint.asked[0].headers


@pytest.mark.parametrize(
    ("status", "answer", "kind", "ambiguous"),
    [
        (400, {"error": "invalid_grant"}, NeedsReauth, False),
        (401, {"error": "invalid_client"}, Misconfigured, False),
        (401, {}, Misconfigured, False),
        (400, {"error": "invalid_scope"}, Misconfigured, False),
        (404, {}, Misconfigured, False),
        (307, {}, Misconfigured, False),
        (429, {}, RateLimited, False),
        (503, {}, Unavailable, True),
        (200, {}, Unavailable, True),
        (400, {"error": "temporarily_unavailable"}, Unavailable, False),
    ],
)
async def test_a_refusal_says_who_can_help(status, answer, kind, ambiguous):
    error = await refused(Endpoint(answer, status))

    assert type(error) is kind
    assert error.ambiguous is ambiguous
    assert f"HTTP {status} from auth.example" in str(error)


@pytest.mark.fault("F11")
@pytest.mark.parametrize(
    ("status", "headers", "retry_at"),
    [
        (429, {"Retry-After": "120"}, NOW + timedelta(seconds=120)),
        (429, {"Retry-After": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, NOW + timedelta(seconds=90)),
        (429, {"Retry-After": "-3"}, NOW),
        (429, {"Retry-After": "86400"}, NOW + timedelta(hours=1)),
        (503, {"Retry-After": "2.5"}, NOW + timedelta(seconds=2.5)),
        (429, {"Retry-After": "soon"}, None),
        (503, {}, None),
    ],
)
async def test_the_wait_a_token_endpoint_asks_for_is_an_hour_at_most(status, headers, retry_at):
    assert (await refused(Endpoint({}, status, headers))).retry_at == retry_at


async def test_an_error_holds_the_code_and_never_the_prose():
    endpoint = Endpoint({"error": "invalid_grant", "error_description": "refresh-1 is dead"}, 400)
    error = await refused(endpoint)

    assert error.code == "invalid_grant"
    assert "refresh-1" not in str(error)


async def test_an_alias_makes_a_platforms_own_code_a_standard_one():
    endpoint = Endpoint({"error": "bad_refresh_token"}, 200)
    error = await refused(endpoint, error_aliases={"bad_refresh_token": "invalid_grant"})

    assert type(error) is NeedsReauth
    assert error.code == "bad_refresh_token"


@pytest.mark.fault("F18")
async def test_an_answer_may_be_form_encoded():
    text = urlencode({"access_token": "access-2", "refresh_token": "refresh-2", "expires_in": "28800", "scope": "a,b"})
    token = await OAUTH.refresh(OLD, CLIENT, Endpoint(text=text).http)

    assert (token.access, token.refresh, token.scopes) == ("access-2", "refresh-2", ("a", "b"))
    assert token.expires_at == NOW + timedelta(hours=8)


async def test_without_a_refresh_token_there_is_nothing_to_ask():
    endpoint = Endpoint()
    with pytest.raises(NeedsReauth):
        await OAUTH.refresh(Token("access-1"), CLIENT, endpoint.http)

    assert endpoint.asked == []


async def test_revoking_hands_back_the_refresh_token():
    endpoint = Endpoint()
    await OAUTH.revoke(OLD, CLIENT, endpoint.http)
    assert (str(endpoint.asked[0].url), endpoint.form["token"]) == (OAUTH.revoke_url, "refresh-1")

    await OAUTH.revoke(Token("access-only"), CLIENT, endpoint.http)
    assert endpoint.form["token"] == "access-only"


async def test_a_platform_without_revocation_is_not_asked():
    endpoint = Endpoint()
    await oauth(revoke_url=None).revoke(OLD, CLIENT, endpoint.http)

    assert endpoint.asked == []


@pytest.mark.parametrize("status", [302, 307, 400, 401, 404, 429, 500, 503])
async def test_a_grant_that_was_not_revoked_is_not_taken_for_one_that_was(status):
    with pytest.raises(PlatformError):
        await OAUTH.revoke(OLD, CLIENT, Endpoint(status=status).http)


async def test_a_revocation_that_has_to_wait_says_until_when():
    endpoint = Endpoint(status=503, headers={"Retry-After": "30"})
    with pytest.raises(Unavailable) as caught:
        await OAUTH.revoke(OLD, CLIENT, endpoint.http)

    assert caught.value.retry_at == NOW + timedelta(seconds=30)
