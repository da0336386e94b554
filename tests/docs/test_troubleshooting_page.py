from __future__ import annotations

import re
from pathlib import Path

import pytest

from soulwatch.host.reading import PAGES_AHEAD
from soulwatch.host.settling import reason_of

ROOT = Path(__file__).parents[2]
PAGES = ("troubleshooting.md", "behind-a-proxy.md", "connect-your-users.md")
# Adjacent pieces of one text, as Python joins them.
SOURCE = re.sub(r"\"\s*\n\s*f?\"", "", "\n".join(path.read_text("utf-8") for path in (ROOT / "core").rglob("*.py")))
OF_OTHERS = {"database is locked"}  # SQLite's words
TEXT = " ".join((ROOT / "docs" / "how-to" / "troubleshooting.md").read_text("utf-8").split())


def quoted() -> list[str]:
    """What the pages say that the host says."""
    pages = [(ROOT / "docs" / "how-to" / name).read_text("utf-8") for name in PAGES]
    rows = [row for page in pages for row in re.findall(r"(?m)^\| (.+?) \|", page)]
    return sorted({said for row in rows for said in re.findall(r'"([^"`]{9,})"', row)} - OF_OTHERS)


@pytest.mark.parametrize("said", quoted())
def test_the_host_says_what_the_page_quotes(said):
    for piece in filter(None, (piece.strip() for piece in said.split("..."))):
        assert piece in SOURCE or piece.lower() in SOURCE.lower(), piece


def test_the_numbers_are_those_of_the_code():
    words = {8: "eight"}
    assert f"{words[PAGES_AHEAD]} at most for each poll" in TEXT
    assert re.search(r"MOST_POLLS = 50\b", SOURCE)
    assert "50 polls at once" in TEXT


def test_every_reason_that_is_named_is_one_that_the_host_gives():
    named = set(re.findall(r"reason `(\w+)`", TEXT))
    given = set(re.findall(r'"(\w+)"', Path(reason_of.__code__.co_filename).read_text("utf-8")))
    given |= set(re.findall(r'ended\("(\w+)" if \w+ else "(\w+)"', SOURCE)[0])
    assert named <= given | {"expired"}
    assert "expired" in SOURCE
