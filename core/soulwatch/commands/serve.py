"""`soulwatch serve`: the host, its page and its API, until it is told to stop."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from soulwatch import __version__
from soulwatch.commands.access import sign_in_address
from soulwatch.commands.given import Given, make_data_dir, open_host, secrets_of, which_to_start
from soulwatch.commands.telling import shown

if TYPE_CHECKING:
    from soulwatch.host.host import Host


@click.command(
    epilog="""\b
Examples:
  soulwatch serve --demo                    an invented platform, to try everything with
  soulwatch serve                           on http://127.0.0.1:3001
  soulwatch serve --host 0.0.0.0 --port 80
  soulwatch serve --config /etc/soulwatch.toml --data-dir /var/lib/soulwatch"""
)
@click.option("--host", metavar="ADDRESS", help="Address to listen on (setting host, 127.0.0.1 by default).")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="PORT", help="Port to listen on; 0 is any free one (3001)."
)
@which_to_start
def serve(given: Given, *, host: str | None, port: int | None) -> None:
    """Start the host: refresh tokens, poll platforms, serve the page and the API.

    Prints where it is and what it does when, and on a terminal an address that signs you in. Ctrl+C or SIGTERM ends it:
    polls that are running may finish within the setting shutdown_grace.

    --demo starts it with the sandbox, an invented platform on this machine. Its data lie in a folder of their own.
    """
    import anyio  # noqa: PLC0415

    said = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    anyio.run(_serve, Given(given.data_dir, given.config, given.is_demo, said))


async def _serve(given: Given) -> None:
    from soulwatch.commands.listening import listen, port_of  # noqa: PLC0415
    from soulwatch.host import logs  # noqa: PLC0415
    from soulwatch.host.settings import load_settings  # noqa: PLC0415

    settings = load_settings(overrides=given.overrides)
    async with AsyncExitStack() as stack:
        # Before anything else begins: a port in use is the commonest mistake, and nothing has happened then.
        sockets = stack.enter_context(listen(settings.host, settings.port))
        if settings.port == 0:
            given = replace(given, more={**given.more, "port": port_of(sockets)})
        demo = await _begin_demo(stack, given) if given.is_demo else {}
        settings = load_settings(overrides=given.overrides, demo=demo)
        logs.configure(settings.log_level, settings.log_format, secrets=secrets_of(settings))
        host = await stack.enter_async_context(open_host(settings))
        await _run(host, sockets, given)


async def _begin_demo(stack: AsyncExitStack, given: Given) -> dict[str, Any]:
    from soulwatch.commands.demo import demo_dir, demo_overrides, running_sandbox  # noqa: PLC0415
    from soulwatch.host.settings import load_settings  # noqa: PLC0415

    settings = load_settings(overrides=given.overrides)
    make_data_dir(demo_dir(settings))
    return demo_overrides(settings, await stack.enter_async_context(running_sandbox(settings)))


async def _run(host: Host, sockets: list[Any], given: Given) -> None:
    from soulwatch.commands.serving import serve_until_told  # noqa: PLC0415
    from soulwatch.host.app import create_app  # noqa: PLC0415

    async def greet() -> None:
        for line in [*await _facts(host), "", *await _way_in(host, given)]:
            click.echo(line)

    await serve_until_told(create_app(host=host), host, sockets, greet)


async def _facts(host: Host) -> list[str]:
    from soulwatch.host.settings_addresses import LOOPBACK  # noqa: PLC0415

    settings = host.settings
    jobs = await host.jobs()
    lines = [
        f"soulwatch {__version__}",
        f"  Address:      {settings.base_url}",
        f"  Environment:  {shown(settings.environment)}",
        f"  CORS origins: {', '.join(settings.cors_origins) or 'none'}",
        f"  WebSocket:    ws{settings.base_url.removeprefix('http')}/ws",
        f"  Data:         {_place(host)}",
        "  Background jobs:",
        *(f"    {shown(title)}: {shown(schedule)}" for title, schedule in jobs),
    ]
    if settings.host not in LOOPBACK and settings.public_url is None:
        lines.append(
            f"  It listens on {settings.host} over plain http: put a proxy that speaks https in front, and set"
        )
        lines.append("  SOULWATCH_PUBLIC_URL. Requests for any other name than the above are refused until then.")
    if not host.platforms.in_use():
        lines.append("  No platform has an OAuth client yet: `soulwatch plugins` says which variables to set,")
        lines.append("  and `soulwatch serve --demo` needs none.")
    return lines


def _place(host: Host) -> str:
    if host.database.is_sqlite:
        return str(Path(host.database.engine.url.database or "").absolute())
    return host.database.engine.url.render_as_string(hide_password=True)


async def _way_in(host: Host, given: Given) -> list[str]:
    if not sys.stdout.isatty():  # what is no terminal may be a log, and is kept
        return [f"To sign in, run: {given.command('login-code')}"]
    address = sign_in_address(host.settings.base_url, await host.access.login_code())
    return [
        "Open this address to sign in (good once, within ten minutes):",
        f"  {address}",
        f"Another one: {given.command('login-code')}. Stop with Ctrl+C.",
    ]
