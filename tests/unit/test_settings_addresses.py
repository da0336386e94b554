from __future__ import annotations

import pytest

from soulwatch.host.settings import Settings
from soulwatch.host.settings_addresses import database_address, host_name, origin, web_address, without_password


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://Example.com/", "https://example.com"),
        ("https://example.com:443/watch//", "https://example.com/watch"),
        ("https://example.com:8443/a/b", "https://example.com:8443/a/b"),
        ("http://localhost:3001", "http://localhost:3001"),
        ("http://127.8.9.10:1", "http://127.8.9.10:1"),
        ("http://[::1]:3001/x", "http://[::1]:3001/x"),
    ],
)
def test_a_web_address_has_one_spelling(given, kept):
    assert web_address(given) == kept


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ("http://example.com", "must be https"),
        ("http://127.0.0.1.example.com", "must be https"),
        ("http://localhost.example.com", "must be https"),
        ("example.com", "no absolute address"),
        ("//example.com", "no absolute address"),
        ("ftp://example.com", "no absolute address"),
        ("https://", "no absolute address"),
        ("https://example.com:99999", "no absolute address"),
        ("https://example.com:port", "no absolute address"),
        ("https://300.1.1.1", "no absolute address"),
        ("https://exa%6dple.com", "no absolute address"),
        ("https://[::1", "no absolute address"),
        ("https://ada:sesame@example.com", "user name or password"),
        ("https://example.com/?", "before any"),
        ("https://example.com/#x", "before any"),
        ("https://example.com//evil", "step in its path"),
        ("https://example.com/a/../b", "step in its path"),
        ("https://exa mple.com", "blank"),
        ("https://example.com\\@evil", "backslash"),
        ("https://ex\u00e4mple.com", "beyond ASCII"),
    ],
)
def test_what_is_no_web_address_is_refused(given, wrong):
    with pytest.raises(ValueError, match=wrong):
        web_address(given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://App.example.com", "https://app.example.com"),
        ("https://a.example:443", "https://a.example"),
        ("http://localhost:5173", "http://localhost:5173"),
    ],
)
def test_origins_are_spelled_as_browsers_do(given, kept):
    assert origin(given) == kept


@pytest.mark.parametrize(
    "given", ["*", "https://*.example.com", "https://a.example/", "https://a.example/x", "http://a.example", "null"]
)
def test_what_is_no_origin_is_refused(given):
    with pytest.raises(ValueError, match=r"must|no absolute"):
        origin(given)


def test_requests_may_be_meant_for_the_bind_address_the_public_name_and_this_machine():
    settings = Settings(host="10.0.0.5", public_url="https://watch.example.com/x", allowed_hosts=("[FD00::1]", "inner"))
    assert " ".join(settings.trusted_hosts) == "10.0.0.5 watch.example.com fd00::1 inner localhost 127.0.0.1 ::1"


@pytest.mark.parametrize("given", ["*", "*.x", "https://x", "x:80", "x/y", "1.2.3", "-x", "x..y", ""])
def test_what_is_no_host_name_is_refused(given):
    with pytest.raises(ValueError, match="no host name"):
        host_name(given)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("::1", "http://[::1]:3001"),
        ("0.0.0.0", "http://127.0.0.1:3001"),
        ("::", "http://[::1]:3001"),
        ("box.lan", "http://box.lan:3001"),
    ],
)
def test_without_a_public_url_the_bind_address_is_where_to_go(host, address):
    assert Settings(host=host).base_url == address


def test_a_public_url_is_where_to_go():
    assert Settings(host="0.0.0.0", public_url="https://example.com/watch/").base_url == "https://example.com/watch"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("sqlite:////var/x.db", "sqlite+aiosqlite:////var/x.db"),
        ("sqlite+aiosqlite:////var/x.db", "sqlite+aiosqlite:////var/x.db"),
        ("sqlite:///:memory:", "sqlite+aiosqlite:///:memory:"),
        ("postgres://u:p@h:5432/x?sslmode=require", "postgresql+asyncpg://u:p@h:5432/x?ssl=require"),
        ("postgresql+asyncpg://h/x", "postgresql+asyncpg://h/x"),
    ],
)
def test_a_database_is_spoken_to_by_its_async_driver(given, kept):
    assert database_address(given) == kept


@pytest.mark.parametrize(
    "given", ["mysql://h/x", "postgresql+psycopg2://h/x", "sesame", "sqlite://x.db", "postgres://u:p/w@h:x/y"]
)
def test_a_database_soulwatch_cannot_speak_to_is_refused(given):
    with pytest.raises(ValueError, match=r"must begin|three slashes|percent-encode"):
        database_address(given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("postgresql+asyncpg://ada:sesame@h/x?password=sesame", "postgresql+asyncpg://ada:***@h/x"),
        ("postgresql+asyncpg://ada:1?se@same@h/x", "postgresql+asyncpg://ada:***@h/x"),
        ("postgresql+asyncpg://ada@h/x", "postgresql+asyncpg://ada@h/x"),
        ("sqlite+aiosqlite:////var/x.db", "sqlite+aiosqlite:////var/x.db"),
    ],
)
def test_a_database_is_shown_without_its_password(given, kept):
    assert without_password(given) == kept
