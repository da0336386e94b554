"""One stream of records into SQLite: soulwatch beside a straightforward script, in turn, in one run.

    python tests/bench/one_stream.py [--records 20000] [--per-page 100] [--rounds 5]

Each contender is a process of its own; its CPU seconds and peak memory are what the operating system says of it,
start-up included. "sync s" is the reading alone, as the process itself measured it. "second pass" reads the same
unchanged list again into the same database.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent


@dataclass
class Run:
    new: int
    sync_s: float
    wall_s: float
    cpu_s: float
    peak_mb: float


def run(script: str, url: str, place: str) -> Run:
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(HERE / script), url, place], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read().split()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{script} failed with {process.returncode}")
    wall = time.perf_counter() - begun
    return Run(int(said[0]), float(said[1]), wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def contend(url: str, rounds: int) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, script, place in (
                ("soulwatch", "ours.py", f"{folder}/ours"),
                ("straightforward", "straightforward.py", f"{folder}/plain.db"),
                ("soulwatch, second pass", "ours.py", f"{folder}/ours"),
                ("straightforward, second pass", "straightforward.py", f"{folder}/plain.db"),
            ):
                runs.setdefault(name, []).append(run(script, url, place))
    return runs


def report(runs: dict[str, list[Run]], records: int) -> None:
    print(
        f"{'contender':30} {'records/s':>10} {'sync s':>8} {'CPU s':>8} {'peak MB':>8} {'new':>8}   ratio of records/s"
    )
    for name, done in runs.items():
        other = runs[name.replace("soulwatch", "straightforward")]
        ratios = sorted(theirs.sync_s / ours.sync_s for ours, theirs in zip(done, other, strict=True))
        sync = median(one.sync_s for one in done)
        print(
            f"{name:30} {records / sync:10,.0f} {sync:8.2f} {median(one.cpu_s for one in done):8.2f} "
            f"{median(one.peak_mb for one in done):8.1f} {done[0].new:8,}   "
            f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--per-page", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, str(HERE / "server.py"), str(asked.records), str(asked.per_page)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        report(contend(url, asked.rounds), asked.records)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
