from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"(?ms)^```.*?^```$", "", page.read_text("utf-8"))


@cache
def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them: small letters, blanks to hyphens, no other signs."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"(?m)^#+ (.+)$", prose(page)):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        count = found[name] = found.get(name, -1) + 1
        names.add(f"{name}-{count}" if count else name)
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page):
    links = [link for link in LINK.findall(prose(page)) if not re.match(r"\w+:", link)]
    for link in links:
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{link}: there is no {there}"
        assert ROOT in there.parents, f"{link} leads out of the repository"
        if anchor:
            assert anchor in anchors(there), (
                f"{link}: {there.name} has no heading {anchor}; it has {sorted(anchors(there))}"
            )


@pytest.mark.parametrize("page", sorted(set(DOCS.rglob("*.md")) - {DOCS / "index.md"}), ids=lambda page: page.stem)
def test_the_map_leads_to_it(page):
    map_ = DOCS / "index.md"
    assert page in {(DOCS / link.partition("#")[0]).resolve() for link in LINK.findall(prose(map_))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_first_line_is_its_only_title(page):
    text = prose(page)
    assert text.startswith("# ")
    assert len(re.findall(r"(?m)^# ", text)) == 1
