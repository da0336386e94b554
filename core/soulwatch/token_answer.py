"""What a token endpoint's answer means: one pure function, the same for exchange, refresh and recovery.

Sources: RFC 6749 sections 5.1, 5.2 and 6; platforms that answer errors with HTTP 200 (GitHub).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

LONGEST_LIFE_S = 10 * 365 * 86400
SHORTEST_LIFE_S = 30.0

TRANSIENT_CODES = frozenset({"temporarily_unavailable", "server_error", "slow_down", "internal_failure"})
CLIENT_CODES = frozenset({"invalid_client", "unauthorized_client"})
TRANSIENT_STATUSES = frozenset({408, 425})
OK_STATUSES = range(200, 300)
REDIRECTS = range(300, 400)
SERVER_ERRORS = range(500, 600)
CODE = re.compile("[!-~]{1,100}")
UNREADABLE = "unreadable_code"


class Verdict(StrEnum):
    """Who can help, and how soon."""

    OK = "ok"
    GRANT = "grant"  # the grant is said to be dead: its user may have to help
    CLIENT = "client"  # our OAuth client is refused: the operator
    CONFIG = "config"  # our request or address is wrong: the operator
    LIMITED = "limited"  # later, as the platform says
    TRANSIENT = "transient"  # later
    MALFORMED = "malformed"  # later; the platform may have acted although its answer cannot be read


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A verdict and what it rests on. `fields` holds secrets and stays out of `repr`."""

    verdict: Verdict
    code: str = ""
    description: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    ambiguous: bool = False
    """Whether the platform may have rotated the refresh token although this answer does not say so."""


def classify(
    status: int, body: bytes, *, aliases: Mapping[str, str] | None = None, must_rotate: bool = False
) -> TokenAnswer:
    """What the answer of a token endpoint means. Total: any bytes get a verdict, none raises.

    `aliases` maps a platform's own error codes to standard ones; with `must_rotate` an answer without a new
    refresh token counts as malformed.
    """
    fields = _fields(body)
    code = _text(fields, "error")
    if code:
        # What is told and stored is a code; anything else in its place may be prose, or hold a secret.
        said = code if CODE.fullmatch(code) else UNREADABLE
        return _by_code(status, (aliases or {}).get(code, code), said, _text(fields, "error_description"))
    if status in OK_STATUSES:
        is_whole = _text(fields, "access_token") and (_text(fields, "refresh_token") or not must_rotate)
        if not is_whole or fields.get("error"):
            return TokenAnswer(Verdict.MALFORMED, ambiguous=True)
        return TokenAnswer(Verdict.OK, fields=fields)
    return _by_status(status)


def _by_code(status: int, code: str, said: str, description: str) -> TokenAnswer:
    if code in CLIENT_CODES:
        return TokenAnswer(Verdict.CLIENT, said, description)
    if status == 429:  # noqa: PLR2004
        return TokenAnswer(Verdict.LIMITED, said, description)
    if code in TRANSIENT_CODES or status in TRANSIENT_STATUSES or status in SERVER_ERRORS:
        return TokenAnswer(Verdict.TRANSIENT, said, description, ambiguous=status in SERVER_ERRORS)
    # Only who is well and has read the request can say that a grant is dead; so it stands below the rest.
    if code == "invalid_grant" and status not in REDIRECTS:
        return TokenAnswer(Verdict.GRANT, said, description)
    return TokenAnswer(Verdict.CONFIG, said, description)


def _by_status(status: int) -> TokenAnswer:
    if status == 401:  # noqa: PLR2004  - refused before OAuth was even read: it is the client that is unknown
        return TokenAnswer(Verdict.CLIENT, f"http_{status}")
    if status == 429:  # noqa: PLR2004
        return TokenAnswer(Verdict.LIMITED, f"http_{status}")
    if status in TRANSIENT_STATUSES or status in SERVER_ERRORS:
        return TokenAnswer(Verdict.TRANSIENT, f"http_{status}", ambiguous=True)
    return TokenAnswer(Verdict.CONFIG, f"http_{status}")


def may_hold_token(status: int, body: bytes) -> bool:
    """Whether an answer that nobody could read is worth keeping: a success that says something, and no error."""
    fields = _fields(body)
    return status in OK_STATUSES and bool(fields) and not _text(fields, "error")


def lifetime_s(value: Any, default: float) -> float:
    """An `expires_in` in seconds: number or digit string; anything else counts as `default`, never as endless."""
    try:
        seconds = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 < seconds <= LONGEST_LIFE_S:
        seconds = default
    return max(seconds, SHORTEST_LIFE_S)


def _fields(body: bytes) -> dict[str, Any]:
    """The members of a JSON object or of a form-encoded body; empty where it is neither."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        looks_encoded = "=" in text and not text.lstrip().startswith(("<", "{", "["))
        return dict(parse_qsl(text, max_num_fields=100)) if looks_encoded and text.count("&") < 100 else {}  # noqa: PLR2004
    return value if isinstance(value, dict) else {}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
