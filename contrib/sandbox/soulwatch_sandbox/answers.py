"""JSON answers with an ETag, links between pages, and numbers asked for in a query."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from soulwatch_sandbox.dialects import Turned, refusal
from soulwatch_sandbox.rules import Pose

Links = Literal["served", "documented"]
DOCUMENTED = {
    "sandbox": "https://sandbox.invalid/sandbox",
    "spotify": "https://api.spotify.com",
    "github": "https://api.github.com",
}
NOT_MODIFIED = 304


def json_bytes(value: Any) -> bytes:
    """A value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def answer(request: Request, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """`body` with its ETag, or 304 to whoever has it already (RFC 9110 section 13.1.2)."""
    etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    all_headers = {"etag": etag, "cache-control": "private, max-age=0", **(headers or {})}
    if etag in known or "*" in known:
        return Response(status_code=NOT_MODIFIED, headers=all_headers)
    return Response(body, headers={"content-type": "application/json; charset=utf-8", **all_headers})


def base_url(request: Request) -> str:
    """Where the visitor found this server."""
    return f"{request.url.scheme}://{request.url.netloc}"


class Signposts:
    """Absolute addresses within a pose: as served here, or as the real platform would spell them."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def root(self, request: Request, pose: Pose) -> str:
        """The address a pose's paths are below."""
        return DOCUMENTED[pose] if self._links == "documented" else f"{base_url(request)}/{pose}"

    def to(self, request: Request, pose: Pose, path: str, **params: object) -> str:
        """A page's address; parameters that are None are left out."""
        said = {name: value for name, value in params.items() if value is not None}
        return f"{self.root(request, pose)}{path}" + (f"?{urlencode(said)}" if said else "")

    def link_header(
        self, request: Request, pose: Pose, path: str, page: int, pages: int, **params: object
    ) -> dict[str, str]:
        """A `Link` header for a list in numbered pages (RFC 8288), empty where there is only one."""
        places = {"prev": page - 1, "next": page + 1, "last": pages, "first": 1}
        if page >= pages:
            places = {"prev": page - 1, "first": 1}
        if page <= 1:
            places = {rel: places[rel] for rel in ("next", "last") if rel in places}
        links = [
            f'<{self.to(request, pose, path, **params, page=place)}>; rel="{rel}"' for rel, place in places.items()
        ]
        return {"link": ", ".join(links)} if links else {}


def asked_number(request: Request, pose: Pose, name: str, within: range) -> int | None:
    """A whole number in the query, None if unsaid. Raises Turned with 400 where it is none or out of range."""
    said = request.query_params.get(name)
    if said is None:
        return None
    if said.isascii() and said.isdecimal() and int(said) in within:
        return int(said)
    raise Turned(refusal(pose, 400, f"Invalid {name}", "invalid_request"))
