"""A platform's facts: data only, no call is made to learn them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from soulwatch.errors import UnexpectedAnswer
from soulwatch.jsontext import dig
from soulwatch.oauth import OAuth2
from soulwatch.values import Account


@dataclass(frozen=True, slots=True)
class Identity:
    """Where a platform says whose token it is, and under which names.

    `id` lists paths tried in order; the first that is there is the account's id.
    """

    url: str
    id: tuple[str, ...] = ("id",)
    name: tuple[str, ...] = ("name",)

    def read(self, answer: Any) -> Account:
        """The account in a decoded answer. Raises UnexpectedAnswer where no id is found."""
        found = _first(answer, self.id)
        if found is None:
            raise UnexpectedAnswer(f"{self.url} names no account: none of {', '.join(self.id)} is in its answer.")
        return Account(id=str(found), name=str(_first(answer, self.name) or found))


@dataclass(frozen=True, slots=True)
class Platform:
    """An outside service: who it is, where it lives, what it allows."""

    name: str
    title: str
    oauth: OAuth2
    hosts: tuple[str, ...]
    """Hosts of its API. A token is never sent anywhere else."""
    identity: Identity
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every API request, such as a version."""
    client: str = ""
    """The name our OAuth client is set under, where several platforms share one; else the platform's own."""
    concurrency: int = 4
    """API calls in flight at once, for all connections together."""
    limit_reasons: tuple[str, ...] = ()
    """How error reasons in a 403 answer begin that mean "too many requests"."""
    client_limit_reasons: tuple[str, ...] = ()
    """How reasons in a 429 or 403 answer begin that stop our whole OAuth client, not one connection."""
    retention: timedelta | None = None
    """How long the platform's terms let its data be kept; None leaves it to the operator."""
    reconnect_hint: str = ""
    """What the platform's user should know when a connection has to be made again."""

    @property
    def client_name(self) -> str:
        """The name our OAuth client is set under."""
        return self.client or self.name


def _first(answer: Any, paths: tuple[str, ...]) -> Any:
    return next((found for path in paths if (found := dig(answer, path)) is not None), None)
