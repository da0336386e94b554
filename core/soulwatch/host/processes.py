"""Who holds a lease: a name by which other processes of the same machine see that its owner is gone."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def name_of_this(token: str) -> str:
    """A name for this process, unique by `token`, that tells where it lives and since when."""
    place = _place()
    if place is None:
        return f"{socket.gethostname()}:{os.getpid()}:{token}"
    return f"{place}:{os.getpid()}:{_began(os.getpid())}:{token}"


def is_gone(owner: str) -> bool:
    """Whether that process certainly runs no more. Of another machine or container nothing is certain."""
    match owner.split(":"):
        case [place, pid, began, _] if place == _place() and pid.isdigit():
            seen = _began(int(pid))
            return seen != began if seen else not _may_live(int(pid))
    return False


def _may_live(pid: int) -> bool:
    """Whether there is a process of this number; of one whose past is hidden nothing more is known (`hidepid`)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _place() -> str | None:
    """This boot of this machine, and within it the processes that see each other; None where that is not told."""
    with suppress(OSError):
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(PROC / 'self/ns/pid').readlink().name}".replace(":", "-")
    return None


def _began(pid: int) -> str:
    """When a process began, in clock ticks since the boot: its number may be given again. "" where none is seen."""
    with suppress(OSError, IndexError):
        state, *rest = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return "ended" if state in "ZX" else rest[18]
    return ""
