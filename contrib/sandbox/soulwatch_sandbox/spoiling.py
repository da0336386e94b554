"""Faults that let the platform answer and then spoil the JSON on its way out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from soulwatch_sandbox.answers import json_bytes
from soulwatch_sandbox.faults import Fault

Spoiler = Callable[[Fault, Scope, Response], Response]
NEXT_LINK = re.compile(r'<[^>]*>(; rel="next")')


def _this_url(scope: Scope) -> str:
    host = next((value for name, value in scope["headers"] if name == b"host"), b"127.0.0.1").decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    return f"{scope.get('scheme', 'http')}://{host}{scope['path']}" + (f"?{query}" if query else "")


def _rewritten(response: Response, change: Callable[[Any], Any]) -> Response:
    """The answer with its JSON changed; one that is no JSON stays as it is."""
    try:
        body = json_bytes(change(json.loads(bytes(response.body))))
    except ValueError:
        return response
    left_out = (b"content-length", b"etag")
    headers = [(name, value) for name, value in response.raw_headers if name.lower() not in left_out]
    changed = Response(body, response.status_code)
    changed.raw_headers = [*headers, (b"content-length", str(len(body)).encode())]
    return changed


def _not_a_list(fault: Fault, scope: Scope, response: Response) -> Response:  # noqa: ARG001
    def change(value: Any) -> Any:
        if not isinstance(value, dict):
            return {"moved": "to another shape"}
        return {name: "another shape" if isinstance(part, list) else part for name, part in value.items()}

    return _rewritten(response, change)


def _expires_in(fault: Fault, scope: Scope, response: Response) -> Response:  # noqa: ARG001
    def change(value: Any) -> Any:
        rest = {name: part for name, part in value.items() if name != "expires_in"}
        return rest if fault.value is None else {**rest, "expires_in": fault.value}

    return _rewritten(response, change)


def _set_member(fault: Fault, scope: Scope, response: Response) -> Response:  # noqa: ARG001
    return _rewritten(response, lambda value: {**value, fault.name: fault.value})


def _next_loop(fault: Fault, scope: Scope, response: Response) -> Response:  # noqa: ARG001
    return _with_next(response, _this_url(scope))


def _next_aba(fault: Fault, scope: Scope, response: Response) -> Response:
    here = _this_url(scope)
    if fault.first_url is None or fault.first_url == here:
        fault.first_url = here
        return response
    return _with_next(response, fault.first_url)


def _with_next(response: Response, url: str) -> Response:
    """The answer with `url` as its next page, whichever way it names one."""

    def change(value: Any) -> Any:
        if isinstance(value, dict) and "next_page" in value:
            page = re.search(r"[?&]page=(\d+)", url)
            return {**value, "next_page": page.group(1) if page else "1"}
        return {**value, "next": url} if isinstance(value, dict) else value

    changed = _rewritten(response, change)
    link = changed.headers.get("link")
    if link is not None:
        has_next = NEXT_LINK.search(link) is not None
        changed.headers["link"] = NEXT_LINK.sub(rf"<{url}>\1", link) if has_next else f'<{url}>; rel="next", {link}'
    return changed


SPOILERS: dict[str, Spoiler] = {
    "not_a_list": _not_a_list,
    "expires_in": _expires_in,
    "set_member": _set_member,
    "next_loop": _next_loop,
    "next_aba": _next_aba,
}
