from __future__ import annotations

import dataclasses
import re
import types
from pathlib import Path

import pytest

import soulwatch
from soulwatch import Connector
from soulwatch.host.plugins import Plugins

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "connector.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"(?ms)^##+ `(\w+)`\n(.*?)(?=^##|\Z)", PAGE))
PUBLIC = {name: getattr(soulwatch, name) for name in soulwatch.__all__}
VALUES = {name: one for name, one in PUBLIC.items() if isinstance(one, type) and dataclasses.is_dataclass(one)}
IN_WORDS = {"1 hour": "datetime.timedelta(seconds=3600)"}


def told(name: str) -> dict[str, str]:
    """Fields and defaults in the table of a class."""
    rows = re.findall(r"(?m)^\| `(\w+)` \| (.+?) \| .+ \|$", SECTIONS[name])
    return {field: IN_WORDS.get(default, default.strip("`")) for field, default in rows}


def default_of(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default).replace("'", '"')
    return "needed" if field.default_factory is dataclasses.MISSING else repr(field.default_factory())


def test_each_value_that_plugins_see_has_its_section():
    assert sorted(VALUES) == sorted(set(SECTIONS) - {"Api"})


@pytest.mark.parametrize("name", VALUES)
def test_its_fields_and_defaults_are_told(name):
    assert told(name) == {field.name: default_of(field) for field in dataclasses.fields(VALUES[name])}


def test_the_example_is_a_plugin():
    (block,) = re.findall(r"(?s)```python\n(.*?)```", PAGE)
    module = types.ModuleType("photos")
    exec(compile(block, "connector.md", "exec"), vars(module))
    assert isinstance(module.photos, Connector)
    assert Plugins().register(module.photos, "photos").facts.title == "Photos"
