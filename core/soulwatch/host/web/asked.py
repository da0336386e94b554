"""What a request asks for, read and checked: a wrong value gets an answer that names it."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from soulwatch.errors import NotFound
from soulwatch.host.web.state import host_of

LONGEST_TEXT = 200
LARGEST_ID = 2**63 - 1
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
WANTED = f"has to be a text of 1 to {LONGEST_TEXT} characters, none of them a control character"


def decoded(text: str | bytes) -> Any:
    """The value of a JSON text from outside. Raises ValueError."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise ValueError(str(broken)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_name(text: str) -> bool:
    """Whether a text can name something: short, and nothing in it that a log or a database stumbles over."""
    return bool(text.strip()) and len(text) <= LONGEST_TEXT and CONTROL.search(text) is None


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object a request brings; an empty body is an empty object. Raises HTTPException 400 or 422."""
    body = await request.body()
    if not body.strip():
        return {}
    try:
        value = decoded(body)
    except ValueError as broken:
        raise HTTPException(400, f"The body is no JSON: {broken}.") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "The body has to be a JSON object.")
    if NUL.search(body):
        raise HTTPException(422, "A text in the body holds U+0000, which not every database can keep.")
    return value


def text_in(body: dict[str, Any], name: str, *, is_needed: bool = True) -> str | None:
    """A text in a body. Raises HTTPException 422, naming it."""
    value = body.get(name)
    if value is None and not is_needed:
        return None
    if not isinstance(value, str) or not is_name(value):
        raise HTTPException(422, f'"{name}" {WANTED}.')
    return value


def user_in(request: Request) -> str:
    """The user a path is about. Raises HTTPException 422."""
    user: str = request.path_params["user"]
    if not is_name(user):
        raise HTTPException(422, f"The user {WANTED}.")
    return user


def id_in(request: Request) -> str:
    """The id a path names. Raises NotFound where nothing can have it."""
    found: str = request.path_params["id"]
    if not is_name(found):
        raise NotFound("Nothing has such an id.")
    return found


def known_platform(request: Request, name: str) -> None:
    """There is a plugin for this platform, be it at fault. Raises NotFound."""
    plugins = host_of(request).plugins
    plugin = plugins.get(name)
    is_at_fault = any(problem.plugin == name for problem in plugins.problems)
    if not is_at_fault and (plugin is None or plugin.platform is None):
        raise NotFound(f"There is no platform {name[:LONGEST_TEXT]!r}; `soulwatch plugins` lists those there are.")


def known_only(given: Collection[str], *names: str) -> None:
    """Nothing else may be in a body or a query: a misspelt filter would filter nothing. Raises HTTPException 422."""
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise HTTPException(422, f"Unknown: {', '.join(unknown)[:LONGEST_TEXT]}. Known: {', '.join(names)}.")


def query(request: Request, name: str) -> str | None:
    """A text in the query string. Raises HTTPException 422."""
    value = request.query_params.get(name)
    if value is not None and not is_name(value):
        raise HTTPException(422, f'"{name}" {WANTED}.')
    return value


def number(request: Request, name: str, default: int | None, *, least: int = 0, most: int = LARGEST_ID) -> int | None:
    """A whole number in the query string. Raises HTTPException 422."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(most)) or not least <= int(text) <= most:
        raise HTTPException(422, f'"{name}" has to be a whole number from {least} to {most}.')
    return int(text)
