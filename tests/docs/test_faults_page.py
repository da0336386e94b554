from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.fault_table import OPTION, PAGE, ROOT, rows_of
from support.faults import FAULTS

WRITTEN = rows_of(PAGE.read_text("utf-8"))
AGAIN = "run `nox -s faults`"
COMMIT = re.compile(r"at commit ([0-9a-f]{7,40})\b")


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """The rows as the markers say them now; nothing is run for it."""
    page = tmp_path_factory.mktemp("faults") / "now.md"
    elsewhere = [f"--ignore=tests/{name}" for name in ("browser", "bench", "docs")]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests", *elsewhere]
    done = subprocess.run([*command, f"{OPTION}={page}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return rows_of(page.read_text("utf-8"))


@pytest.fixture(scope="module")
def has_history():
    """Whether this is a checkout, and no unpacked archive or copy of a folder, which know nothing of commits."""
    return (ROOT / ".git").exists()


def test_the_commit_that_the_page_was_seen_at_is_one_of_this_history(has_history):
    named = COMMIT.search(PAGE.read_text("utf-8"))
    assert named, AGAIN
    if has_history:
        command = ["git", "log", "-1", "--format=%s", named[1]]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert shown.stdout.strip(), shown.stderr
        ancestor = ["git", "merge-base", "--is-ancestor", named[1], "HEAD"]
        assert subprocess.run(ancestor, cwd=ROOT, check=False).returncode == 0, f"{named[1]} leads not to here: {AGAIN}"


def test_each_fault_has_its_row_and_nothing_else_has():
    assert list(WRITTEN) == [fault.id for fault in FAULTS]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_what_a_row_says_is_what_its_tests_say(fault, collected):
    assert WRITTEN[fault.id][:2] == collected[fault.id][:2], AGAIN
    assert f"| **{fault.id}** {fault.what} | {fault.expected} |" in PAGE.read_text("utf-8"), AGAIN


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_each_row_has_a_test_and_every_one_of_them_passed(fault):
    tests, _, result = WRITTEN[fault.id]
    assert tests
    assert result.startswith("passed"), result
    assert "," not in result, result


def test_a_row_that_is_none_stops_the_run(tmp_path: Path):
    (tmp_path / "test_odd.py").write_text("import pytest\n\n@pytest.mark.fault('F999')\ndef test_odd(): ...\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    ask = [f"--rootdir={ROOT}", "--confcutdir", str(ROOT), f"{OPTION}={tmp_path / 'page.md'}"]
    done = subprocess.run(
        [*command, *ask, str(ROOT / "tests" / "support"), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "F999" in done.stdout + done.stderr
