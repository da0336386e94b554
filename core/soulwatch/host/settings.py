"""What the operator decides: every setting with its default, read from all sources and checked at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, FilePath, PrivateAttr, SecretStr, ValidationError

from soulwatch.errors import SettingsError
from soulwatch.host.settings_addresses import LOOPBACK, bracketed
from soulwatch.host.settings_fields import (
    CronSecret,
    DatabaseAddress,
    Duration,
    EncryptionKeys,
    HostName,
    Interval,
    Listed,
    Origin,
    Schedule,
    Upper,
    WebAddress,
    WholeNumber,
    ZoneName,
    zone_of,
)
from soulwatch.host.settings_names import FIXED_CLIENTS, Names, dotted, patterns
from soulwatch.host.settings_report import Given, complaint, leaves_in, problems_in, shown
from soulwatch.host.settings_sources import (
    COMMAND_LINE,
    DEMONSTRATION,
    DOTENV,
    ENVIRONMENT,
    Layer,
    Reader,
    leaves,
    merged,
    nested,
    overridden,
    read_dotenv,
    read_toml,
)

CONFIG_FILE = "soulwatch.toml"
DEFAULT = "default"
_LISTENS_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  - compared with, never bound to


class _Decided(BaseModel):
    # Input is hidden because it may be a secret that was put into the wrong place.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ClientSettings(_Decided):
    """Our OAuth registration with a platform, or with a company for several of its platforms."""

    id: str = Field(coerce_numbers_to_str=True, examples=["3f5a9c0d"])
    secret: SecretStr | None = None
    old_secrets: Listed[SecretStr] = ()


class PlatformSettings(_Decided):
    """What the operator decides otherwise than a platform's plugin does."""

    enabled: bool = Field(default=True, examples=["false"])
    api_url: WebAddress | None = Field(default=None, examples=["https://github.example.com/api/v3"])
    oauth_url: WebAddress | None = Field(default=None, examples=["https://github.example.com"])
    scopes: Listed[str] | None = Field(default=None, examples=["repo, read:user"])
    schedules: dict[str, Schedule] = Field(default_factory=dict, examples=["*/15 * * * *"])
    options: dict[str, Any] = Field(default_factory=dict, repr=False)


class PluginSettings(_Decided):
    """Which of the installed plugins may load."""

    allow: Listed[str] | None = Field(default=None, examples=["spotify, github"])
    deny: Listed[str] = Field(default=(), examples=["strava"])


class Settings(_Decided):
    """Every setting. `load_settings` makes one of what the operator wrote."""

    host: HostName = Field(default="127.0.0.1", examples=["0.0.0.0"])  # noqa: S104  - shown, never bound to
    port: WholeNumber = Field(default=3001, ge=0, le=65535, examples=["8080"])
    public_url: WebAddress | None = Field(default=None, examples=["https://example.com/soulwatch"])
    allowed_hosts: Listed[HostName] = Field(default=(), examples=["soulwatch.internal"])
    cors_origins: Listed[Origin] = Field(default=(), examples=["https://app.example.com"])
    return_to_origins: Listed[Origin] = Field(default=(), examples=["https://app.example.com"])

    environment: str = "development"
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Upper] = "INFO"
    log_format: Literal["console", "json"] = "console"
    timezone: ZoneName = Field(default="UTC", examples=["Europe/Berlin"])

    data_dir: Path = Field(default_factory=lambda: _data_dir(os.environ), examples=["/var/lib/soulwatch"])
    database_url: DatabaseAddress = Field(
        default_factory=lambda decided: f"sqlite+aiosqlite:///{decided['data_dir']}/soulwatch.db",
        examples=["postgresql://soulwatch:password@localhost/soulwatch"],
        repr=False,
    )
    encryption_key: EncryptionKeys = ()
    cron_secret: CronSecret | None = None
    ca_file: FilePath | None = Field(default=None, examples=["/etc/ssl/company.pem"])

    sweep_interval: Interval = Field(default=timedelta(minutes=5), examples=["5m"])
    refresh_margin: Duration = Field(default=timedelta(minutes=10), examples=["10m"])
    lease: Interval = Field(default=timedelta(seconds=60), examples=["60s"])
    shutdown_grace: Duration = Field(default=timedelta(seconds=10), examples=["10s"])
    concurrency: WholeNumber = Field(default=10, ge=1, examples=["10"])

    plugins: PluginSettings = PluginSettings()
    clients: dict[str, ClientSettings] = Field(default_factory=dict)
    platforms: dict[str, PlatformSettings] = Field(default_factory=dict)

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _files: dict[str, Path] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Notes for each setting where its value came from."""
        given: Layer = context or {}
        self._sources = {dotted(name): given[name].source if name in given else DEFAULT for name, _ in leaves_in(self)}
        self._files = {dotted(name): one.file for name, one in given.items() if one.file is not None}

    @property
    def files(self) -> Mapping[str, Path]:
        """Which file each value stands in that stands in one, by the setting's dotted name."""
        return MappingProxyType(self._files)

    @property
    def sources(self) -> Mapping[str, str]:
        """Where each value came from, by the setting's dotted name."""
        return MappingProxyType(self._sources)

    @property
    def uses_sqlite(self) -> bool:
        """Whether the database is a file of SQLite."""
        return self.database_url.startswith("sqlite")

    @property
    def base_url(self) -> str:
        """The address under which browsers reach this host, without a slash at its end."""
        host = _LISTENS_EVERYWHERE.get(self.host, self.host)
        return self.public_url or f"http://{bracketed(host)}:{self.port}"

    @property
    def trusted_hosts(self) -> tuple[str, ...]:
        """Every host name a request may be meant for, without port; nobody can point `localhost` elsewhere."""
        public = urlsplit(self.public_url or "").hostname
        return tuple(dict.fromkeys((self.host, *filter(None, [public]), *self.allowed_hosts, *LOOPBACK)))

    @property
    def zone(self) -> tzinfo:
        """The time zone in which cron expressions are meant."""
        return zone_of(self.timezone)

    def client(self, name: str) -> ClientSettings | None:
        """Our registration of this name, if there is one."""
        return self.clients.get(name.lower())

    def platform(self, name: str) -> PlatformSettings:
        """What is decided about this platform; mostly nothing."""
        return self.platforms.get(name.lower(), PlatformSettings())


NAMES = Names(dict(patterns(Settings)))


def load_settings(
    *,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    demo: Mapping[str, Any] = MappingProxyType({}),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """The settings in force: command line, environment, `.env`, `soulwatch.toml`, default, in this order.

    Args:
        overrides: from the command line, by dotted name; `config` is the path of another `soulwatch.toml`.
        demo: what the demonstration decides, whatever anybody says.
        env: the environment, in place of this process's own.
        cwd: the folder that `.env`, `soulwatch.toml` and relative paths are looked up from.

    Raises:
        SettingsError: everything that is wrong, at once.
    """
    env = os.environ if env is None else env
    reader = Reader(NAMES, home=_home(env))
    given = _read(reader, overrides, demo, env, (cwd or Path.cwd()).absolute())
    problems = reader.problems
    try:
        settings = Settings.model_validate(nested(given), context=given)
    except ValidationError as error:
        problems += problems_in(error, given, NAMES)
    # Raised out here, since the error above holds the values, secrets among them, and would be kept as its context.
    if problems:
        raise SettingsError(complaint(problems))
    return settings


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, value and source of each setting in force, secrets masked."""
    sources = settings.sources
    return [
        (dotted(name), shown(name, value, is_given=sources[dotted(name)] != DEFAULT), sources[dotted(name)])
        for name, value in leaves_in(settings)
    ]


def _read(
    reader: Reader, overrides: Mapping[str, Any], demo: Mapping[str, Any], env: Mapping[str, str], cwd: Path
) -> Layer:
    dotenv = read_dotenv(cwd / DOTENV, reader.problems)
    chosen = overrides.get("config") or env.get("SOULWATCH_CONFIG") or dotenv.get("SOULWATCH_CONFIG")
    config = reader.path(str(chosen or CONFIG_FILE), cwd)
    told = {name: value for name, value in overrides.items() if name != "config"}
    tables = read_toml(config, reader.problems) if chosen or config.exists() else {}
    layers: list[Layer] = [
        reader.table(overridden(demo), DEMONSTRATION, cwd),
        reader.table(overridden(told), COMMAND_LINE, cwd),
        reader.variables(env, ENVIRONMENT, cwd),
        reader.variables(dotenv, DOTENV, cwd),
        reader.table(leaves(tables), str(chosen or CONFIG_FILE), config.parent),
        {("data_dir",): Given(_data_dir(env), DEFAULT, DEFAULT)},
    ]
    return _without_strangers(merged(layers))


def _without_strangers(layer: Layer) -> Layer:
    """Leaves out a lone `<NAME>_CLIENT_SECRET` of the environment, which is some other program's, not ours."""
    return {
        name: given
        for name, given in layer.items()
        if not (
            name[0] == "clients"
            and name[1] not in FIXED_CLIENTS
            and given.where.startswith(f"environment {name[1].upper()}_CLIENT_")
            and ("clients", name[1], "id") not in layer
        )
    }


def _home(env: Mapping[str, str]) -> Path:
    if env.get("HOME"):
        return Path(env["HOME"])
    try:
        return Path.home()
    except RuntimeError:  # a container may run under a user id that nobody wrote down
        return Path("/")


def _data_dir(env: Mapping[str, str]) -> Path:
    # The XDG specification has relative paths ignored.
    chosen = Path(env.get("XDG_DATA_HOME", ""))
    return (chosen if chosen.is_absolute() else _home(env) / ".local" / "share") / "soulwatch"
