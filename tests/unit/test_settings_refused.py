from __future__ import annotations

import base64
from pathlib import Path

import pytest
from pydantic import SecretStr

from soulwatch.errors import SettingsError
from soulwatch.host.settings import Settings, describe, load_settings

KEY = base64.b64encode(bytes(range(32))).decode()
CRON_SECRET = "cron-secret-of-more-than-32-bytes"


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture
def load(folder):
    def load(env=None, *, dotenv="", toml="", **overrides) -> Settings:
        if dotenv:
            (folder / ".env").write_text(dotenv)
        if toml:
            (folder / "soulwatch.toml").write_text(toml)
        return load_settings(overrides=overrides, env={"HOME": "/home/ada", **(env or {})}, cwd=folder)

    return load


@pytest.fixture
def complaint(load):
    """What the operator is told about settings that are wrong."""

    def complaint(env=None, **sources) -> str:
        with pytest.raises(SettingsError) as refused:
            load(env, **sources)
        assert refused.value.__context__ is None, "the model's own error holds the values"
        return str(refused.value)

    return complaint


def test_every_problem_is_told_at_once_with_place_and_remedy(complaint):
    told = complaint(
        {"SOULWATCH_PORT": "eighty"},
        dotenv="SOULWATCH_TIMEZONE=Europe/Berln",
        toml="log_level = 'LOUD'\nprot = 1",
        concurrency=0,
    )
    assert (
        told
        == """\
The settings have to be mended:
  concurrency (command line): must be greater than or equal to 1. For example: 10
  log_level (soulwatch.toml): must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'.
  port (environment SOULWATCH_PORT): is no whole number. For example: 8080
  prot (soulwatch.toml): is no setting. Did you mean port?
  timezone (.env SOULWATCH_TIMEZONE): is no time zone this machine knows: write UTC or an IANA name.\
 For example: Europe/Berlin"""
    )


def test_an_entry_of_a_list_is_told_with_its_place(complaint):
    told = complaint({"SOULWATCH_CORS_ORIGINS": "https://a.example, *"})
    assert "cors_origins (environment SOULWATCH_CORS_ORIGINS): entry 2: must name each origin by itself" in told


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("SOULWATCH_PUBLICURL", "SOULWATCH_PUBLIC_URL"),
        ("SOULWATCH_PLUGINS_ALLOW", "SOULWATCH_PLUGINS__ALLOW"),
        ("SOULWATCH_PLATFORM__GITHUB__API_URL", "SOULWATCH_PLATFORMS__GITHUB__API_URL"),
        ("SOULWATCH_CLIENTS__GITHUB__SECRTE_FILE", "SOULWATCH_CLIENTS__GITHUB__SECRET_FILE"),
        ("SOULWATCH_SPOTIFY_CLIENT_ID", "SPOTIFY_CLIENT_ID"),
        ("SOULWATCH_PLUGINS", "SOULWATCH_PLUGINS__ALLOW"),
        ("SOULWATCH_PLATFORMS__GITHUB", "SOULWATCH_PLATFORMS__GITHUB__ENABLED"),
    ],
)
def test_a_misspelt_variable_is_answered_with_the_one_meant(complaint, variable, meant):
    assert f"{variable} (environment): is no setting. Did you mean {meant}?" in complaint({variable: "x"})


def test_a_name_like_no_other_is_refused_too(complaint):
    assert "SOULWATCH_ZZZZZZ (.env): is no setting. Remove it" in complaint(dotenv="SOULWATCH_ZZZZZZ=1")


def test_unknown_keys_of_soulwatch_toml_are_refused_at_any_depth(complaint):
    told = complaint(toml="[platform.github]\nscopes = []\n[plugins]\nalow = []\n[port]\nx = 1\n[clients]\nx = 1")
    assert "platform.github.scopes (soulwatch.toml): is no setting. Did you mean platforms.github.scopes?" in told
    assert "plugins.alow (soulwatch.toml): is no setting. Did you mean plugins.allow?" in told
    assert "port.x (soulwatch.toml): is no setting. Did you mean port?" in told
    assert "clients.x (soulwatch.toml): is no setting. Did you mean clients.x.id?" in told


def test_variables_meant_for_others_are_left_alone(load):
    theirs = {"SOULWATCH_TRACE_PLUGINS": "1", "PATH": "/bin", "PORT": "1", "soulwatch_port": "x"}
    assert load(theirs).port == 3001


def test_what_kubernetes_tells_of_a_service_called_soulwatch_is_no_setting(load):
    service = {
        "SOULWATCH_PORT": "tcp://10.0.0.1:3001",
        "SOULWATCH_SERVICE_HOST": "10.0.0.1",
        "SOULWATCH_SERVICE_PORT_HTTP": "3001",
        "SOULWATCH_PORT_3001_TCP": "tcp://10.0.0.1:3001",
        "SOULWATCH_PORT_3001_TCP_ADDR": "10.0.0.1",
        "SOULWATCH_WEB_PORT": "tcp://10.0.0.2:80",
    }
    assert load(service).port == 3001


def test_a_settings_file_that_is_no_toml_is_told_with_the_line(complaint):
    told = complaint({"SOULWATCH_PORT": "x"}, toml="port = 1\nhost =\n")
    assert "is not TOML: Invalid value (at line 2" in told
    assert "environment SOULWATCH_PORT" in told


def test_a_broken_line_of_dotenv_is_told_with_its_number(complaint):
    told = complaint(dotenv="SOULWATCH_PORT=1\n= sesame\n")
    assert ".env (line 2): cannot be understood. Write it as NAME=value." in told
    assert "sesame" not in told


def test_dotenv_is_read_as_it_is_written(load):
    settings = load(
        {"USER": "eve"}, dotenv="\ufeffexport SPOTIFY_CLIENT_ID='a b' # why\nSPOTIFY_CLIENT_SECRET=${USER}\n"
    )
    assert settings.client("spotify").id == "a b"
    assert settings.client("spotify").secret == SecretStr("${USER}")


def test_a_folder_named_dotenv_is_no_settings_file(load, folder):
    (folder / ".env").mkdir()
    assert load().port == 3001


SECRETS = {
    "ENCRYPTION_KEY": "sesame sesame-2",
    "CRON_SECRET": "sesame",
    "DATABASE_URL": "mysql://user:sesame@db/x",
    "SOULWATCH_CLIENTS__SPOTIFY__SECRET": "sesame",
    "SOULWATCH_PLATFORMS__X__API_URL": "https://user:sesame@example.com",
    "SOULWATCH_PORT": "sesame",
    "SOULWATCH_LEASE": "sesame",
    "SOULWATCH_LOG_FORMAT": "sesame",
    "SOULWATCH_TIMEZONE": "sesame",
    "SOULWATCH_HOST": "se/same",
    "SOULWATCH_CORS_ORIGINS": "sesame",
    "SOULWATCH_CA_FILE": "sesame",
    "SOULWATCH_PUBLIC_URL_FILE": "sesame",
}


def test_no_error_repeats_a_value(complaint):
    told = complaint(SECRETS)
    assert told.count("\n") == len(SECRETS) + 1  # the encryption key has two entries
    assert "same" not in told.replace("the same", "")


def test_neither_settings_nor_their_description_show_a_secret(load):
    settings = load(
        {
            "DATABASE_URL": "postgresql://ada:1?same@db/x?password=sesame",
            "ENCRYPTION_KEY": KEY,
            "CRON_SECRET": CRON_SECRET,
            "SPOTIFY_CLIENT_ID": "id",
            "SPOTIFY_CLIENT_SECRET": "sesame",
            "SOULWATCH_PLATFORMS__X__OPTIONS__TOKEN": "sesame",
        },
        toml="[platforms.x.options]\nmore = {list = ['sesame'], count = 3}",
    )
    described = {name: value for name, value, _ in describe(settings)}
    assert described["encryption_key"] == "set (44 characters)"
    assert described["clients.spotify.secret"] == "set (6 characters)"
    assert described["database_url"] == "postgresql+asyncpg://ada:***@db/x"
    assert described["platforms.x.options.token"] == "set (6 characters)"
    assert described["platforms.x.options.more.list"] == "set (6 characters)"
    assert described["platforms.x.options.more.count"] == "3"
    for secret in ("same", KEY, CRON_SECRET):
        assert secret not in f"{described} {settings!r} {settings}"


def test_the_description_names_value_and_source(load):
    described = describe(load({"SOULWATCH_SWEEP_INTERVAL": "90"}, toml="cors_origins = []", port=8080))
    assert ("port", "8080", "command line") in described
    assert ("sweep_interval", "1m30s", "environment SOULWATCH_SWEEP_INTERVAL") in described
    assert ("cors_origins", "none", "soulwatch.toml") in described
    assert ("cron_secret", "not set", "default") in described
    assert ("platforms.x.enabled", "true", "default") in describe(load(toml="platforms.x.api_url = 'https://x'"))
