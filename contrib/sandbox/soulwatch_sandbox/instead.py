"""Faults that answer instead of the platform: nothing behind them hears of the request."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from soulwatch_sandbox.dialects import limited, out_of_quota, refusal, secondary_limit, token_refusal
from soulwatch_sandbox.faults import Fault
from soulwatch_sandbox.papers import Refused
from soulwatch_sandbox.request_log import split_pose
from soulwatch_sandbox.rules import Pose

Instead = Callable[[Fault, Scope], Response]
MIB = 1024 * 1024
PAGE = "<!doctype html><html lang='en'><title>Welcome to the hotel</title><p>Please accept the terms of this network."


def _pose(scope: Scope) -> Pose:
    return split_pose(scope["path"])[0]  # type: ignore[return-value]


def _status(fault: Fault, scope: Scope) -> Response:
    headers = {} if fault.retry_after is None else {"retry-after": fault.retry_after}
    return refusal(_pose(scope), fault.status, f"The sandbox was told to answer {fault.status}", "fault", headers)


def _limited(fault: Fault, scope: Scope) -> Response:
    pose, wait = _pose(scope), fault.retry_after
    if wait is None and pose != "github":
        wait = str(int(fault.seconds))
    struck_s = fault.struck_at.timestamp() if fault.struck_at else 0
    return limited(pose, wait, int(struck_s + fault.seconds))


def _html(fault: Fault, scope: Scope) -> Response:  # noqa: ARG001
    return HTMLResponse(PAGE)


def _malformed(fault: Fault, scope: Scope) -> Response:  # noqa: ARG001
    return Response('{"items": [{"id": "half-a-', media_type="application/json")


def _empty(fault: Fault, scope: Scope) -> Response:  # noqa: ARG001
    return Response(b"", media_type="application/json")


def _redirect(fault: Fault, scope: Scope) -> Response:
    return RedirectResponse(f"{fault.to.rstrip('/')}{scope['path']}", 307)


def _token_error(error: str) -> Instead:
    def instead(fault: Fault, scope: Scope) -> Response:  # noqa: ARG001
        return token_refusal(
            _pose(scope),
            Refused(error, "The sandbox was told to say so"),
            refreshing=True,
            wants_json=any(name == b"accept" and b"json" in value for name, value in scope["headers"]),
            basic=any(name == b"authorization" for name, _ in scope["headers"]),
        )

    return instead


def _gzip_bomb(fault: Fault, scope: Scope) -> Response:  # noqa: ARG001
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    return Response(_bomb(fault.mib), headers=headers)


@lru_cache(maxsize=4)
def _bomb(mib: int) -> bytes:
    """A JSON list of one long text, `mib` MiB when unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    parts = [packer.compress(b'["'), *(packer.compress(b"a" * MIB) for _ in range(mib)), packer.compress(b'"]')]
    return b"".join([*parts, packer.flush()])


INSTEAD: dict[str, Instead] = {
    "status": _status,
    "limited": _limited,
    "quota": lambda fault, scope: out_of_quota(fault.retry_after),  # noqa: ARG005
    "secondary_limit": lambda fault, scope: secondary_limit(fault.retry_after),  # noqa: ARG005
    "html": _html,
    "malformed": _malformed,
    "empty": _empty,
    "redirect": _redirect,
    "gzip_bomb": _gzip_bomb,
    "invalid_grant": _token_error("invalid_grant"),
    "invalid_client": _token_error("invalid_client"),
}


async def huge(fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    """`mib` MiB of JSON, with no length said beforehand."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'["', "more_body": True})
    for _ in range(fault.mib):
        await send({"type": "http.response.body", "body": b"a" * MIB, "more_body": True})
    await send({"type": "http.response.body", "body": b'"]'})
