"""What goes wrong, where and how often: the switches. How it goes wrong is next door, in `breaking`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Literal, get_args

Kind = Literal[
    "status",  # answer with `status`, and `retry_after` if given
    "limited",  # too many requests, in the pose's words
    "quota",  # Spotify's daily quota is used up
    "secondary_limit",  # GitHub's other limit
    "html",  # 200 and a web page
    "malformed",  # 200 and half a JSON text
    "empty",  # 200 and not a byte
    "not_a_list",  # the list of the answer becomes something else
    "huge",  # `mib` of JSON
    "gzip_bomb",  # `mib` of JSON in very few bytes
    "redirect",  # 307 to the host `to`
    "hang",  # wait `seconds`, then answer
    "drip",  # send `after_bytes` at a time, `seconds` apart
    "cut",  # reset the connection after `after_bytes` of the body
    "drop",  # reset the connection before anything is done
    "lose_answer",  # do what was asked, then reset the connection
    "next_loop",  # the next page is this page
    "next_aba",  # the page after next is the first again
    "invalid_grant",  # a token endpoint says so, whether true or not
    "invalid_client",  # likewise
    "expires_in",  # a token answer with `value` for it; without a value it is left out
    "set_member",  # an answer with member `name` set to `value`
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong."""

    kind: str
    pose: str = "*"
    path: str = ""
    """Prefix within the pose, such as `/v1/notes` or `/token`."""
    method: str | None = None
    person: str | None = None
    """Only for requests with a token of this person."""
    times: int | None = 1
    """How often it strikes; None until it is cleared."""
    skip: int = 0
    """So many requests are let through first."""
    status: int = 503
    retry_after: str | None = None
    seconds: float = 1.0
    """How long it hangs, between two drips, or until a limit is over."""
    after_bytes: int = 20
    value: Any = None
    name: str = ""
    to: str = "http://elsewhere.invalid"
    mib: int = 64
    id: str = ""
    struck: int = 0
    """How often it has struck so far."""
    struck_at: datetime | None = None
    first_url: str | None = field(default=None, repr=False)

    def as_json(self) -> dict[str, Any]:
        """For `/control/faults`."""
        return {**asdict(self), "struck_at": self.struck_at and self.struck_at.isoformat()}


class Faults:
    """The faults that are switched on. The oldest that fits a request strikes."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._active: list[Fault] = []
        self._count = itertools.count(1)

    @property
    def active(self) -> list[Fault]:
        """Those that may still strike."""
        return list(self._active)

    def add(self, kind: str, *, retry_after: str | float | datetime | None = None, **about: Any) -> Fault:
        """Switch one on. Raises ValueError for an unknown kind, TypeError for an unknown part."""
        if kind not in KINDS:
            raise ValueError(f"There is no fault {kind!r}. Known are: {', '.join(KINDS)}.")
        fault = Fault(kind, retry_after=_header(retry_after), **{**about, "id": f"fault-{next(self._count)}"})
        self._active.append(fault)
        return fault

    def clear(self, fault_id: str | None = None) -> None:
        """Switch one off, or all."""
        self._active = [] if fault_id is None else [one for one in self._active if one.id != fault_id]

    def take(self, pose: str, path: str, method: str, person_of: Callable[[], str | None]) -> Fault | None:
        """The fault that strikes this request; its turn is used up."""
        for fault in self._active:
            fits = fault.pose in ("*", pose) and path.startswith(fault.path) and fault.method in (None, method)
            if not fits or (fault.person is not None and person_of() != fault.person):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.struck += 1
            fault.struck_at = self._now()
            if fault.times is not None and fault.struck >= fault.times:
                self._active.remove(fault)
            return fault
        return None


def _header(retry_after: str | float | datetime | None) -> str | None:
    if retry_after is None or isinstance(retry_after, str):
        return retry_after
    return format_datetime(retry_after, usegmt=True) if isinstance(retry_after, datetime) else str(retry_after)
