from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from soulwatch.errors import SettingsError
from soulwatch.host.settings import Settings, load_settings

KEY = base64.b64encode(bytes(range(32))).decode()


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


# --- keys


@pytest.mark.parametrize(
    "spelled",
    [KEY, KEY.rstrip("="), bytes(range(32)).hex(), base64.urlsafe_b64encode(b"\xfb" * 32).decode()],
)
def test_a_key_may_be_base64_or_hex(load, spelled):
    assert load({"ENCRYPTION_KEY": spelled}).encryption_key == (SecretStr(spelled),)


@pytest.mark.parametrize(
    ("spelled", "wrong"),
    [
        (base64.b64encode(bytes(16)).decode(), "16 bytes"),
        ("ab" * 16, "16 bytes"),
        ("not/a+key!", "neither base64 nor hex"),
        (f"{KEY} {bytes(range(32)).hex()}", "the same key twice"),
    ],
)
def test_a_key_that_is_none_is_refused_with_the_remedy(complaint, spelled, wrong):
    told = complaint({"ENCRYPTION_KEY": spelled})
    assert wrong in told
    assert spelled not in told


def test_a_cron_secret_that_can_be_guessed_is_refused(complaint):
    assert "soulwatch keygen" in complaint({"CRON_SECRET": "x" * 31})


# --- times and lists


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86400), ("1h 30m", 5400), ("0.5s", 0.5), ("45", 45), ("1.5", 1.5)],
)
def test_a_length_of_time_has_a_unit_or_is_seconds(load, given, seconds):
    assert load({"SOULWATCH_LEASE": given}).lease == timedelta(seconds=seconds)
    assert load(lease=seconds).lease == timedelta(seconds=seconds)
    assert load(lease=timedelta(seconds=seconds)).lease == timedelta(seconds=seconds)


@pytest.mark.parametrize("given", ["soon", "5 parsecs", "m", "-5m", "-1", "0", "nan", "inf", "1e300", "PT5M"])
def test_what_is_no_length_of_time_is_refused(complaint, given):
    assert "lease (environment SOULWATCH_LEASE):" in complaint({"SOULWATCH_LEASE": given})


def test_a_switch_is_no_number(complaint):
    assert "no length of time" in complaint(toml="lease = true")
    assert "no whole number" in complaint(toml="port = true")


def test_a_margin_may_be_nothing(load):
    assert load(refresh_margin="0").refresh_margin == timedelta()


@pytest.mark.parametrize("given", ["a,b", "a b", " a ,  b,", '["a", "b"]'])
def test_a_list_is_written_with_commas_blanks_or_as_json(load, given):
    assert load({"SOULWATCH_PLUGINS__DENY": given}).plugins.deny == ("a", "b")


@pytest.mark.parametrize("given", ["*/15 * * * *", "@daily", "30s"])
def test_a_schedule_keeps_the_words_of_the_operator(load, given):
    settings = load({"SOULWATCH_PLATFORMS__SPOTIFY__SCHEDULES__RECENTLY_PLAYED": given})
    assert settings.platform("Spotify").schedules == {"recently_played": given}


def test_a_number_is_a_schedule_in_seconds(load):
    assert load(toml="platforms.x.schedules.y = 90").platform("x").schedules == {"y": "90s"}


@pytest.mark.parametrize("given", ["* * *", "61 * * * *", "now and then"])
def test_what_is_no_schedule_is_refused(complaint, given):
    assert "platforms.x.schedules.y (soulwatch.toml):" in complaint(toml=f"platforms.x.schedules.y = '{given}'")


@pytest.mark.parametrize("zone", ["Nowhere/Atall", "../etc/passwd", "Europe", "/etc/localtime"])
def test_what_is_no_time_zone_is_refused(complaint, zone):
    assert "timezone (environment SOULWATCH_TIMEZONE):" in complaint({"SOULWATCH_TIMEZONE": zone})


def test_cron_expressions_are_meant_in_the_zone_named(load):
    assert str(load(timezone="Europe/Berlin").zone) == "Europe/Berlin"
    assert str(load().zone) == "UTC"


def test_a_platform_nothing_was_decided_about_is_on(load):
    assert load().platform("github").enabled
    assert load().platform("github").scopes is None


def test_log_levels_are_known_in_any_case(load):
    assert load({"SOULWATCH_LOG_LEVEL": "warning"}).log_level == "WARNING"


@pytest.mark.parametrize(("name", "value"), [("port", "65536"), ("port", "-1"), ("concurrency", "0"), ("port", "1.5")])
def test_numbers_have_their_bounds(complaint, name, value):
    assert f"{name} (environment" in complaint({f"SOULWATCH_{name.upper()}": value})
