"""A disk of a few MiB, filled and freed as a test likes: a tmpfs, which only root can mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

SIZE_MIB = 4
BLOCK = 4096


@dataclass
class SmallDisk:
    """A mounted disk."""

    folder: Path

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Take up all of it but so many blocks of 4 KiB."""
        with self._ballast.open("ab", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(BLOCK)) == BLOCK:
                pass
        size = self._ballast.stat().st_size // BLOCK * BLOCK
        os.truncate(self._ballast, size - leave * BLOCK)

    def free(self) -> None:
        """Give back what was taken up."""
        self._ballast.unlink()

    def remount(self, how: str) -> None:
        """Mount it anew: `ro` or `rw`."""
        subprocess.run(["mount", "-o", f"remount,{how}", self.folder], check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """An empty disk; the test is skipped where none may be mounted."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=0700", "tmpfs", folder]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as refused:
        pytest.skip(f"no disk may be mounted here, which takes root on Linux: {getattr(refused, 'stderr', refused)}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)
