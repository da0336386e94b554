"""Each safeguard, taken away, is missed by the test that is there for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.ablations import SAFEGUARDS, Safeguard

ROOT = Path(__file__).parents[2]
FAILED = 1
A_CHECK = re.compile(r"^FAILED .* - (sim\.world\.Broken|AssertionError|assert |Failed: DID NOT RAISE)", re.MULTILINE)
"""How a test fails that misses something, and not by a mistake of its own or by what was taken away too much."""


def run(safeguard: Safeguard, *options: str) -> subprocess.CompletedProcess[str]:
    """The test that is there for a safeguard, in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, safeguard.caught_by]
    wide = {**os.environ, "COLUMNS": "10000"}
    return subprocess.run(command, cwd=ROOT, env=wide, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("safeguard", SAFEGUARDS, ids=[one.name for one in SAFEGUARDS])
def test_without_it_a_test_fails(safeguard):
    missing = run(safeguard, f"--without={safeguard.name}")

    assert missing.returncode == FAILED, missing.stdout + missing.stderr
    assert "1 failed" in missing.stdout
    assert A_CHECK.search(missing.stdout), missing.stdout
