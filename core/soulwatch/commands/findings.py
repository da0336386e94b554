"""What an examination finds: how bad it is, what it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `soulwatch doctor`."""

    level: Literal["ok", "warn", "fail"]
    title: str
    what: str
    remedy: str = ""


def ok(title: str, what: str) -> Finding:
    """In order."""
    return Finding("ok", title, what)


def warn(title: str, what: str, remedy: str) -> Finding:
    """It works, but somebody should look at it."""
    return Finding("warn", title, what, remedy)


def fail(title: str, what: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding("fail", title, what, remedy)
