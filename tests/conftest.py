"""What every test shares: the event loop the host promises, and a PostgreSQL for those that ask for one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asyncio only: SQLAlchemy's async layer needs it."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real server, started when the first test asks for it."""
    with running_postgres() as server:
        yield server


_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/soulwatch.db"
    make: Callable[[str], str] = request.getfixturevalue("postgres").make_database
    return make(f"test_{next(_numbers)}")
