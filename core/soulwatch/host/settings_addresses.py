"""Addresses in settings: hosts, web addresses, origins and databases, each in one spelling."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
DEFAULT_PORTS = {"http": 80, "https": 443}
DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def is_loopback(host: str) -> bool:
    """Whether this host name or IP address is this very machine (127.0.0.0/8, ::1, localhost)."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bracketed(host: str) -> str:
    """The host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def host_name(text: str) -> str:
    """A host name or IP address alone, in lower case and without brackets."""
    host = text.lower().removeprefix("[").removesuffix("]")
    if not _is_host(host):
        raise ValueError("is no host name or IP address: leave out scheme, port, path and *")
    return host


def _is_host(host: str) -> bool:
    if re.fullmatch(r"[\d.]+", host) or ":" in host:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True
    return bool(_HOST_NAME.fullmatch(host))


def web_address(text: str) -> str:
    """An absolute URL of a service, perhaps with a path prefix; no slash at its end."""
    parts = _split(text)
    return _origin_of(parts) + parts.path.rstrip("/")


def origin(text: str) -> str:
    """`scheme://host[:port]` and nothing else, as a browser's `Origin` header spells it (RFC 6454 section 6.2)."""
    if "*" in text:
        raise ValueError("must name each origin by itself: * would let any site in")
    parts = _split(text)
    if parts.path:
        raise ValueError("must end after host and port: leave out the path and the last slash")
    return _origin_of(parts)


def _split(text: str) -> SplitResult:
    if re.search(r"[^!-~]|\\", text):
        raise ValueError("holds a blank, a backslash or a letter beyond ASCII, which no address may")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in DEFAULT_PORTS and _is_host(parts.hostname or "") and parts.port != 0
    except ValueError:  # urllib's own words would repeat a part of the text
        usable = False
    if not usable:
        raise ValueError("is no absolute address that begins with https://")
    _refuse_more_than_an_address(text, parts)
    return parts


def _refuse_more_than_an_address(text: str, parts: SplitResult) -> None:
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    if "?" in text or "#" in text:
        raise ValueError("must end before any ? or #")
    # A prefix that begins with // would make a redirect to a path lead to another host.
    if re.search(r"/(?=/.)|/\.{1,2}(?=/|$)", parts.path):
        raise ValueError("must have no empty, . or .. step in its path")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("must be https: http is only for this machine (127.0.0.1, [::1] or localhost)")


def _origin_of(parts: SplitResult) -> str:
    host = bracketed(parts.hostname or "")
    port = "" if parts.port in {None, DEFAULT_PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def database_address(text: str) -> str:
    """A database URL with the async driver that soulwatch uses for it."""
    scheme, _, rest = text.partition("://")
    driver = DRIVERS.get(scheme.lower())
    if driver is None or "://" not in text:
        raise ValueError("must begin with sqlite:/// or postgresql://, with no other driver named")
    if driver.startswith("sqlite"):
        if rest and not rest.startswith("/"):
            raise ValueError("needs three slashes before a relative and four before an absolute path")
        return f"{driver}://{rest}"
    _refuse_broken_authority(rest)
    # libpq's word for it, which hosting services hand out; asyncpg knows it as `ssl`
    return f"{driver}://" + re.sub(r"([?&])sslmode=", r"\1ssl=", rest)


def _refuse_broken_authority(rest: str) -> None:
    try:
        _ = urlsplit(f"//{rest}").port
    except ValueError:
        raise ValueError("has no readable host and port: percent-encode : / @ # ? in its password") from None


def without_password(database_url: str) -> str:
    """The database URL as it may be shown: no password, and no query, which may hold one too."""
    head, separator, rest = database_url.partition("://")
    # Cut at the last @ first: a password may hold a ? that nobody encoded.
    credentials, at, place = rest.rpartition("@")
    if at and ":" in credentials:
        credentials = credentials.partition(":")[0] + ":***"
    return f"{head}{separator}{credentials}{at}{place.partition('?')[0]}"
