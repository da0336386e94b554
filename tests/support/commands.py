"""The command `soulwatch` carried out in this process: quicker than a process of its own, and all else as usual."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from soulwatch.cli import main
from soulwatch.host.logs import QUIET, LogHandler
from support.terminal import Done

OURS = re.compile(r"SOULWATCH_.*|.*_CLIENT_(ID|SECRET)|DATABASE_URL|ENCRYPTION_KEY|CRON_SECRET|XDG_DATA_HOME")


@dataclass
class Here:
    """Where commands are carried out: a folder of the test's own, without any settings but its own."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def set(self, **variables: str) -> None:
        """Set variables of the environment."""
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)

    def run(self, *words: str) -> Done:
        """Carry out one command, to which nobody answers anything."""
        self.monkeypatch.setattr("sys.stdin", io.StringIO())
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0, *self.capsys.readouterr())


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logging_as_it_was: None
) -> Here:
    """An empty folder to carry commands out in."""
    monkeypatch.chdir(tmp_path)
    for name in filter(OURS.fullmatch, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Here(tmp_path, monkeypatch, capsys)


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """Commands configure the log of the whole process: it is put back."""
    root = logging.getLogger()
    names = ["uvicorn.access", *QUIET]
    before = (root.level, {name: (logging.getLogger(name).level, logging.getLogger(name).disabled) for name in names})
    yield
    for handler in [one for one in root.handlers if isinstance(one, LogHandler)]:
        root.removeHandler(handler)
    root.setLevel(before[0])
    for name, (level, is_disabled) in before[1].items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).disabled = is_disabled
