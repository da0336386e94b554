"""Plays the person in front of the consent page, for tests of connecting."""

from __future__ import annotations

from collections.abc import Sequence
from html import unescape
from re import findall

import httpx


async def answer_consent(
    http: httpx.AsyncClient,
    authorize_url: str,
    *,
    person: str = "mira",
    answer: str = "allow",
    scope: Sequence[str] | None = None,
) -> str:
    """Open the page, press a button, and give the address it sends the browser to.

    `scope` are the boxes left ticked, all if None. Raises httpx.HTTPStatusError where there is no page.
    """
    page = await http.get(authorize_url, follow_redirects=False)
    if page.is_redirect:
        return page.headers["location"]
    page.raise_for_status()
    ticked = [unescape(one) for one in findall(r'name="scope" value="([^"]*)"', page.text)]
    form = {"person": person, "answer": answer, "scope": ticked if scope is None else list(scope)}
    sent = await http.post(authorize_url, data=form, follow_redirects=False)
    if not sent.is_redirect:
        sent.raise_for_status()
    return sent.headers["location"]
