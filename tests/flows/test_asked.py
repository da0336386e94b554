"""What is asked for in a request: too much, malformed, misspelt or beyond its limits is refused by name."""

from support.served import on_sqlite

NO_JSON = (
    b"{",
    b"[1,",
    b"nope",
    b"{'a': 1}",
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b"\xff\xfe{}",
    b'{"a": "\\ud800"}',
    b"{}{}",
)
DEEP = b'{"a": ' + b"[" * 200_000
SAID = {"poll": None, "token": {"platform": "sandbox"}, "message": {"type": "x"}}


def quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


@on_sqlite
async def test_a_body_that_is_too_large_is_refused_however_it_comes(served):
    application = await served.application()

    async def in_pieces():
        for _ in range(40):
            yield b" " * 65_536

    for content in (b" " * (1024 * 1024 + 1), b"x" * 20_000_000, in_pieces()):
        refused = await application.post("/api/ws-tickets", content=content)
        assert refused.status_code == 413
        assert "1,048,576" in refused.json()["detail"]
    assert (await application.post("/api/ws-tickets", content=b'{"user": "ada"}' + b" " * 1_000_000)).status_code == 201


@on_sqlite
async def test_a_body_that_is_no_json_is_named_so_wherever_one_is_read(served):
    application = await served.application()
    paths = [
        "/api/ws-tickets",
        "/api/connect-sessions",
        "/api/connect-sessions/x/activate",
        "/api/connections/x/poll",
        "/api/users/ada/message",
        "/api/users/ada/token",
    ]
    for path in paths:
        for body in (*NO_JSON, DEEP, b"[]", b'"text"', b"7", b"null"):
            refused = await application.post(path, content=body)
            assert refused.status_code == 400, (path, body[:20])
            assert refused.json()["detail"].startswith("The body"), path


@on_sqlite
async def test_what_a_body_or_a_query_does_not_have_is_refused_by_name(served):
    application = await served.application()
    for path in (
        "ws-tickets",
        "connect-sessions",
        "connect-sessions/x/activate",
        "connections/x/poll",
        "users/a/token",
    ):
        refused = await application.post(f"/api/{path}", json={"userId": "ada", "admin": True})
        assert refused.status_code == 422, path
        assert "Unknown: admin, userId." in refused.json()["detail"]
    for path in ("data", "data/counts", "events", "connections"):
        refused = await application.get(f"/api/{path}", params={"user_id": "ada"})
        assert refused.status_code == 422, f"{path}: a misspelt filter would give everybody's"
        assert "user_id" in refused.json()["detail"]


@on_sqlite
async def test_numbers_have_limits(served):
    application = await served.application()
    for path, most in (("/api/data?", 1000), ("/api/events?user=ada&", 1000)):
        for good in (1, most):
            assert (await application.get(f"{path}limit={good}")).status_code == 200
        for wrong in ("0", "-1", "+1", "1.5", "1e3", "", " 1", "٣", "0x10", str(most + 1), "9" * 400):
            refused = await application.get(f"{path}limit={quoted(wrong)}")
            assert refused.status_code == 422, wrong
    for path in ("/api/data?before=", "/api/events?user=ada&after="):
        assert (await application.get(f"{path}{2**63 - 1}")).status_code == 200
        for wrong in (str(2**63), "-1", "nine"):
            assert (await application.get(path + wrong)).status_code == 422


async def test_names_have_limits(served):
    application = await served.application()
    for wrong in ("", " ", "x" * 201, "a\nb", "a\x00b", "a\x1b[31m"):
        for path in ("data", "data/counts", "events", "connections"):
            assert (await application.get(f"/api/{path}", params={"user": wrong})).status_code == 422, (path, wrong)
        assert (await application.post("/api/ws-tickets", json={"user": wrong})).status_code == 422, wrong
        for act in ("poll", "token", "message"):
            refused = await application.post(f"/api/users/{quoted(wrong)}/{act}", json=SAID[act])
            assert refused.status_code in (404, 422), (act, wrong)


async def test_a_user_may_be_called_almost_anything(served):
    application = await served.application()
    for user in ("auth0|12", "https://id.example/7", "a/b/poll", "ж 😀", "..", "%2e", "' OR 1=1 --", "x" * 200):
        told = await application.post(f"/api/users/{quoted(user)}/message", json={"type": "hello"})
        assert told.json()["user"] == user
        assert (await application.get("/api/events", params={"user": user})).json()["last"] == 1


async def test_what_a_database_cannot_keep_is_refused_before_it_is_asked(served):
    application = await served.application()
    for body in (b'{"type": "x", "a": ["\\u0000"]}', b'{"type": "x", "a": "\\\\\\u0000"}', b'{"type": "x\\u0000"}'):
        refused = await application.post("/api/users/ada/message", content=body)
        assert (refused.status_code, "U+0000" in refused.json()["detail"]) == (422, True), body
    told = await application.post("/api/users/ada/message", content=b'{"type": "x", "a": "\\\\u0000"}')
    assert told.json()["a"] == "\\u0000"
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/poll"), ("POST", "/refresh")):
        assert (await application.request(method, f"/api/connections/a%00b{path}")).status_code == 404
    refused = await application.post("/api/connect-sessions/a%00b/activate", json={"code": "x"})
    assert refused.status_code == 404
