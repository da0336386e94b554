"""Templates made into answers, and the files that go with them: styles and scripts, served from this package."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from soulwatch.host.web.labels import label_of
from soulwatch.host.web.state import host_of
from soulwatch.host.web.wording import distance, line_of, state_of, word_of

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
LONGEST_RAW = 6000
"""Characters of raw data shown on the page; the rest is a link away."""


class Static(StaticFiles):
    """The page's own files. Browsers keep them and ask each time whether they changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, with an ETag to ask by."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


static = Static(directory=HERE / "static")


def render(request: Request, template: str, status: int = 200, **shown: Any) -> Response:
    """A template as an answer that nobody keeps; what is shown is escaped."""
    now = host_of(request).clock.now()
    text = _environment().get_template(template).render(url=url_of(request), now=now, **shown)
    # Not "no-referrer": a browser would then send its forms from the origin "null", which is nobody's.
    return HTMLResponse(text, status, {"Cache-Control": "no-store", "Referrer-Policy": "same-origin"})


def url_of(request: Request) -> Callable[[str], str]:
    """From a path of ours to the one browsers ask for: a proxy or another application may put a prefix before it."""
    public_url = host_of(request).settings.public_url
    prefix = urlsplit(public_url).path if public_url else request.scope.get("root_path", "")
    return lambda path: f"{prefix.rstrip('/')}{path}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  - slow to import, and commands need no page

    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"moment": moment, "pretty": pretty, "label": label_of}
    made.filters |= {"state": state_of, "line": line_of, "word": word_of, "prose": prose}
    made.globals |= {"distance": distance}
    return made


def moment(value: datetime | str | None) -> datetime | None:
    """A time of the HTTP API's shapes, which may be text already."""
    if value is None:
        return None
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def pretty(raw: Any) -> tuple[str, bool]:
    """Raw data for reading, and whether it was cut."""
    text = json.dumps(raw, indent=2, ensure_ascii=False)
    return (text, False) if len(text) <= LONGEST_RAW else (text[:LONGEST_RAW], True)


def prose(text: str) -> Markup:
    """A message, escaped; what it says in backticks, commands mostly, looks like one."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  - escaped before
