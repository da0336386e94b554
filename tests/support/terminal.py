"""The command `soulwatch` as a person or a script calls it: a process, with a folder and variables of its own."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 40


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


@dataclass
class Terminal:
    """Where commands are typed: a folder that holds everything, and the variables that are set."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        return {**kept, "HOME": str(self.folder), "PYTHONUNBUFFERED": "1", **self.variables}

    def run(self, *words: str, given: str = "") -> Done:
        """Carry out one command."""
        command = [sys.executable, "-m", "soulwatch", *words]
        done = subprocess.run(
            command,
            input=given,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, *words: str, on_terminal: bool = False) -> Iterator[Running]:
        """A command that goes on, ended with the block at the latest."""
        main, side = pty.openpty() if on_terminal else os.pipe()
        log = (self.folder / f"log-{time.monotonic_ns()}").open("w+b")
        process = subprocess.Popen(
            [sys.executable, "-m", "soulwatch", *words],
            stdout=side,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=self.environment,
            cwd=self.folder,
        )
        os.close(side)
        begun = Running(process, main, Path(log.name))
        try:
            yield begun
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            begun.reader.join()
            os.close(main)
            log.close()


class Running:
    """A process, what it has printed so far, and its log."""

    def __init__(self, process: subprocess.Popen[bytes], out: int, log: Path) -> None:
        self.process = process
        self._log = log
        self._said = b""
        self.reader = threading.Thread(target=self._read, args=(out,))
        self.reader.start()

    def _read(self, out: int) -> None:
        # A pseudo-terminal says "input/output error" where a pipe simply ends.
        with suppress(OSError):
            while select.select([out], [], [], PATIENCE_S * 3)[0] and (more := os.read(out, 4096)):
                self._said += more

    @property
    def out(self) -> str:
        return self._said.decode().replace("\r\n", "\n")

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str) -> str:
        """Wait until this has been printed; all that was."""
        until = time.monotonic() + PATIENCE_S
        while text not in self.out:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.out}{self.log}"
            assert time.monotonic() < until, f"{text!r} was never printed: {self.out}{self.log}"
            time.sleep(0.02)
        return self.out

    def end(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Ask it to end: its exit code, and the seconds it took."""
        begun = time.monotonic()
        self.process.send_signal(by)
        return self.process.wait(PATIENCE_S), time.monotonic() - begun
