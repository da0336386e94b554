from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from soulwatch.errors import SettingsError
from soulwatch.host.settings import Settings, load_settings

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = bytes(range(32, 64)).hex()
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


# --- defaults


def test_nothing_has_to_be_set(load):
    settings = load()
    assert settings.base_url == "http://127.0.0.1:3001"
    assert settings.data_dir == Path("/home/ada/.local/share/soulwatch")
    assert settings.database_url == "sqlite+aiosqlite:////home/ada/.local/share/soulwatch/soulwatch.db"
    assert settings.encryption_key == ()
    assert settings.cron_secret is None
    assert settings.sweep_interval == timedelta(minutes=5)
    assert set(settings.sources.values()) == {"default"}


def test_data_lives_under_xdg_data_home(load):
    assert load({"XDG_DATA_HOME": "/data"}).data_dir == Path("/data/soulwatch")
    assert load({"XDG_DATA_HOME": "relative"}).data_dir == Path("/home/ada/.local/share/soulwatch")


def test_the_database_moves_with_the_data_dir(load):
    assert load(data_dir="/d").database_url == "sqlite+aiosqlite:////d/soulwatch.db"


def test_settings_cannot_be_changed(load):
    with pytest.raises(ValidationError):
        load().port = 1


def test_settings_can_be_made_without_any_source():
    assert Settings(port=1, data_dir=Path("/d")).database_url == "sqlite+aiosqlite:////d/soulwatch.db"


# --- what wins


def test_the_strongest_source_wins_and_is_remembered(load):
    layers = {"toml": "port = 1", "dotenv": "SOULWATCH_PORT=2", "env": {"SOULWATCH_PORT": "3"}}
    everywhere = load(**layers, port=4)
    assert (everywhere.port, everywhere.sources["port"]) == (4, "command line")
    without_flag = load(**layers)
    assert (without_flag.port, without_flag.sources["port"]) == (3, "environment SOULWATCH_PORT")
    without_variable = load(dotenv=layers["dotenv"], toml=layers["toml"])
    assert (without_variable.port, without_variable.sources["port"]) == (2, ".env")


def test_soulwatch_toml_stands_over_the_default(load):
    settings = load(toml="port = 1")
    assert (settings.port, settings.sources["port"]) == (1, "soulwatch.toml")


def test_tables_are_merged_setting_by_setting(load):
    settings = load(
        {"SOULWATCH_PLATFORMS__GITHUB__SCHEDULES__EVENTS": "5m"},
        toml="[platforms.github]\napi_url = 'https://ghe.example.com/api'\nschedules = {starred = '@daily'}",
    )
    github = settings.platform("github")
    assert github.api_url == "https://ghe.example.com/api"
    assert github.schedules == {"events": "5m", "starred": "@daily"}
    assert settings.sources["platforms.github.schedules.starred"] == "soulwatch.toml"
    assert settings.sources["platforms.github.enabled"] == "default"


def test_flags_that_were_not_given_leave_the_rest_alone(load):
    settings = load({"SOULWATCH_PORT": "3"}, port=None, host=None)
    assert (settings.port, settings.host) == (3, "127.0.0.1")


def test_flags_may_name_nested_settings(load):
    dotted = load(**{"platforms.github.enabled": False})
    assert not dotted.platform("github").enabled
    assert dotted == load(platforms={"github": {"enabled": False}})


def test_an_empty_value_is_not_given(load):
    settings = load({"SOULWATCH_PORT": "", "ENCRYPTION_KEY_FILE": "", "CRON_SECRET": " "}, dotenv="SOULWATCH_PORT=2")
    assert (settings.port, settings.cron_secret) == (2, None)


def test_an_empty_allow_list_is_refused_since_it_would_allow_everything(complaint, load):
    assert "Write [] to allow none" in complaint({"SOULWATCH_PLUGINS__ALLOW": ""})
    assert load({"SOULWATCH_PLUGINS__ALLOW": "[]"}).plugins.allow == ()
    assert load().plugins.allow is None


# --- where soulwatch.toml is


@pytest.mark.parametrize("way", ["environment", ".env", "command line"])
def test_another_settings_file_can_be_named(load, folder, way):
    (folder / "prod.toml").write_text("port = 7")
    settings = {
        "environment": lambda: load({"SOULWATCH_CONFIG": "prod.toml"}, toml="port = 1"),
        ".env": lambda: load(dotenv="SOULWATCH_CONFIG=prod.toml", toml="port = 1"),
        "command line": lambda: load({"SOULWATCH_CONFIG": "other.toml"}, config=folder / "prod.toml"),
    }[way]()
    assert settings.port == 7
    assert settings.sources["port"].endswith("prod.toml")


def test_a_settings_file_that_was_named_has_to_be_there(complaint):
    assert "prod.toml" in complaint({"SOULWATCH_CONFIG": "prod.toml"})


def test_relative_paths_lead_from_where_they_are_written(load, folder):
    (folder / "etc").mkdir()
    (folder / "etc" / "s.toml").write_text("data_dir = 'data'\ndatabase_url = 'sqlite:///own.db'")
    settings = load({"SOULWATCH_CONFIG": "etc/s.toml"})
    assert settings.data_dir == folder / "etc" / "data"
    assert settings.database_url == f"sqlite+aiosqlite:///{folder}/etc/own.db"
    assert load({"SOULWATCH_DATA_DIR": "here"}).data_dir == folder / "here"
    assert load({"SOULWATCH_DATA_DIR": "~/sw"}).data_dir == Path("/home/ada/sw")


# --- the plain names


@pytest.mark.parametrize("client", ["SPOTIFY", "GOOGLE", "DISCORD", "LINKEDIN", "GITHUB", "MY_STRAVA"])
def test_clients_keep_their_plain_names(load, client):
    settings = load({f"{client}_CLIENT_ID": "id"}, dotenv=f"{client}_CLIENT_SECRET=sesame")
    found = settings.client(client.lower())
    assert (found.id, found.secret) == ("id", SecretStr("sesame"))
    assert settings.sources[f"clients.{client.lower()}.id"] == f"environment {client}_CLIENT_ID"


def test_the_other_plain_names_keep_working(load):
    settings = load(
        {"DATABASE_URL": "postgres://u@db/x", "ENCRYPTION_KEY": f"{KEY}, {OTHER_KEY}", "CRON_SECRET": CRON_SECRET}
    )
    assert settings.database_url == "postgresql+asyncpg://u@db/x"
    assert [key.get_secret_value() for key in settings.encryption_key] == [KEY, OTHER_KEY]
    assert settings.cron_secret.get_secret_value() == CRON_SECRET


def test_the_prefixed_name_stands_over_the_plain_one_beside_it(load):
    settings = load({"SOULWATCH_DATABASE_URL": "postgresql://mine/x", "DATABASE_URL": "mysql://of-another-program"})
    assert settings.database_url == "postgresql+asyncpg://mine/x"


def test_a_client_may_be_described_in_soulwatch_toml(load):
    settings = load(toml="[clients.strava]\nid = 12345\nsecret = 'new'\nold_secrets = ['a b', 'c,d']")
    found = settings.client("strava")
    assert found.id == "12345"
    assert [secret.get_secret_value() for secret in found.old_secrets] == ["a b", "c,d"]


def test_there_is_no_client_until_one_is_given(load):
    assert load().client("spotify") is None


def test_a_secret_without_an_id_is_incomplete(complaint):
    told = complaint({"SPOTIFY_CLIENT_SECRET": "sesame"})
    assert "clients.spotify.id (environment SPOTIFY_CLIENT_SECRET): is missing. Set SPOTIFY_CLIENT_ID." in told


def test_a_lone_secret_of_another_program_is_left_alone(load):
    assert load({"KEYCLOAK_CLIENT_SECRET": "theirs"}).clients == {}


# --- values from files


@pytest.mark.parametrize("variable", ["SPOTIFY_CLIENT_SECRET_FILE", "SOULWATCH_CLIENTS__SPOTIFY__SECRET_FILE"])
def test_a_value_may_come_from_a_file(load, folder, variable):
    (folder / "secret").write_text("sesame\n")
    settings = load({"SPOTIFY_CLIENT_ID": "id", variable: "secret"})
    assert settings.client("spotify").secret == SecretStr("sesame")
    assert settings.sources["clients.spotify.secret"] == f"environment {variable}"


def test_soulwatch_toml_may_point_to_files_too(load, folder):
    (folder / "key").write_text(KEY)
    assert load(toml="encryption_key_file = 'key'").encryption_key == (SecretStr(KEY),)


def test_ca_file_is_a_setting_of_its_own(load, folder):
    (folder / "ca.pem").write_text("a certificate")
    (folder / "where").write_text("ca.pem")
    assert load({"SOULWATCH_CA_FILE": "ca.pem"}).ca_file == folder / "ca.pem"
    assert load({"SOULWATCH_CA_FILE_FILE": "where"}).ca_file == folder / "ca.pem"


def test_an_option_of_a_plugin_may_end_in_file(load):
    assert load(toml="[platforms.x.options]\nKeys_file = 'k'").platform("x").options == {"Keys_file": "k"}


def test_a_file_that_is_missing_or_empty_is_told_without_its_path(complaint, folder):
    (folder / "empty").touch()
    told = complaint({"ENCRYPTION_KEY_FILE": "sesame", "CRON_SECRET_FILE": "empty"})
    assert "encryption_key (environment ENCRYPTION_KEY_FILE): names a file that cannot be read" in told
    assert "cron_secret (environment CRON_SECRET_FILE): names a file that is empty" in told
    assert "sesame" not in told


def test_a_value_and_its_file_in_one_place_contradict_each_other(complaint, folder):
    (folder / "port").write_text("1")
    told = complaint({"SOULWATCH_PORT": "2", "SOULWATCH_PORT_FILE": "port"})
    assert "is given by environment SOULWATCH_PORT too. Keep one of the two." in told


def test_a_stronger_place_may_hold_the_file(load, folder):
    (folder / "port").write_text("1")
    assert load({"SOULWATCH_PORT_FILE": "port"}, dotenv="SOULWATCH_PORT=2").port == 1
