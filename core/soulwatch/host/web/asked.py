"""What a request asks for, read and checked: a wrong value gets an answer that names it."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

LONGEST_TEXT = 200
LARGEST_ID = 2**63 - 1


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object a request brings; an empty body is an empty object. Raises HTTPException 400."""
    body = await request.body()
    if not body.strip():
        return {}
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as broken:
        raise HTTPException(400, f"The body is no JSON: {broken}.") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "The body has to be a JSON object.")
    return value


def text_in(body: dict[str, Any], name: str, *, is_needed: bool = True) -> str | None:
    """A text in a body. Raises HTTPException 422, naming it."""
    value = body.get(name)
    if value is None and not is_needed:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_TEXT:
        raise HTTPException(422, f'"{name}" has to be a text of 1 to {LONGEST_TEXT} characters.')
    return value


def known_only(body: dict[str, Any], *names: str) -> None:
    """Nothing else may be in a body. Raises HTTPException 422, naming what is."""
    unknown = sorted(set(body) - set(names))
    if unknown:
        raise HTTPException(422, f"Unknown: {', '.join(unknown)[:LONGEST_TEXT]}. Known: {', '.join(names)}.")


def query(request: Request, name: str) -> str | None:
    """A text in the query string. Raises HTTPException 422."""
    value = request.query_params.get(name)
    if value is not None and (not value or len(value) > LONGEST_TEXT):
        raise HTTPException(422, f'"{name}" has to be a text of 1 to {LONGEST_TEXT} characters.')
    return value


def number(request: Request, name: str, default: int | None, *, least: int = 0, most: int = LARGEST_ID) -> int | None:
    """A whole number in the query string. Raises HTTPException 422."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(most)) or not least <= int(text) <= most:
        raise HTTPException(422, f'"{name}" has to be a whole number from {least} to {most}.')
    return int(text)
