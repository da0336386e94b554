import httpx
import pytest

from soulwatch_sandbox import Sandbox

from .conftest import client, signed

KEY = {"X-Sandbox-Control": "let-me-in"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "requests"), ("POST", "faults"), ("DELETE", "faults"), ("POST", "items"), ("POST", "revoke")],
)
async def test_the_switches_need_the_key(http: httpx.AsyncClient, sandbox: Sandbox, method, path):
    assert (await http.request(method, f"/control/{path}")).status_code == 403
    wrong = {"X-Sandbox-Control": "wrong"}
    assert (await http.request(method, f"/control/{path}", headers=wrong)).status_code == 403


async def test_faults_are_switched_over_http(http, sandbox: Sandbox):
    access = sandbox.grant("sandbox", "mira").access
    about = {"kind": "status", "pose": "sandbox", "path": "/v1/me", "status": 429, "retry_after": 9, "times": None}
    made = (await http.post("/control/faults", json=about, headers=KEY)).json()
    assert (await http.get("/sandbox/v1/me", headers=signed(access))).status_code == 429
    [seen] = (await http.get("/control/faults", headers=KEY)).json()
    assert (seen["id"], seen["struck"]) == (made["id"], 1)

    assert (await http.delete(f"/control/faults?id={made['id']}", headers=KEY)).status_code == 204
    assert (await http.get("/sandbox/v1/me", headers=signed(access))).status_code == 200


@pytest.mark.parametrize("about", [{"kind": "typhoon"}, {"kind": "status", "colour": "red"}, {}])
async def test_an_unknown_switch_is_refused(http, about):
    assert (await http.post("/control/faults", json=about, headers=KEY)).status_code == 400


async def test_requests_are_logged_without_secrets(http, sandbox: Sandbox):
    issued = sandbox.grant("sandbox", "mira")
    form = {"grant_type": "refresh_token", "refresh_token": issued.refresh}
    await http.post("/sandbox/token?code=hush-hush", data=form, auth=(client().id, client().secret))
    await http.get("/sandbox/v1/notes?limit=3", headers=signed(issued.access))
    logged = await http.get("/control/requests", headers=KEY)

    token, notes = logged.json()
    assert (token["status"], token["grant_type"], token["generation"]) == (200, "refresh_token", 2)
    assert (notes["path"], notes["query"], notes["generation"]) == ("/v1/notes", {"limit": "3"}, 1)
    assert notes["grant"] == issued.grant
    for secret in (issued.access, issued.refresh, client().secret, "hush-hush"):
        assert secret not in logged.text


async def test_requests_are_counted(http, sandbox: Sandbox):
    issued = sandbox.grant("sandbox", "mira")
    await http.get("/sandbox/v1/me", headers=signed(issued.access))
    await http.post("/sandbox/token", data={"grant_type": "refresh_token"})

    assert len(sandbox.token_requests("sandbox")) == 1
    assert len(sandbox.requests.of("sandbox", "/v1/")) == 1
    assert sandbox.requests.most_at_once == 1


async def test_people_act_over_http(http, sandbox: Sandbox):
    issued = sandbox.grant("sandbox", "mira")
    added = await http.post("/control/items", json={"pose": "sandbox", "person": "mira", "count": 2}, headers=KEY)
    newest = await http.get("/sandbox/v1/notes?limit=2", headers=signed(issued.access))
    assert [note["written_ms"] for note in newest.json()["items"]] == added.json()["added_ms"][::-1]

    await http.post("/control/expire", json={"who": "mira"}, headers=KEY)
    assert (await http.get("/sandbox/v1/me", headers=signed(issued.access))).status_code == 401
    revoked = await http.post("/control/revoke", json={"who": "mira"}, headers=KEY)
    assert revoked.json() == {"grants": [issued.grant]}
    [grant] = (await http.get("/control/grants", headers=KEY)).json()
    assert grant["revoked"] == "revoked by the person"


async def test_clients_are_registered_over_http(http, sandbox: Sandbox):
    about = {"pose": "github", "client_id": "new", "client_secret": "invented", "redirect_uris": ["http://127.0.0.1/"]}
    assert (await http.post("/control/clients", json=about, headers=KEY)).status_code == 200

    assert sandbox.clients.find("github", "new").redirect_uris == ("http://127.0.0.1/",)
