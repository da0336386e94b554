"""What a platform says back of what it was sent goes into no message: messages are stored, logged and told."""

import base64

import httpx
import pytest

from soulwatch import Account, Client, OAuth2, PlatformError, Token, Unavailable
from soulwatch.api import Api
from soulwatch.platform import Platform

CLIENT = Client("our-client", "s3cret/of+ours")
TOKEN = Token("Access-Token-0123456789", "Refresh-Token-9876543210")
PLACE = "https://a.example"
BASIC = base64.b64encode(b"our-client:s3cret%2Fof%2Bours").decode()


def saying(status, **said):
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, json=said)))


async def refused(oauth, error, status=400):
    with pytest.raises(PlatformError) as raised:
        await oauth.refresh(TOKEN, CLIENT, saying(status, error=error))
    return raised.value


@pytest.mark.parametrize("how", ["basic", "body"])
@pytest.mark.parametrize("said", [TOKEN.refresh, f"no:{TOKEN.refresh}", TOKEN.refresh[3:15], CLIENT.secret])
async def test_a_refusal_of_a_refresh_never_says_back_what_was_sent(how, said):
    oauth = OAuth2(f"{PLACE}/authorize", f"{PLACE}/token", client_auth=how)
    for status in (200, 400, 401, 429, 500):
        error = await refused(oauth, said, status)
        assert error.code == "unreadable_code"
        assert said not in str(error)


async def test_a_refusal_never_says_back_the_header_with_our_secret():
    error = await refused(OAuth2(f"{PLACE}/authorize", f"{PLACE}/token", client_auth="basic"), BASIC)
    assert BASIC not in str(error)


@pytest.mark.parametrize("said", ["the-Code-0123456789", "the-Verifier-0123456789"])
async def test_a_refusal_of_an_exchange_never_says_back_what_was_sent(said):
    oauth = OAuth2(f"{PLACE}/authorize", f"{PLACE}/token")
    with pytest.raises(PlatformError) as raised:
        await oauth.exchange(
            CLIENT, "the-Code-0123456789", f"{PLACE}/back", "the-Verifier-0123456789", saying(400, error=said)
        )
    assert said not in str(raised.value)


@pytest.mark.parametrize("said", ["invalid_scope", "bad_verification_code", "Refresh", "code"])
async def test_a_code_of_the_platforms_own_is_told(said):
    error = await refused(OAuth2(f"{PLACE}/authorize", f"{PLACE}/token"), said)
    assert error.code == said


def api_over(http):
    async def access_token(_refused):
        return TOKEN.access

    facts = Platform("a", "A", OAuth2(f"{PLACE}/authorize", f"{PLACE}/token"), hosts=("a.example",), identity=None)
    return Api(facts, Account("1", "Ada"), http, access_token)


@pytest.mark.parametrize("status", [400, 401, 403, 410, 429, 500])
@pytest.mark.parametrize("before", ["", "x" * 190], ids=["whole", "where it would be cut"])
async def test_a_refusal_of_a_request_never_says_back_its_token(status, before):
    with pytest.raises(PlatformError) as raised:
        await api_over(saying(status, message=f"{before}{TOKEN.access} is unknown")).get(f"{PLACE}/items")
    assert TOKEN.access[:8] not in f"{raised.value} {raised.value.code}"


async def test_a_request_that_cannot_be_sent_is_not_quoted():
    def refuse(_request):
        raise httpx.LocalProtocolError(f"Illegal header value b'Bearer {TOKEN.access}'")

    http = httpx.AsyncClient(transport=httpx.MockTransport(refuse))
    with pytest.raises(Unavailable, match="could not be reached: LocalProtocolError") as raised:
        await api_over(http).get(f"{PLACE}/items")
    assert TOKEN.access not in str(raised.value)
