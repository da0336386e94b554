"""What every test shares: the event loop the host promises."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asyncio only: SQLAlchemy's async layer needs it."""
    return "asyncio"
