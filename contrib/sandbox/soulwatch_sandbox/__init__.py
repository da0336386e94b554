"""soulwatch-sandbox: an invented platform with a real local server, and the connector that watches it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from soulwatch import (
    WHOLE_BODY,
    Connector,
    Endpoint,
    Identity,
    LinkHeader,
    NextLink,
    OAuth2,
    PageToken,
    Platform,
    Since,
)

if TYPE_CHECKING:
    from soulwatch_sandbox.rules import RateLimit, TokenRules
    from soulwatch_sandbox.serving import running, running_in_thread
    from soulwatch_sandbox.visitor import answer_consent
    from soulwatch_sandbox.world import Sandbox

__all__ = ["RateLimit", "Sandbox", "TokenRules", "answer_consent", "running", "running_in_thread", "sandbox"]

HOME = "https://sandbox.invalid/sandbox"
"""No such host exists: the operator's setting says where the server runs."""
API = f"{HOME}/v1"

sandbox = Connector(
    platform=Platform(
        name="sandbox",
        title="Sandbox",
        oauth=OAuth2(
            authorize_url=f"{HOME}/authorize",
            token_url=f"{HOME}/token",
            revoke_url=f"{HOME}/revoke",
            scopes=("notes", "mood", "follows", "archive"),
            client_auth="basic",
            issuer=HOME,
            rotation="grace",
        ),
        hosts=("sandbox.invalid",),
        identity=Identity(f"{API}/me", id=("id",), name=("name",)),
        reconnect_hint="Everybody in the sandbox is invented: just allow it again.",
    ),
    endpoints=(
        Endpoint(
            "notes",
            f"{API}/notes",
            params={"limit": "50"},
            paging=NextLink("next"),
            since=Since("since", at="cursors.newest"),
            conditional=True,
            scopes=("notes",),
            schedule=timedelta(seconds=10),
        ),
        Endpoint(
            "mood",
            f"{API}/mood",
            items=WHOLE_BODY,
            conditional=True,
            scopes=("mood",),
            schedule=timedelta(seconds=15),
        ),
        Endpoint(
            "follows",
            f"{API}/follows",
            items="",
            params={"per_page": "10"},
            paging=LinkHeader(),
            scopes=("follows",),
            schedule=timedelta(seconds=60),
        ),
        Endpoint(
            "archive",
            f"{API}/archive",
            items="records",
            params={"per_page": "100"},
            paging=PageToken(at="next_page", param="page"),
            scopes=("archive",),
            schedule=timedelta(days=1),
        ),
    ),
)

_LAZY = {
    "RateLimit": "rules",
    "Sandbox": "world",
    "TokenRules": "rules",
    "answer_consent": "visitor",
    "running": "serving",
    "running_in_thread": "serving",
}


def __getattr__(name: str) -> Any:
    """The server's parts, loaded when they are first asked for: a host that only polls never needs them."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
