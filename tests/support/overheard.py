"""A layer around the sandbox that hears every secret it is sent, and that may say them all back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECRETS = {
    "access_token": "access token",
    "client_secret": "client secret",
    "code": "authorization code",
    "code_verifier": "PKCE verifier",
    "refresh_token": "refresh token",
    "state": "state",
}


@dataclass
class Overheard:
    """The sandbox's application, overheard; `echo` is the path where it answers with what it was sent, and how."""

    app: ASGIApp
    heard: list[tuple[str, str]] = field(default_factory=list)
    echo: tuple[str, int] | None = None
    echoed: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        body = b"".join(message.get("body", b"") for message in messages)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.heard += self._secrets(scope["query_string"] + b"&" + body)
        if self.echo is not None and scope["path"].startswith(self.echo[0]):
            self.echoed += 1
            await self._back(body, headers, self.echo[1])(scope, receive, send)
            return

        async def replayed() -> Message:
            return messages.pop(0) if messages else await receive()

        await self.app(scope, replayed, send)

    def _secrets(self, form: bytes) -> Iterator[tuple[str, str]]:
        for name, value in parse_qsl(form.decode("latin-1")):
            if name in SECRETS:
                yield SECRETS[name], value

    @staticmethod
    def _back(body: bytes, headers: dict[str, str], status: int) -> Response:
        """An answer that says in every place what was asked."""
        form = dict(parse_qsl(body.decode("latin-1")))
        sent = form.get("refresh_token") or headers.get("authorization", "").partition(" ")[2]
        said = {
            "error": sent,
            "error_description": f"What is {sent}?",
            "message": f"The token {sent} is unknown here.",
            "documentation_url": f"https://sandbox.invalid/help?token={sent}",
            "asked": {**form, **headers},
        }
        echo = {"content-type": "application/json", "x-asked": sent, "location": f"https://sandbox.invalid/?t={sent}"}
        return Response(json.dumps(said), status, headers=echo)
