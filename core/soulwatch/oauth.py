"""OAuth 2.0 as a value: where a platform authorizes, and what it does with tokens (RFC 6749, 7636, 7009, 9207)."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl, quote_plus, unquote_plus

import httpx

from soulwatch.errors import Misconfigured, NeedsReauth, PlatformError, RateLimited, Unavailable
from soulwatch.token_answer import UNREADABLE, TokenAnswer, Verdict, classify, lifetime_s
from soulwatch.values import Client, Token
from soulwatch.waiting import retry_after

RECEIVED_AT = "received_at"
"""Response extension in which the host says when an answer came; it may be read again after a crash."""
LONGEST_TOKEN_WAIT = timedelta(hours=1)
NO_END = math.inf
SECRET_FIELDS = frozenset({"client_secret", "code", "code_verifier", "refresh_token", "token"})
HARMLESS = 8
"""So many letters of a secret may be said: a short word may be part of it by chance."""


@dataclass(frozen=True, slots=True)
class OAuth2:
    """A platform's OAuth 2.0 endpoints and its habits with tokens. Subclass to be odd about one step."""

    authorize_url: str
    token_url: str
    revoke_url: str | None = None
    scopes: tuple[str, ...] = ()
    client_auth: Literal["basic", "body", "none"] = "body"
    scope_separator: str = " "
    authorize_params: Mapping[str, str] = field(default_factory=dict)
    issuer: str | None = None
    """Expected as `iss` in the authorization response, where the platform promises it (RFC 9207)."""
    rotation: Literal["none", "grace", "strict", "unknown"] = "unknown"
    """What happens to a refresh token that was used: it stays, lives on for a while, or is dead at once."""
    must_rotate: bool = False
    """Whether each refresh answer has to bring a new refresh token."""
    old_access_dies: bool = False
    """Whether the old access token is dead as soon as a refresh is answered."""
    default_lifetime: timedelta = timedelta(hours=1)
    may_not_expire: bool = False
    """Whether an answer without `expires_in` is a token without end (GitHub), not one of `default_lifetime`."""
    grant_lifetime: timedelta | None = None
    """How long after consent refreshing ends, where the platform does not say it in its answers."""
    error_aliases: Mapping[str, str] = field(default_factory=dict)

    def authorization_url(self, client: Client, redirect_uri: str, state: str, verifier: str) -> str:
        """Where to send the user, with PKCE S256 (RFC 7636 section 4.3)."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        params = {
            "response_type": "code",
            "client_id": client.id,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if self.scopes:
            params["scope"] = self.scope_separator.join(self.scopes)
        return str(httpx.URL(self.authorize_url).copy_merge_params({**params, **self.authorize_params}))

    async def exchange(
        self, client: Client, code: str, redirect_uri: str, verifier: str, http: httpx.AsyncClient
    ) -> Token:
        """The first token, for the code of a callback (RFC 6749 section 4.1.3). Raises PlatformError."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        response = await self._post(self.token_url, {**form, "code_verifier": verifier}, client, http)
        answer = classify(response.status_code, response.content, aliases=self.error_aliases)
        token = self._token(answer, response, before=None)
        if token.grant_expires_at is None and self.grant_lifetime is not None:
            return _with_grant_end(token, received_at(response) + self.grant_lifetime)
        return token

    async def refresh(self, token: Token, client: Client, http: httpx.AsyncClient) -> Token:
        """The next token (RFC 6749 section 6); what the answer leaves out stays as it was. Raises PlatformError."""
        if token.refresh is None:
            raise NeedsReauth("This platform gave no refresh token; its user has to connect again.")
        form = {"grant_type": "refresh_token", "refresh_token": token.refresh}
        response = await self._post(self.token_url, form, client, http)
        answer = classify(
            response.status_code, response.content, aliases=self.error_aliases, must_rotate=self.must_rotate
        )
        return self._token(answer, response, before=token)

    async def revoke(self, token: Token, client: Client, http: httpx.AsyncClient) -> bool:
        """Ask the platform to forget a grant (RFC 7009); False where it cannot be asked. Raises PlatformError.

        Success is also what it answers for a token it never knew.
        """
        if self.revoke_url is None:
            return False
        secret = token.refresh or token.access
        response = await self._post(self.revoke_url, {"token": secret}, client, http)
        if response.status_code in (429, 503):
            raise Unavailable(retry_at=retry_after(response.headers, received_at(response)))
        if not response.is_success:
            raise PlatformError(f"The platform did not revoke the token (HTTP {response.status_code}).")
        return True

    async def _post(self, url: str, form: dict[str, str], client: Client, http: httpx.AsyncClient) -> httpx.Response:
        headers = {"Accept": "application/json"}
        if self.client_auth == "basic":
            # RFC 6749 section 2.3.1: both halves are form-encoded first, unlike plain HTTP Basic.
            auth = httpx.BasicAuth(quote_plus(client.id), quote_plus(client.secret or ""))
            return await http.post(url, data=form, headers=headers, auth=auth)
        form = {**form, "client_id": client.id}
        if self.client_auth == "body" and client.secret is not None:
            form["client_secret"] = client.secret
        return await http.post(url, data=form, headers=headers)

    def _token(self, answer: TokenAnswer, response: httpx.Response, before: Token | None) -> Token:
        if answer.verdict is not Verdict.OK:
            raise refusal(answer, response)
        return self.read(answer.fields, received_at(response), before)

    def read(self, fields: Mapping[str, Any], now: datetime, before: Token | None) -> Token:
        """The token in the members of a successful answer, received at `now`, that follows `before`."""
        refresh = fields.get("refresh_token")
        refresh = refresh if isinstance(refresh, str) and refresh else (before.refresh if before else None)
        return Token(
            access=fields["access_token"],
            refresh=refresh,
            expires_at=self._expiry(fields, now),
            scopes=_scopes(fields.get("scope"), before.scopes if before else self.scopes),
            grant_expires_at=_grant_end(fields, now, before),
        )

    def _expiry(self, fields: Mapping[str, Any], now: datetime) -> datetime | None:
        if self.may_not_expire and "expires_in" not in fields:
            return None
        seconds = lifetime_s(fields.get("expires_in"), self.default_lifetime.total_seconds())
        return now + timedelta(seconds=seconds)


def received_at(response: httpx.Response) -> datetime:
    """When this answer came in, also where it is read again from the journal."""
    at = response.extensions.get(RECEIVED_AT)
    return at if isinstance(at, datetime) else datetime.now(UTC)


def refusal(answer: TokenAnswer, response: httpx.Response) -> PlatformError:
    """The error that an answer other than a token stands for. Holds the platform's code, never its prose."""
    code = UNREADABLE if holds_credential(answer.code, response.request) else answer.code
    said, where = code or "no token", f"HTTP {response.status_code} from {response.request.url.host}"
    now = received_at(response)
    wait = retry_after(response.headers, now)
    retry_at = min(wait, now + LONGEST_TOKEN_WAIT) if wait else None
    match answer.verdict:
        case Verdict.GRANT:
            return NeedsReauth(f"The grant is no longer valid ({said}, {where}).", code=said)
        case Verdict.CLIENT:
            return Misconfigured(
                f"The platform refuses our OAuth client ({said}, {where}): check client id and secret.",
                code=said,
                is_client=True,
            )
        case Verdict.CONFIG:
            return Misconfigured(
                f"The platform refuses the token request ({said}, {where}): check scopes and addresses.",
                code=said,
            )
        case Verdict.LIMITED:
            return RateLimited(f"Too many token requests ({where}).", retry_at=retry_at, code=said)
        case _:
            return Unavailable(
                f"The token endpoint is not answering properly ({said}, {where}).",
                retry_at=retry_at,
                code=said,
                ambiguous=answer.ambiguous,
            )


def holds_credential(said: str, request: httpx.Request) -> bool:
    """Whether an answer says back a secret of the request it answers, or a part of it that is worth something."""
    return any(one in said or (len(said) > HARMLESS and said in one) for one in _credentials(request))


def _credentials(request: httpx.Request) -> Iterator[str]:
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    yield from filter(None, [shown])
    if scheme.lower() == "basic":
        with suppress(ValueError):
            yield from map(unquote_plus, base64.b64decode(shown).decode().split(":", 1)[1:])
    if request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        yield from (value for name, value in parse_qsl(request.content.decode()) if name in SECRET_FIELDS)


def _scopes(said: Any, before: tuple[str, ...]) -> tuple[str, ...]:
    """Granted scopes; separated by spaces (RFC 6749 section 3.3) or commas (GitHub, LinkedIn)."""
    return tuple(said.replace(",", " ").split()) if isinstance(said, str) and said.strip() else before


def _grant_end(fields: Mapping[str, Any], now: datetime, before: Token | None) -> datetime | None:
    # What cannot be an end is none: Keycloak says 0 of a grant that has no end.
    seconds = lifetime_s(fields.get("refresh_token_expires_in"), default=NO_END)
    if seconds == NO_END:
        return before.grant_expires_at if before else None
    return now + timedelta(seconds=seconds)


def _with_grant_end(token: Token, end: datetime) -> Token:
    return Token(token.access, token.refresh, token.expires_at, token.scopes, end)
