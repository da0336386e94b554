"""What every test shares: the event loop the host promises, and a PostgreSQL for those that ask for one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.ablations import BY_NAME
from support.fault_table import OPTION, FaultTable
from support.postgres import Postgres, running_postgres


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options: a safeguard to take away, and the page of faults to write."""
    parser.addoption("--without", choices=sorted(BY_NAME), help="take a safeguard away: some test should fail then")
    parser.addoption(OPTION, metavar="PAGE", type=Path, help="run the tests that show faults, and write them to PAGE")


def pytest_configure(config: pytest.Config) -> None:
    """Register what writes it; take a safeguard away, where that is asked for."""
    without = config.getoption("--without")
    if without is not None:
        BY_NAME[without].take_away(pytest.MonkeyPatch())
    page = config.getoption(OPTION)
    if page is not None:
        config.pluginmanager.register(FaultTable(page, is_worker=hasattr(config, "workerinput")))


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
