"""The page of the fault table, made of a real run: each row with the tests that show it, and how they ended."""

from __future__ import annotations

import platform
import re
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.faults import BY_ID, FAULTS, Fault
from support.postgres import _programs

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "faults.md"
OPTION = "--fault-table"
HOW = ("played", "real")
ENDS = ("failed", "passed", "not run")
HEAD = """# Faults, and how they end

What goes wrong for those who keep connections alive, what soulwatch does then, and the tests that show it. *Played*
faults are made in the test's own process, in a given order and often by a clock of the test's own; *real* ones are made
outside of it: processes that are killed or stopped, full disks, restarted servers, certificates.

This page is written by `nox -s faults`, from what it saw: do not change it by hand. The results are those of the day
and the commit named below, which may be older than the files beside it. What is compared with the tests as they are
now, at each run of `tests/docs`, are the rows and the names of their tests.
"""
TABLE = """
| fault | expected | tests | how | result |
| --- | --- | --- | --- | --- |
"""


@dataclass
class Case:
    """One case of a test: the rows it shows, and how it ended."""

    test: str
    faults: tuple[str, ...]
    how: str
    ended: str = "not run"


class FaultTable:
    """A pytest plugin: runs the marked tests alone, and writes the page once all of them were run or collected."""

    def __init__(self, page: Path, *, is_worker: bool) -> None:
        self._page = page
        self._is_worker = is_worker
        self._cases: dict[str, Case] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave the rest out, and tell of each case what it shows, in words that a report carries."""
        marked = [item for item in items if item.get_closest_marker("fault")]
        for item in marked:
            faults, how = claims(item)
            item.user_properties += [("faults", " ".join(faults)), ("how", how)]
            self._case(item.nodeid, faults, how)
        config.hook.pytest_deselected(items=[item for item in items if item not in marked])
        items[:] = marked

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a case ended; one that fails at any step of it has failed."""
        told = dict(report.user_properties)
        if "faults" not in told:
            return
        # In the process that hands out the work nothing was collected: all it knows is in the reports.
        case = self._case(report.nodeid, tuple(str(told["faults"]).split()), str(told["how"]))
        if case.ended != "failed" and (report.when == "call" or not report.passed):
            case.ended = "not run" if report.skipped else report.outcome

    def _case(self, nodeid: str, faults: tuple[str, ...], how: str) -> Case:
        return self._cases.setdefault(nodeid, Case(nodeid.partition("[")[0], faults, how))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the page, unless the run was cut off."""
        if not self._is_worker and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self._page.write_text(page_of(list(self._cases.values())), "utf-8")


def claims(item: pytest.Item) -> tuple[tuple[str, ...], str]:
    """The rows that a test says it shows, and how. Raises UsageError for a row that is none."""
    marks = list(item.iter_markers("fault"))
    faults = tuple(dict.fromkeys(fault for mark in reversed(marks) for fault in mark.args))
    unknown = [fault for fault in faults if fault not in BY_ID]
    by_place = "real" if "tests/faults/" in item.nodeid else "played"
    how = next((mark.kwargs["how"] for mark in marks if "how" in mark.kwargs), by_place)
    if unknown or not faults or how not in HOW:
        raise pytest.UsageError(f"{item.nodeid}: fault{faults} by {how!r} is in no row of tests/support/faults.py")
    return faults, how


def page_of(cases: Sequence[Case]) -> str:
    """The whole page."""
    lines = [_line(fault, [case for case in cases if fault.id in case.faults]) for fault in FAULTS]
    return HEAD + f"\n{_seen(cases)}\n" + TABLE + "\n".join(lines) + "\n"


def _seen(cases: Sequence[Case]) -> str:
    day, tests = datetime.now(UTC).date().isoformat(), len({case.test for case in cases})
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, PostgreSQL {_postgres()}"
    return f"Seen on {day} at commit {_commit()} with {versions}:\n{tests} tests, {_result(cases)}."


def _line(fault: Fault, cases: Sequence[Case]) -> str:
    tests = [_link(test) for test in sorted({case.test for case in cases})]
    if fault.not_shown:
        tests.append(f"Not shown: {fault.not_shown}")
    how = ", ".join(one for one in HOW if one in {case.how for case in cases})
    return f"| **{fault.id}** {fault.what} | {fault.expected} | {'<br>'.join(tests)} | {how} | {_result(cases)} |"


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name.replace('::', '.')}](../../{path})"


def _result(cases: Sequence[Case]) -> str:
    ends = Counter(case.ended for case in cases)
    return ", ".join(f"{word} {ends[word]}" for word in ENDS if ends[word]) or "no test"


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + (" (and changes)" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _postgres() -> str:
    said = subprocess.run([_programs() / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return re.sub(r".*\(PostgreSQL\) ", "", said).split()[0]


def rows_of(page: str) -> dict[str, tuple[list[str], str, str]]:
    """Of each row of a page: its tests with their files, how they show it, and the result."""
    found = {}
    for line in page.splitlines():
        if line.startswith("| **F"):
            what, _, tests, how, result = (cell.strip() for cell in line[1:-1].split(" | "))
            links = re.findall(r"\[([^\]]+)\]\(\.\./\.\./([^)]+)\)", tests)
            found[what.split("**")[1]] = ([f"{path}::{name}" for name, path in links], how, result)
    return found
