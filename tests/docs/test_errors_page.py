from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import soulwatch.host
from soulwatch import errors
from soulwatch.errors import SoulwatchError
from soulwatch.host.web.problems import status_of

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "errors.md").read_text("utf-8")
TREE = re.search(r"(?s)```text\n(.*?)```", PAGE)[1]
TOLD = {
    name: (who, int(status))
    for name, who, status in re.findall(r"(?m)^\| `(\w+)` \| .+? \| (.*?) ?\| (\d{3}) \|$", PAGE)
}


def all_errors() -> dict[str, type[SoulwatchError]]:
    """Every error of the kit and of the host."""
    for module in pkgutil.walk_packages(soulwatch.host.__path__, "soulwatch.host."):
        if "migrations" not in module.name:
            importlib.import_module(module.name)
    found, fresh = {SoulwatchError}, {SoulwatchError}
    while fresh:
        fresh = {below for each in fresh for below in each.__subclasses__()} - found
        found |= fresh
    return {each.__name__: each for each in found if each.__module__.startswith("soulwatch")}


ERRORS = all_errors()


def test_each_error_is_told_and_nothing_else_is():
    assert sorted(TOLD) == sorted(ERRORS)


@pytest.mark.parametrize("name", TOLD)
def test_its_place_in_the_tree_is_its_class(name):
    lines = [(re.search(r"\w", line).start(), line.strip("│├└─ ")) for line in TREE.splitlines()]
    depth, place = next((depth, number) for number, (depth, said) in enumerate(lines) if said == name)
    above = [said for further_left, said in lines[:place] if further_left < depth][-1:]
    assert above == ([] if name == "SoulwatchError" else [ERRORS[name].__base__.__name__])


@pytest.mark.parametrize("name", TOLD)
def test_its_status_and_who_can_help_are_told(name):
    who, status = TOLD[name]
    assert status == status_of(ERRORS[name]("as a test"))
    assert who or name == "SoulwatchError"


def test_the_attributes_are_those_the_errors_have():
    table = re.findall(r"(?m)^\| (`.+?) \| `(\w+)` \| ", PAGE.partition("## What they carry")[2])
    for names, attribute in table:
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(ERRORS[name]("as a test"), attribute)
    own = {attribute for each in ERRORS.values() for attribute in vars(each("as a test"))}
    assert own == {attribute for _, attribute in table}


def test_the_docstring_of_the_module_has_the_same_tree():
    told = set(re.findall(r"\w+", TREE))
    assert told - {"LostClaim"} == {name for name in ERRORS if re.search(rf"\b{name}\b", errors.__doc__)}


def test_the_example_is_python():
    (block,) = re.findall(r"(?s)```python\n(.*?)```", PAGE)
    ast.parse(block)
