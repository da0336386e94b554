"""A connection's way into its platform: each request is signed, each refusal named once, here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from soulwatch.errors import (
    CursorExpired,
    Misconfigured,
    PlatformError,
    RateLimited,
    Unavailable,
    UnexpectedAnswer,
)
from soulwatch.jsontext import decode, dig
from soulwatch.oauth import holds_credential
from soulwatch.platform import Platform
from soulwatch.values import Account
from soulwatch.waiting import retry_after

AccessToken = Callable[[str | None], Awaitable[str]]
"""Gives an access token fit for use; given the one that was just refused, a newer one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a platform answered to one request, refusals already raised."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing changed since the ETag that was sent (HTTP 304)."""
        return self.status == httpx.codes.NOT_MODIFIED

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say (HTTP 204, or a body without a byte)."""
        return self.status == httpx.codes.NO_CONTENT or not self.body.strip()

    def value(self) -> Any:
        """The body, decoded. Raises UnexpectedAnswer where it is no JSON."""
        try:
            return decode(self.body)
        except ValueError as broken:
            kind = self.headers.get("content-type", "no content type")
            raise UnexpectedAnswer(f"{_place(self.url)} answered no JSON ({kind}): {broken}.") from None


class Api:
    """Reads one platform on behalf of one connection."""

    def __init__(
        self,
        platform: Platform,
        account: Account,
        http: httpx.AsyncClient,
        access_token: AccessToken,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.platform = platform
        self.account = account
        self._http = http
        self._access_token = access_token
        self._now = now

    def locate(self, url: str) -> str:
        """An endpoint's URL for this account: `{account_id}` and `{account_name}` filled in, quoted."""
        return url.replace("{account_id}", quote(self.account.id, safe="")).replace(
            "{account_name}", quote(self.account.name, safe="")
        )

    async def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        etag: str | None = None,
    ) -> Answer:
        """One GET, signed. A 401 is tried once more with a newer token. Raises PlatformError."""
        sent = {**self.platform.headers, **(headers or {}), **({"If-None-Match": etag} if etag else {})}
        token = await self._access_token(None)
        response = await self._send(url, params, sent, token)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            token = await self._access_token(token)
            response = await self._send(url, params, sent, token)
        self._raise_refusal(response)
        return Answer(str(response.url), response.status_code, response.headers, response.content)

    async def _send(
        self, url: str, params: Mapping[str, str] | None, headers: Mapping[str, str], token: str
    ) -> httpx.Response:
        try:
            return await self._http.get(
                url, params=params or None, headers={**headers, "Authorization": f"Bearer {token}"}
            )
        except httpx.InvalidURL as broken:
            raise UnexpectedAnswer(f"The platform named an address that is none: {broken}.") from broken
        except httpx.HTTPError as broken:
            raise Unavailable(f"{_place(url)} could not be reached: {cause(broken)}.") from broken

    def _raise_refusal(self, response: httpx.Response) -> None:
        if response.is_success or response.status_code == httpx.codes.NOT_MODIFIED:
            return
        raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> PlatformError:
        status, where = response.status_code, f"HTTP {response.status_code} from {_place(str(response.url))}"
        reason, now = _reason(response), self._now()
        retry_at = retry_after(response.headers, now)
        # Reasons may go on with words about this one case ("... request ID 1A2B").
        is_client_limit = reason.startswith(self.platform.client_limit_reasons)
        is_limit = is_client_limit or reason.startswith(self.platform.limit_reasons)
        if status == httpx.codes.TOO_MANY_REQUESTS or (
            status == httpx.codes.FORBIDDEN and (is_limit or retry_at is not None)
        ):
            return RateLimited(
                f"Too many requests ({where}).",
                retry_at=retry_at,
                whole="client" if is_client_limit else "connection",
                code=reason,
            )
        if response.is_server_error or status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY):
            return Unavailable(f"The platform is not well ({where}).", retry_at=retry_at, code=reason)
        if status == httpx.codes.UNAUTHORIZED:
            return Unavailable(f"A fresh token was refused ({where}).", code=reason or "http_401")
        if status == httpx.codes.GONE:
            return CursorExpired(f"The platform no longer knows the place we left off ({where}).", code=reason)
        if status == httpx.codes.FORBIDDEN:
            return Misconfigured(
                f"The platform does not allow this ({reason or 'no reason given'}, {where}): "
                "check scopes and the app's approval.",
                code=reason or "http_403",
            )
        return UnexpectedAnswer(f"The platform refused ({reason or 'no reason given'}, {where}).", code=reason)


def cause(broken: Exception) -> str:
    """What went wrong on the way to a platform, in one line: the kind, and what the network said of it."""
    # What cannot be sent is quoted in such an error: a header, and with it a token.
    said = "" if isinstance(broken, httpx.LocalProtocolError) else str(broken).partition("\n")[0][:200]
    return f"{type(broken).__name__}: {said}" if said else type(broken).__name__


def _place(url: str) -> str:
    """A URL without its query, which may hold personal data, for messages."""
    return url.partition("?")[0]


def _reason(response: httpx.Response) -> str:
    """The error reason in a refusal's body, in the forms platforms use; empty where there is none fit to be told."""
    try:
        value = decode(response.content)
    except ValueError:
        return ""
    nested = dig(value, "error.errors")
    candidates = (
        nested[0].get("reason") if isinstance(nested, list) and nested and isinstance(nested[0], dict) else None,
        dig(value, "error.reason"),
        dig(value, "error.status"),
        dig(value, "error"),
        dig(value, "code"),
        dig(value, "message"),
        dig(value, "error.message"),
    )
    reason = next((reason for reason in candidates if isinstance(reason, str) and reason), "")
    return "" if holds_credential(reason, response.request) else reason[:200]
