"""What must never be read in a log: secrets are taken out of texts, and control characters are made visible."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

GONE = "[redacted]"
LONGEST = 8000
"""Characters of one text that are kept: what a platform says in an error may be without end."""

# Bidirectional controls are among them: a name that holds one would show the rest of its line backwards.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_WORDS = (
    r"access[_-]?token|refresh[_-]?token|id[_-]?token|client[_-]?secret|code[_-]?verifier|api[_-]?key|cron[_-]?secret"
    r"|encryption[_-]?key|authorization|set-cookie|cookie|passwd|password|secret|ticket|session|csrf|x-csrf-token|token"
)
_SECRET_NAME = re.compile(rf"(?i)(?:[\w-]*[_-])?(?:{_WORDS})s?")

_ADDRESS = r"(?i)(?<![a-z0-9+.-])([a-z][a-z0-9+.-]*://"
_IS = r"(?:\\*[\"'])?\s*[=:]\s*(?:\\*[\"'])?"
_NOT_YET = r"(?!\[redacted\])"


@cache
def _rules() -> tuple[tuple[re.Pattern[str], str], ...]:
    return (
        # The user part of an address is a password as often as not (database URLs).
        (re.compile(_ADDRESS + r")[^\s/?#\"'<>]*@"), rf"\1{GONE}@"),
        (re.compile(_ADDRESS + r"[^\s?#\"'<>]*)[?#][^\s\"'<>]*"), rf"\1?{GONE}"),
        (re.compile(r"((?<![\w.:/])/[\w./~%:@-]*)[?#][^\s\"'<>]*=[^\s\"'<>]*"), rf"\1?{GONE}"),
        (re.compile(r"(?i)\b((?:bearer|basic)\s+)(?=\S*[\d=._~+/-])[\w.~+/=-]{6,}"), rf"\1{GONE}"),
        (
            re.compile(rf"(?i)(\b(?:{_WORDS}){_IS}(?>(?:bearer\s+|basic\s+|token\s+)?)){_NOT_YET}[^\s\"'&,;)}}\]]+"),
            rf"\1{GONE}",
        ),
        # A code or state is a secret where it is OAuth's, and worth reading where it is a number or a name.
        (re.compile(rf"(?i)(\b(?:code|state){_IS})(?-i:(?![a-z]+(?:_[a-z]+)*\b))[\w.~+/=-]{{8,}}"), rf"\1{GONE}"),
        (
            re.compile(r"(?i)(\bcode(?:=|\\*[\"']\s*[=:]\s*\\*[\"']))(?-i:(?![a-z]+(?:_[a-z]+)+\b))[\w.~+/=-]{8,}"),
            rf"\1{GONE}",
        ),
        (re.compile(r"\bsw_[\w-]{8,}"), f"sw_{GONE}"),
        (re.compile(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}\b"), GONE),
        (re.compile(r"\b(?:gh[opsur]_|github_pat_|ya29\.|xox[abps]-)[\w.-]{10,}"), GONE),
        (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), GONE),
        (re.compile(r"(?<![\w+/])[A-Za-z0-9+/]{43}="), GONE),
        (re.compile(r"\b[0-9a-fA-F]{64}\b"), GONE),
        # Whatever else is long and mixed is somebody's token; ids and digests are in small letters alone.
        (re.compile(r"(?<![\w-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])(?=[\w-]*\d)[\w-]{40,}"), GONE),
    )


def is_secret(name: str) -> bool:
    """Whether what stands under this name is a secret, whatever it looks like."""
    return _SECRET_NAME.fullmatch(name) is not None


def redactor(secrets: Iterable[str] = ()) -> Callable[[str], str]:
    """What takes secrets out of a text: `secrets` wherever they stand, and all that looks like one."""
    # The longest first, since one secret may begin like another. Very short ones would take words apart.
    known = sorted({secret for secret in secrets if len(secret) >= 6}, key=len, reverse=True)  # noqa: PLR2004
    rules = _rules()
    exact = re.compile("|".join(map(re.escape, known))) if known else None

    def redact(text: str) -> str:
        if exact is not None:
            text = exact.sub(GONE, text)
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}... ({len(text) - LONGEST} more characters)"
        for pattern, instead in rules:
            text = pattern.sub(instead, text)
        return text

    return redact


def visible(text: str) -> str:
    """The text with control characters spelled out, so that it cannot pretend to be another line or colour."""
    return _UNSEEN.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode()
