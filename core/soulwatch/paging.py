"""Which URL next? One value for each way platforms split a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from soulwatch.jsontext import dig

if TYPE_CHECKING:
    from soulwatch.api import Answer


class Paging(Protocol):
    """A way to find the next page."""

    def next(self, answer: Answer, value: Any, count: int) -> str | None:
        """The URL after this `answer`, decoded as `value`, that held `count` items. None after the last."""


@dataclass(frozen=True, slots=True)
class OnePage:
    """All there is comes in one answer."""

    def next(self, answer: Answer, value: Any, count: int) -> str | None:  # noqa: ARG002
        """There is none."""
        return None


@dataclass(frozen=True, slots=True)
class NextLink:
    """The body holds the next URL."""

    at: str = "next"

    def next(self, answer: Answer, value: Any, count: int) -> str | None:  # noqa: ARG002
        """The URL in the body, resolved against the current one."""
        link = dig(value, self.at)
        return str(httpx.URL(answer.url).join(link)) if isinstance(link, str) and link else None


@dataclass(frozen=True, slots=True)
class LinkHeader:
    """The `Link` header holds it with `rel="next"` (RFC 8288)."""

    def next(self, answer: Answer, value: Any, count: int) -> str | None:  # noqa: ARG002
        """The URL in the header, resolved against the current one."""
        links = httpx.Response(200, headers={"link": answer.headers.get("link", "")}).links
        link = links.get("next", {}).get("url")
        return str(httpx.URL(answer.url).join(link)) if link else None


@dataclass(frozen=True, slots=True)
class PageToken:
    """The body holds a token that the next request sends as a parameter (Google)."""

    at: str = "nextPageToken"
    param: str = "pageToken"

    def next(self, answer: Answer, value: Any, count: int) -> str | None:  # noqa: ARG002
        """The current URL with the token set."""
        token = dig(value, self.at)
        return str(httpx.URL(answer.url).copy_set_param(self.param, token)) if token else None


@dataclass(frozen=True, slots=True)
class Offset:
    """Requests count through the list; a short page is the last."""

    limit: int
    param: str = "offset"

    def next(self, answer: Answer, value: Any, count: int) -> str | None:  # noqa: ARG002
        """The current URL, further on by what it held."""
        if count < self.limit:
            return None
        url = httpx.URL(answer.url)
        return str(url.copy_set_param(self.param, str(int(url.params.get(self.param, "0")) + count)))
