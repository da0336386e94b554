"""What the pages tell people to type, compared with the commands and options there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from soulwatch.commands.root import root

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
NAMED = re.compile(r"`soulwatch ([a-z][a-z-]*)[^`]*`")
NO_COMMANDS = {"kid"}  # what the id of a key is hashed with
CALL = re.compile(
    r"""(?mx) (?: ^ | \$\( | /bin/ | [A-Z_]+=\S+\ )        # where a command begins
    soulwatch\ (?=[a-z-]) ((?: '[^']*' | "[^"]*" | [^'"|)>;\#\n] )*)"""
)


def typed(page: Path) -> list[str]:
    """Each call of the command in blocks of shell, without what is piped or put around it."""
    blocks = re.findall(r"(?s)```sh\n(.*?)```", page.read_text("utf-8"))
    return [call for block in blocks for call in CALL.findall(block.replace("\\\n", " "))]


CALLS = [(page.stem, call.strip()) for page in PAGES for call in typed(page)]


@pytest.mark.parametrize(("page", "call"), CALLS)
def test_there_is_such_a_command_and_it_takes_these_options(page, call):
    words = shlex.split(call, comments=True)
    context = click.Context(root, info_name="soulwatch")
    command: click.Command = root
    while isinstance(command, click.Group) and words:
        name, found, words = command.resolve_command(context, words)
        assert found is not None, name
        context, command = click.Context(found, info_name=name, parent=context), found
    command.make_parser(context).parse_args(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_command_that_is_named_is_one(page):
    named = set(NAMED.findall(page.read_text("utf-8")))
    assert named - NO_COMMANDS <= set(root.list_commands(click.Context(root)))
