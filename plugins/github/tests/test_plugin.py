import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pluggy
import pytest

from soulwatch import hookspecs
from soulwatch_github import github


@pytest.fixture
def hooks():
    """What the host sees of the plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(github, "github")
    manager.check_pending()
    return manager.hook


def test_host_learns_the_platform_and_where_its_tokens_may_go(hooks):
    assert (hooks.platform().name, hooks.platform().hosts) == ("github", ("api.github.com",))


def test_events_are_polled_every_six_hours_and_repos_once_a_day(hooks):
    schedules = {one.name: hooks.schedule(endpoint=one) for one in hooks.poll_endpoints(connection=None)}
    assert schedules == {"events": "0 */6 * * *", "repos": "0 4 * * *"}


def test_url_and_token_endpoint_are_encrypted():
    urls = [github.facts.oauth.authorize_url, github.facts.oauth.token_url, github.facts.identity.url]
    assert all(url.startswith("https://") for url in [*urls, *(endpoint.url for endpoint in github.endpoints)])


def test_distribution_offers_the_connector_to_the_host():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    offered = project["entry-points"]["soulwatch"]["github"]
    assert github is EntryPoint("github", offered, "soulwatch").load()
