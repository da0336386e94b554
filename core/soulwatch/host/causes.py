"""Why a database cannot be used, as far as its driver says, and what to do about it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoneIsFree

WRONGLY_ASKED = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What a database answers to a mistake of ours, well as it is."""
ROLLED_BACK = "40"
"""The class of PostgreSQL's codes for a deadlock and the like: of two that are well, one has to try again."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What keeps a database from being used."""

    what: str
    """What cannot be done, and why: for anybody to read."""
    said: str
    """The driver's words; they may hold addresses."""
    remedy: str = ""

    def told(self, otherwise: str = "") -> str:
        """It as the operator reads it, without a full stop; `otherwise` stands where no remedy is known."""
        return f"The database {self.what.partition(':')[0]}: {self.said}. {self.remedy or otherwise}"


_KNOWN = tuple(
    (re.compile(words, re.IGNORECASE), what, remedy)
    for words, what, remedy in (
        (r"disk is full|no space left|quota", "cannot be written: no room is left", "Make room on the disk of {place}"),
        (
            r"readonly|read-only|permission denied",
            "cannot be written: it may only be read",
            "Make {place} writable for the user of this process",
        ),
        (r"is locked", "cannot be written: another program holds it", "End what else works on {place}"),
        (r"disk I/O error|input/output error", "cannot be used: its disk fails", "Examine the disk of {place}"),
        (
            r"malformed|not a database",
            "cannot be used: its file is damaged",
            "Restore a backup of {place}, or let DATABASE_URL name another file",
        ),
        (
            r"too many open files",
            "cannot be used: no file can be opened",
            "Let this process open more files (ulimit -n)",
        ),
    )
)


def cause_of(broken: BaseException, url: URL) -> Cause | None:
    """What is wrong with the database at `url`; None where it is something else that broke."""
    found = [_cause(leaf, url) for leaf in _leaves(broken)]
    return found[0] if found and all(found) else None


def _cause(broken: BaseException, url: URL) -> Cause | None:
    if not isinstance(broken, DBAPIError | sqlite3.Error | OSError | NoneIsFree) or isinstance(broken, WRONGLY_ASKED):
        return None
    if getattr(getattr(broken, "orig", broken), "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return None  # a table that is missing, a statement it does not understand
    if str(getattr(getattr(broken, "orig", None), "sqlstate", "")).startswith(ROLLED_BACK):
        return None
    said = re.sub(r"^<class '[^']*'>: ", "", str(getattr(broken, "orig", None) or broken)).partition("\n")[0]
    for words, what, remedy in _KNOWN:
        if words.search(said):
            return Cause(what, said, remedy.format(place=_place(url)))
    return Cause("cannot be used", said)


def _place(url: URL) -> str:
    """Where somebody has to go to mend it."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)


def _leaves(broken: BaseException) -> Iterator[BaseException]:
    if isinstance(broken, BaseExceptionGroup):
        for one in broken.exceptions:
            yield from _leaves(one)
    else:
        yield broken
