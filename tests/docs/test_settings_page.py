from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from soulwatch.host.settings import NAMES, describe, load_settings
from soulwatch.host.settings_names import dotted, variable_of

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
SECTIONS = dict(re.findall(r"(?ms)^### `(.+?)`\n(.*?)(?=^#|\Z)", PAGE.read_text("utf-8")))
SETTINGS = {dotted(name): name for name in NAMES.known}


def line(name: str, kind: str) -> list[str]:
    """What stands in code on this line of a setting's section."""
    found = re.search(rf"(?ms)^- {kind}: (.*?)(?=^- |\Z)", SECTIONS[name])
    assert found, f"{name} has no line '- {kind}: ...'"
    return re.findall(r"`(.+?)`", found[1])


def test_each_setting_has_its_place_and_nothing_else_has():
    assert sorted(SECTIONS) == sorted(SETTINGS)


@pytest.mark.parametrize("name", SECTIONS)
def test_its_variable_is_told(name):
    assert variable_of(SETTINGS[name]) in line(name, "Environment")


@pytest.mark.parametrize("name", SECTIONS)
def test_its_default_is_told(name, tmp_path):
    settings = load_settings(env={"HOME": "/home/ada"}, cwd=tmp_path, overrides={"platforms.<platform>.options.x": 1})
    defaults = {setting: value.replace("/home/ada", "~") for setting, value, _ in describe(settings)}
    assert line(name, "Default")[0] == defaults.get(name, "not set")


@pytest.mark.parametrize("name", SECTIONS)
def test_its_examples_say_the_same_and_are_accepted(name, tmp_path):
    examples = line(name, "Example")
    variable, toml = examples[0], examples[-1]
    read_from = {"ca_file": tmp_path / "company.pem", "clients.<client>.secret": tmp_path / "secret"}.get(name)
    if read_from is not None:
        read_from.write_text("what is in the file")
        variable = variable.partition("=")[0] + f"={read_from}"
        toml = toml.partition("=")[0] + f"= '{read_from}'"
    company = {"clients.spotify.id": "id"} if name.startswith("clients.") and not name.endswith(".id") else {}
    home = {"HOME": "/home/ada"}
    default = load_settings(env=home, cwd=tmp_path, overrides=company).model_dump()
    given = dict(word.split("=", 1) for word in shlex.split(variable))
    from_variable = load_settings(env=home | given, cwd=tmp_path, overrides=company).model_dump()
    (tmp_path / "soulwatch.toml").write_text(toml)
    from_toml = load_settings(env=home, cwd=tmp_path, overrides=company).model_dump()
    assert from_variable == from_toml
    assert from_variable != default
