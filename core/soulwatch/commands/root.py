"""All commands by name: what `soulwatch --help` says, without importing any of them."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

import click

from soulwatch import __version__

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "serve": ("serve", "Start the host: refresh tokens, poll platforms, serve the page and the API."),
        "login-code": ("access", "Make a one-time address that signs the operator in."),
        "apikeys": ("access", "Make, list and revoke the keys that applications use."),
        "keygen": ("keys", "Print a new encryption key."),
        "keys": ("keys", "Change the encryption key."),
    },
    "See": {
        "plugins": ("plugins", "List what is installed, and why something is not in use."),
        "connections": ("listing", "List connected accounts and how they are."),
        "data": ("listing", "Show stored items, newest first."),
        "config": ("settings", "Print every setting in force and where it came from, secrets masked."),
        "doctor": ("doctor", "Examine this installation and say how to mend what is wrong."),
    },
    "Do": {
        "poll": ("polling", "Poll connected accounts now, whatever their schedule."),
        "refresh": ("polling", "Get a new token for one connection now, due or not."),
        "message": ("acting", "Send a message to the open sockets of a user."),
        "disconnect": ("acting", "End a connection for good, here and at its platform."),
    },
}
COMMANDS = {name: place for section in SECTIONS.values() for name, place in section.items()}


class Commands(click.Group):
    """A group that knows its commands' names and summaries, and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Every name, in the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; a misspelt one is answered with the nearest."""
        if cmd_name in COMMANDS:
            room, _ = COMMANDS[cmd_name]
            module = import_module(f"soulwatch.commands.{room}")
            command: click.Command = getattr(module, cmd_name.replace("-", "_"))
            return command
        if ctx.resilient_parsing:
            return None
        nearest = get_close_matches(cmd_name, COMMANDS, n=1)
        meant = f" Did you mean `soulwatch {nearest[0]}`?" if nearest else " `soulwatch --help` lists them."
        raise click.UsageError(f"There is no command {cmd_name!r}.{meant}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table of commands."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, summary) for name, (_, summary) in commands.items()], col_max=20)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Begin here:
  soulwatch serve --demo         try it with an invented platform, no account needed
  soulwatch doctor               see whether everything is in order
  soulwatch plugins              see which platforms there are and what they need

`soulwatch COMMAND --help` shows examples of each command.""",
)
@click.version_option(__version__, message="soulwatch %(version)s")
def root() -> None:
    """Connect an account once; it stays connected.

    soulwatch keeps OAuth tokens fresh, polls platforms on schedule, keeps the raw data and tells what happened.
    """
