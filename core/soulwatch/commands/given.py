"""Which installation a command is about: the options that say so, and its settings and host, opened."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from soulwatch.errors import NotFound, SettingsError, SoulwatchError

if TYPE_CHECKING:
    from soulwatch.host.host import Host
    from soulwatch.host.settings import Settings

Result = TypeVar("Result")


@dataclass(frozen=True)
class Given:
    """What the command line says about where things are."""

    data_dir: Path | None = None
    config: Path | None = None
    is_demo: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings that the command line gives."""
        said = {"data_dir": self.data_dir, "config": self.config}
        return {**{name: str(path.absolute()) for name, path in said.items() if path is not None}, **self.more}

    def settings(self) -> Settings:
        """The settings in force. Raises SettingsError."""
        from soulwatch.host.settings import load_settings  # noqa: PLC0415

        settings = load_settings(overrides=self.overrides)
        if not self.is_demo:
            return settings
        from soulwatch.commands.demo import demo_overrides, known_port  # noqa: PLC0415

        port = known_port(settings)
        if not port:
            raise NotFound(
                f"There is no demonstration in {settings.data_dir} yet; `soulwatch serve --demo` begins one."
            )
        return load_settings(overrides=self.overrides, demo=demo_overrides(settings, port))

    def command(self, name: str) -> str:
        """How another command is called for the same installation."""
        options = [("--data-dir", self.data_dir), ("--config", self.config)]
        words = [word for option, value in options if value is not None for word in (option, str(value))]
        # What another command has no option for, it takes from the environment.
        variables = [f"SOULWATCH_{setting.upper()}={shlex.quote(str(value))}" for setting, value in self.more.items()]
        return " ".join([*variables, shlex.join([_called(), name, *(["--demo"] if self.is_demo else []), *words])])


def _called() -> str:
    """How this program can be called again from here: by its name where that is found, else by its place."""
    if shutil.which("soulwatch"):
        return "soulwatch"
    beside = Path(sys.executable).with_name("soulwatch")
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def which_installation(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--data-dir`, `--config` and `--demo`; the command is handed a `Given` in their place."""
    return _which(command, "Use the demonstration's data (see `soulwatch serve --demo`).")


def which_to_start(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same for the command that starts a host."""
    return _which(command, "Start with the sandbox, an invented platform, and a data folder of its own.")


def _which(command: Callable[..., Any], demo: str) -> Callable[..., Any]:
    path = click.Path(path_type=Path)

    @click.option("--demo", "is_demo", is_flag=True, help=demo)
    @click.option("--config", metavar="FILE", type=path, help="Settings file instead of ./soulwatch.toml.")
    @click.option("--data-dir", metavar="DIR", type=path, help="Folder of the database and the key file.")
    @wraps(command)
    def with_given(*, data_dir: Path | None, config: Path | None, is_demo: bool, **rest: Any) -> Any:
        return command(Given(data_dir, config, is_demo), **rest)

    return with_given


@asynccontextmanager
async def open_host(settings: Settings) -> AsyncIterator[Host]:
    """The host of this installation, without its background work. Raises SettingsError."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from soulwatch.host.host import Host  # noqa: PLC0415

    make_data_dir(settings.data_dir)
    try:
        host = await Host.open(settings)
        try:
            yield host
        finally:
            await host.close()
    except (SQLAlchemyError, ExceptionGroup) as broken:
        refused = broken.subgroup(SQLAlchemyError) if isinstance(broken, ExceptionGroup) else broken
        if refused is None:
            raise
        while isinstance(refused, ExceptionGroup):  # what went wrong in a task, or in one of its own
            refused = refused.exceptions[0]
        raise SoulwatchError(_told(refused, settings)) from refused


def _told(refused: Exception, settings: Settings) -> str:
    from sqlalchemy.engine import make_url  # noqa: PLC0415

    from soulwatch.host.causes import cause_of  # noqa: PLC0415

    cause = cause_of(refused, make_url(settings.database_url))
    if cause is not None and cause.remedy:
        return f"{cause.told()}."
    said = getattr(refused, "orig", None) or refused
    return f"The database refused: {said}. `soulwatch doctor` examines it."


def with_host(given: Given, work: Callable[[Host], Awaitable[Result]], *, may_begin: bool = False) -> Result:
    """Open the host, do this one thing with it, and close it.

    Only what `may_begin` an installation makes one: elsewhere a mistyped folder would look like lost data.
    """
    import anyio  # noqa: PLC0415
    from sqlalchemy.engine import make_url  # noqa: PLC0415

    from soulwatch.host import logs  # noqa: PLC0415

    settings = given.settings()
    database = make_url(settings.database_url)
    if not may_begin and database.get_backend_name() == "sqlite" and not Path(database.database or "").exists():
        raise NotFound(
            f"There is no soulwatch data at {database.database}. `soulwatch serve` begins there; --data-dir or "
            "DATABASE_URL leads elsewhere."
        )
    # One command's answer is what it prints; what the host does beside it is told only where something is wrong.
    logs.configure(
        "DEBUG" if settings.log_level == "DEBUG" else "WARNING", settings.log_format, secrets=secrets_of(settings)
    )

    async def do() -> Result:
        async with open_host(settings) as host:
            return await work(host)

    return anyio.run(do)


def make_data_dir(folder: Path) -> None:
    """Make the data directory, for its owner alone. Raises SettingsError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as broken:
        raise SettingsError(
            f"The data directory {folder} cannot be made: {broken.strerror}. Set SOULWATCH_DATA_DIR (or --data-dir) to "
            "a folder that may be written."
        ) from None


def secrets_of(settings: Settings) -> set[str]:
    """Every secret among the settings, for the log to leave out."""
    found = [*settings.encryption_key, settings.cron_secret]
    for client in settings.clients.values():
        found += [client.secret, *client.old_secrets]
    return {secret.get_secret_value() for secret in found if secret is not None}
