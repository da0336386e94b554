"""The same work by soulwatch: a connected account, its whole list read by the poller, everything switched on.

python tests/bench/ours.py URL FOLDER
"""

from __future__ import annotations

import asyncio
import sys
import time

from soulwatch import Account, Connector, Endpoint, Identity, OAuth2, PageToken, Platform, Token
from soulwatch.host.host import Host
from soulwatch.host.plugins import Plugins
from soulwatch.host.settings import load_settings

API = "https://bench.invalid"
bench = Connector(
    Platform(
        "bench",
        "Bench",
        OAuth2(f"{API}/authorize", f"{API}/token"),
        hosts=("bench.invalid",),
        identity=Identity(f"{API}/me"),
    ),
    [Endpoint("items", f"{API}/items", paging=PageToken(at="next", param="page"), max_pages=100_000)],
)


async def main(url: str, folder: str) -> None:
    overrides = {
        "data_dir": folder,
        "platforms": {"bench": {"api_url": url, "oauth_url": url}},
        "clients": {"bench": {"id": "invented"}},
    }
    plugins = Plugins()
    plugins.register(bench, "bench")
    host = await Host.open(load_settings(overrides=overrides, env={}), plugins=plugins)
    rows = await host.accounts.rows(user="ada")
    if not rows:
        await host.accounts.store("ada", bench.facts, Account("1", "Ada"), Token("invented"))
        rows = await host.accounts.rows(user="ada")
    begun = time.perf_counter()
    (outcome,) = await host.poll_connection(rows[0].id)
    took = time.perf_counter() - begun
    await host.close()
    assert outcome.problem is None, outcome.problem
    print(outcome.new)
    print(took)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
