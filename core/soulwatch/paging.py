"""Which URL next? One value for each way platforms split a list."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from soulwatch.errors import UnexpectedAnswer
from soulwatch.jsontext import dig

if TYPE_CHECKING:
    from soulwatch.api import Answer

# A parameter's value may be quoted, and then holds what separates parameters and links elsewhere.
LINK = re.compile(r"""<([^<>]*)>((?:"[^"]*"|[^"<,])*)""")
PARAM = re.compile(r""";\s*([^\s"=;]+)\s*(?:=\s*(?:"([^"]*)"|([^\s"=;]+)))?""")


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
        return _joined(answer, dig(value, self.at))


@dataclass(frozen=True, slots=True)
class LinkHeader:
    """The `Link` header holds it with `rel="next"` (RFC 8288)."""

    def next(self, answer: Answer, value: Any, count: int) -> str | None:  # noqa: ARG002
        """The URL in the header, resolved against the current one."""
        for url, params in LINK.findall(answer.headers.get("link", "")):
            said = {name.lower(): quoted or plain for name, quoted, plain in PARAM.findall(params)}
            if "next" in said.get("rel", "").lower().split():
                return _joined(answer, url)
        return None


@dataclass(frozen=True, slots=True)
class PageToken:
    """The body holds a token that the next request sends as a parameter (Google)."""

    at: str = "nextPageToken"
    param: str = "pageToken"

    def next(self, answer: Answer, value: Any, count: int) -> str | None:  # noqa: ARG002
        """The current URL with the token set."""
        token = dig(value, self.at)
        if not token:
            return None
        if isinstance(token, bool) or not isinstance(token, str | int):
            raise UnexpectedAnswer(
                f"The next page's token is {type(token).__name__}, expected a text. "
                "The platform changed shape; update the connector."
            )
        return str(httpx.URL(answer.url).copy_set_param(self.param, token))


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


def _joined(answer: Answer, link: Any) -> str | None:
    """`link` as a whole address. Raises UnexpectedAnswer: what is no address must not pass for the end of a list."""
    if not link:
        return None
    try:
        return str(httpx.URL(answer.url).join(link))
    except (httpx.InvalidURL, TypeError, ValueError):
        raise UnexpectedAnswer(
            "The link to the next page is no address. The platform changed shape; update the connector."
        ) from None
