from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from soulwatch.commands.root import root

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
TEXT = PAGE.read_text("utf-8")
SECTIONS = dict(re.findall(r"(?ms)^### `soulwatch (.+?)`\n(.*?)(?=^##|\Z)", TEXT))
SHARED = {"--data-dir DIR", "--config FILE", "--demo"}


def commands_of(group, name=""):
    context = click.Context(group, info_name="soulwatch")
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        if isinstance(command, click.Group):
            yield from commands_of(command, f"{name}{each} ")
        else:
            yield f"{name}{each}", command


COMMANDS = dict(commands_of(root))


def spelled(parameter):
    """An option or argument as the page has to spell it."""
    if isinstance(parameter, click.Argument):
        return parameter.make_metavar(click.Context(root))
    is_bare = parameter.is_flag or parameter.metavar is None
    return parameter.opts[0] if is_bare else f"{parameter.opts[0]} {parameter.metavar}"


def bullets(text):
    return re.findall(r"(?m)^- `([^`]+)`", text)


def examples(text):
    return [line for block in re.findall(r"(?ms)^```sh\n(.*?)^```", text) for line in block.splitlines()]


def test_each_command_has_its_place_and_nothing_else_has():
    assert sorted(SECTIONS) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_has_its_place_and_nothing_else_has(name):
    own = {spelled(parameter) for parameter in COMMANDS[name].params} - SHARED
    assert sorted(bullets(SECTIONS[name])) == sorted(own)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_but_keygen_can_be_told_which_installation_it_is_about(name):
    shared = SHARED & {spelled(parameter) for parameter in COMMANDS[name].params}
    assert shared == (set() if name == "keygen" else SHARED)


def test_the_options_that_say_which_installation_have_their_place():
    assert set(bullets(TEXT.partition("\n## ")[0])) == SHARED


@pytest.mark.parametrize("name", SECTIONS)
def test_the_examples_are_of_this_command_and_are_understood(name):
    found = examples(SECTIONS[name])
    assert found
    for line in found:
        words = re.search(rf"soulwatch ({name}\b[^|>)]*)", line)
        assert words, line
        COMMANDS[name].make_context(name, shlex.split(words[1])[len(name.split()) :]).close()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_its_help_are_understood_too(name):
    found = re.findall(rf"(?m)^  .*?soulwatch ({name}\b[^|>)\n]*)", COMMANDS[name].epilog)
    assert found
    for words in found:
        called = re.split(r" {4,}", words)[0]
        COMMANDS[name].make_context(name, shlex.split(called)[len(name.split()) :]).close()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_in_its_help_what_it_is_for(name):
    assert [one.opts for one in COMMANDS[name].params if isinstance(one, click.Option) and not one.help] == []


def test_the_default_of_limit_is_told():
    (limit,) = (one for one in COMMANDS["data"].params if one.name == "limit")
    assert f"{limit.default} by default" in SECTIONS["data"]
