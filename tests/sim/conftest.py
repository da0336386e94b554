"""A folder in memory where there is one, and an empty database in it to begin from."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from sim.inline_sqlite import inline_sqlite
from sim.loop import run
from sim.world import POLICY, Script, Simulation, Story, make_template

from soulwatch.host import host, worker
from soulwatch.host.timing import RefreshPolicy

Play = Callable[..., Simulation]
MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def stage() -> Iterator[Path]:
    """A folder with the empty database `template.db`."""
    where = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="soulwatch-sim-", dir=where) as folder:
        anyio.run(make_template, Path(folder) / "template.db")
        yield Path(folder)


@pytest.fixture
def play(stage: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Plays a story under a seed; what is wrong is raised, with the seed."""
    # Nothing is due that often here: to look for it as often would only be slow.
    monkeypatch.setattr(worker, "LONGEST_REST_S", 20.0)
    monkeypatch.setattr(host, "LOOK_AROUND_EVERY_S", 60)
    monkeypatch.setattr(host, "BEAT_EVERY_S", 30)
    logging.disable(logging.CRITICAL)

    def play_(story: Story, seed: int, script: Script | None = None, policy: RefreshPolicy = POLICY) -> Simulation:
        simulation = Simulation(story, seed, stage, stage / "template.db", policy)
        try:
            with inline_sqlite():
                run(seed, partial(simulation.play, script))
        except BaseException as broken:
            broken.add_note(f"seed {seed} of {story}")
            raise
        finally:
            simulation.file.unlink(missing_ok=True)
        return simulation

    yield play_
    logging.disable(logging.NOTSET)
