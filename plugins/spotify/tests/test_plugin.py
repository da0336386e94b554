import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pluggy
import pytest

from soulwatch import hookspecs
from soulwatch_spotify import spotify


@pytest.fixture
def hooks():
    """What the host sees of the plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(spotify, "spotify")
    manager.check_pending()
    return manager.hook


def test_host_learns_the_platform_and_where_its_tokens_may_go(hooks):
    assert (hooks.platform().name, hooks.platform().hosts) == ("spotify", ("api.spotify.com",))


def test_both_endpoints_are_polled_every_half_hour(hooks):
    endpoints = hooks.poll_endpoints(connection=None)
    assert [endpoint.name for endpoint in endpoints] == ["recently_played", "currently_playing"]
    assert [hooks.schedule(endpoint=endpoint) for endpoint in endpoints] == ["*/30 * * * *"] * 2


def test_each_scope_that_is_asked_for_is_needed_and_each_that_is_needed_asked_for():
    needed = {scope for endpoint in spotify.endpoints for scope in endpoint.scopes}
    assert needed == set(spotify.facts.oauth.scopes)


def test_url_and_token_endpoint_are_encrypted():
    urls = [spotify.facts.oauth.authorize_url, spotify.facts.oauth.token_url, spotify.facts.identity.url]
    assert all(url.startswith("https://") for url in [*urls, *(endpoint.url for endpoint in spotify.endpoints)])


def test_distribution_offers_the_connector_to_the_host():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    offered = project["entry-points"]["soulwatch"]["spotify"]
    assert spotify is EntryPoint("spotify", offered, "soulwatch").load()
