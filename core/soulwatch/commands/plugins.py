"""`soulwatch plugins`: what is installed, and why something is not in use. No database is opened for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from soulwatch.commands.given import Given, which_installation
from soulwatch.commands.telling import as_json, columns, shown

if TYPE_CHECKING:
    from soulwatch.host.settings import Settings


@click.command(
    epilog="""\b
Examples:
  soulwatch plugins
  soulwatch plugins --json | jq '.plugins[].name'"""
)
@click.option("--json", "wants_json", is_flag=True, help="Print one JSON object.")
@which_installation
def plugins(given: Given, *, wants_json: bool) -> None:
    """List what is installed, and why something is not in use.

    For each platform: what it polls and how often, whether its OAuth client is set, and the redirect address to
    register with the platform.
    """
    import anyio  # noqa: PLC0415

    found = anyio.run(_described, given.settings())
    if wants_json:
        as_json(found)
        return
    for plugin in found["plugins"]:
        _print_plugin(plugin)
    if not found["plugins"]:
        click.echo("No plugin is in use. For example: pip install soulwatch-spotify")
    if found["problems"]:
        click.echo("\nNot in use:")
        columns(("name", "distribution", "why"), [tuple(one.values()) for one in found["problems"]])


async def _described(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    from soulwatch.host.clock import SystemClock  # noqa: PLC0415
    from soulwatch.host.overview import Overview  # noqa: PLC0415
    from soulwatch.host.plan import Plan  # noqa: PLC0415
    from soulwatch.host.platforms import Platforms  # noqa: PLC0415
    from soulwatch.host.plugins import Plugins  # noqa: PLC0415

    installed = Plugins()
    installed.discover(allow=settings.plugins.allow, deny=settings.plugins.deny)
    platforms = Platforms(installed, settings)
    plan = Plan(platforms, SystemClock(), settings.zone)
    overview = Overview(platforms, plan, lambda name: f"{settings.base_url}/connect/{name}/callback")
    return {
        "plugins": [await overview.plugin(plugin) for plugin in installed],
        "problems": [
            {"plugin": one.plugin, "distribution": one.distribution, "why": one.why} for one in installed.problems
        ],
    }


def _print_plugin(plugin: dict[str, Any]) -> None:
    platform = plugin["platform"]
    title = f"{platform['title']}, " if platform else ""
    click.echo(shown(f"{plugin['name']}  ({title}{plugin['distribution']} {plugin['version']})"))
    if platform is None:
        click.echo(f"    answers   {', '.join(plugin['hooks']) or 'no hook'}")
        return
    click.echo(f"    client    {_client(platform)}")
    click.echo(f"    redirect  {platform['redirect_uri']}")
    for endpoint in plugin["endpoints"]:
        click.echo(f"    polls     {shown(endpoint['name'])}: {shown(endpoint['schedule'])}")


def _client(platform: dict[str, Any]) -> str:
    if not platform["enabled"]:
        return f"switched off by platforms.{platform['name']}.enabled"
    if platform["client_set"]:
        return "set"
    name = platform["client_name"].upper().replace("-", "_")
    return f"not set: set {name}_CLIENT_ID and {name}_CLIENT_SECRET"
