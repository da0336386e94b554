"""Ten thousand connections with tokens of an hour, kept fresh by one worker.

    python tests/bench/ten_thousand.py [--connections 10000] [--hours 1] [--connected-within 48] [--database sqlite]

The worker, with its real loops, and the platform, over real HTTP, are processes of their own. The clock is put forward
wherever the worker has nothing to do: an hour of that is lived through in the time its work takes, and being late by
it is being late. "connected within" says over how many minutes the connections had been made: 48 spread the work
evenly, 1 makes all of it due at once. That every refresh is done five minutes before its token ends is demanded; the
rest is told.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])

from support.postgres import running_postgres  # noqa: E402  - found by the line above

IN_TIME_S = 300


@contextmanager
def platform(grants: int, file: Path) -> Iterator[str]:
    """A sandbox in a process of its own; its address."""
    command = [sys.executable, str(HERE / "sandbox_of.py"), str(grants), str(file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate()


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The address of an empty database."""
    if kind == "sqlite":
        yield f"sqlite+aiosqlite:///{folder}/soulwatch.db"
        return
    with running_postgres() as server:
        yield server.make_database("bench")


def run(asked: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, database(asked.database, Path(name)) as url:
        folder = Path(name)
        with platform(asked.connections, folder / "granted.json") as address:
            settings = {
                "data_dir": name,
                "database_url": url,
                "platforms": {"sandbox": {"api_url": address, "oauth_url": address}},
                "clients": {"sandbox": {"id": "invented-sandbox-client", "secret": "invented-sandbox-secret"}},
            }
            task = {**vars(asked), "settings": settings, "granted": str(folder / "granted.json")}
            (folder / "task.json").write_text(json.dumps(task))
            command = [sys.executable, str(HERE / "busy_worker.py")]
            subprocess.run([*command, "give", name + "/task.json"], check=True, stderr=subprocess.DEVNULL)
            done = subprocess.run([*command, "work", name + "/task.json"], check=True, stdout=subprocess.PIPE)
            figures: dict[str, Any] = json.loads(done.stdout)
            return figures


def report(asked: argparse.Namespace, figures: dict[str, Any]) -> None:
    late_s = sorted(figures["late_s"])
    count, cpu_s, worked_s = len(late_s), figures["cpu_s"] / asked.hours, figures["took_s"]
    print(f"{asked.connections:,} connections made within {asked.connected_within:g} minutes, on {asked.database}")
    print(f"refreshes in {asked.hours:g} h              {count:,}, all applied")
    at = {"p50": late_s[count // 2], "p99": late_s[count * 99 // 100], "max": late_s[-1]}
    print(f"later than planned          {', '.join(f'{name} {value:.2f} s' for name, value in at.items())}")
    print(f"least time to a token's end {figures['least_left_s'] / 60:.1f} min")
    print(
        f"requests per second         {count / 3600 / asked.hours:.2f} over the hours, {count / worked_s:.0f} at work"
    )
    print(f"CPU s per hour              {cpu_s:.0f}, that is {cpu_s / 36:.1f}% of one core")
    print(f"peak memory                 {figures['peak']:.0f} MB")
    print(f"lived through in            {worked_s:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--connected-within", type=float, default=48)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    asked = parser.parse_args()
    figures = run(asked)
    report(asked, figures)
    if figures["least_left_s"] < IN_TIME_S or figures["too_late"]:
        raise SystemExit(f"refreshed too late: {figures['too_late']} tokens end within five minutes or have ended")


if __name__ == "__main__":
    main()
