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
            return _began(int(pid)) != began
    return False


def _place() -> str | None:
    """This boot of this machine, and within it the processes that see each other; None where that is not told."""
    with suppress(OSError):
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(PROC / 'self/ns/pid').readlink().name}".replace(":", "-")
    return None


def _began(pid: int) -> str:
    """When a process began, in clock ticks since the boot, since its number may be given again; "" where it is gone."""
    with suppress(OSError, IndexError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]
    return ""
