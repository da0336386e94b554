"""The one way out: every request to a platform leaves through here, bounded in where, how long and how much."""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from soulwatch.errors import Misconfigured, UnexpectedAnswer
from soulwatch.host.awake import fail_after_awake
from soulwatch.platform import Platform

CONNECT_TIMEOUT_S = 5.0
TOTAL_TIMEOUT_S = 20.0
# Servers close idle connections, many after 5 s. A refresh sent at that moment is lost without anybody knowing whether
# it arrived, so a connection is left well before.
MOST_IDLE_S = 1.0
LARGEST_ANSWER = 8 * 1024 * 1024
LARGEST_TOKEN_ANSWER = 64 * 1024
GZIP = 31  # zlib's wbits for a gzip stream


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a platform really is: its declared origins, and what the operator put in their place.

    An operator's address replaces scheme, host and port, and goes before the path: a proxy, a test server,
    GitHub Enterprise.
    """

    allowed: frozenset[str]
    moved: Mapping[str, str]
    trusted: frozenset[str]

    @classmethod
    def of(cls, platform: Platform, api_url: str | None, oauth_url: str | None) -> Addresses:
        """The addresses of `platform` under these settings."""
        oauth = platform.oauth
        api = {f"https://{host}" for host in platform.hosts}
        # An OAuth address on an API host moves with the OAuth setting, but for revocation, which GitHub has in its API.
        origins: dict[str, str | None] = dict.fromkeys(api, api_url)
        for url in (oauth.revoke_url, oauth.authorize_url, oauth.token_url):
            if url and (_origin(url) not in api or (oauth_url and url != oauth.revoke_url)):
                origins[_origin(url)] = oauth_url
        moved = {origin: base.rstrip("/") for origin, base in origins.items() if base}
        trusted = frozenset(_origin(base) for base in moved.values())
        return cls(frozenset(origins), moved, trusted)

    def named(self, url: str) -> str:
        """What `url` is called where the platform really is."""
        base = self.moved.get(_origin(url))
        return url if base is None else base + url[len(_start(url)) :]

    def locate(self, url: str) -> str:
        """Where to go for `url`. Raises UnexpectedAnswer for a host that is none of the platform's."""
        origin = _origin(url)
        if origin in self.moved:
            return self.named(url)
        if origin not in self.trusted and origin not in self.allowed:
            raise UnexpectedAnswer(
                f"{origin} is none of the platform's hosts ({', '.join(sorted(self.allowed))}): not asked, since the "
                "token would go there. If the platform moved, update its connector."
            )
        return url


class Outbound(httpx.AsyncBaseTransport):
    """An httpx transport that asks only the platform's own hosts, in bounded time, for a bounded answer."""

    def __init__(
        self,
        addresses: Addresses,
        inner: httpx.AsyncBaseTransport,
        *,
        timeout_s: float = TOTAL_TIMEOUT_S,
        largest: int = LARGEST_ANSWER,
    ) -> None:
        self.addresses = addresses
        self._inner = inner
        self._timeout_s = timeout_s
        self._largest = largest

    def limited(self, largest: int, timeout_s: float) -> Outbound:
        """The same way out for smaller answers, in less time."""
        return Outbound(self.addresses, self._inner, timeout_s=min(timeout_s, self._timeout_s), largest=largest)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read all of its answer. Raises httpx errors, or UnexpectedAnswer for a foreign host."""
        url = httpx.URL(self.addresses.locate(str(request.url)))
        if url != request.url:
            rest = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
            headers = [(b"Host", url.netloc), *rest]
            request = httpx.Request(
                request.method, url, headers=headers, stream=request.stream, extensions=request.extensions
            )
        try:
            with fail_after_awake(self._timeout_s):
                response = await self._inner.handle_async_request(request)
                try:
                    body = await self._read(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            message = f"No whole answer within {self._timeout_s:g} s"
            raise httpx.ReadTimeout(message, request=request) from None
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _DROPPED_HEADERS]
        return httpx.Response(
            response.status_code, headers=headers, content=body, extensions=response.extensions, request=request
        )

    async def _read(self, response: httpx.Response) -> bytes:
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise UnexpectedAnswer(f"The answer is encoded as {encoding!r}, which was not asked for.")
        unpack = zlib.decompressobj(GZIP) if encoding == "gzip" else None
        body = bytearray()
        received = 0
        async for chunk in response.stream:  # type: ignore[union-attr]
            received += len(chunk)
            try:
                # Unpacking is told how much it may give, or 400 KiB could become 400 MiB in one step.
                body += unpack.decompress(chunk, self._largest + 1 - len(body)) if unpack else chunk
            except zlib.error as broken:
                raise httpx.DecodingError(f"The answer cannot be unpacked: {broken}") from None
            # What unpacks to nothing could go on for ever.
            if max(len(body), received) > self._largest:
                raise UnexpectedAnswer(f"The answer is larger than {self._largest:,} bytes: not read to the end.")
        if unpack is not None and received and not unpack.eof:
            raise httpx.DecodingError("The packed answer breaks off.")
        return bytes(body)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


# Cookies among them: connections share a client, and one user's must not be sent with another's token.
_DROPPED_HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding", b"set-cookie"})


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """What certificates are believed: the usual ones, and the operator's own."""
    context = httpx.create_ssl_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as broken:
            raise Misconfigured(f"The CA file {ca_file} cannot be read: {broken}.") from None
    return context


def open_way(addresses: Addresses, context: ssl.SSLContext, concurrency: int) -> Outbound:
    """A way out with connections of its own, `concurrency` at most."""
    limits = httpx.Limits(
        max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=MOST_IDLE_S
    )
    inner = httpx.AsyncHTTPTransport(verify=context, limits=limits)
    return Outbound(addresses, inner)


def client_over(way: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    """An httpx client over a way out. It follows no redirect: credentials would travel along."""
    return httpx.AsyncClient(
        transport=way,
        timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),  # the rest is the way's own limit
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": "soulwatch", "Accept-Encoding": "gzip"},
    )


def _start(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _origin(url: str) -> str:
    return _start(url).lower()
