"""soulwatch for plugin authors: everything a connector is made of, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soulwatch.api import Answer, Api
    from soulwatch.connector import Connector
    from soulwatch.endpoint import WHOLE_BODY, Endpoint, Schedule, Since
    from soulwatch.errors import (
        CursorExpired,
        Misconfigured,
        NeedsReauth,
        NotFound,
        PlatformError,
        PluginError,
        RateLimited,
        SettingsError,
        SoulwatchError,
        Unavailable,
        UnexpectedAnswer,
    )
    from soulwatch.hookspecs import hookimpl
    from soulwatch.oauth import OAuth2
    from soulwatch.paging import LinkHeader, NextLink, Offset, OnePage, PageToken, Paging
    from soulwatch.platform import Identity, Platform
    from soulwatch.values import Account, Client, Connection, Cursor, Event, Item, Page, Token

__version__ = "0.1.0"

__all__ = [
    "WHOLE_BODY",
    "Account",
    "Answer",
    "Api",
    "Client",
    "Connection",
    "Connector",
    "Cursor",
    "CursorExpired",
    "Endpoint",
    "Event",
    "Identity",
    "Item",
    "LinkHeader",
    "Misconfigured",
    "NeedsReauth",
    "NextLink",
    "NotFound",
    "OAuth2",
    "Offset",
    "OnePage",
    "Page",
    "PageToken",
    "Paging",
    "Platform",
    "PlatformError",
    "PluginError",
    "RateLimited",
    "Schedule",
    "SettingsError",
    "Since",
    "SoulwatchError",
    "Token",
    "Unavailable",
    "UnexpectedAnswer",
    "hookimpl",
]

# The command line asks for the version and nothing else; what a connector needs is loaded when it is named.
_HOMES = {
    "api": (
        "Answer",
        "Api",
    ),
    "connector": ("Connector",),
    "endpoint": (
        "Endpoint",
        "Schedule",
        "Since",
        "WHOLE_BODY",
    ),
    "errors": (
        "CursorExpired",
        "Misconfigured",
        "NeedsReauth",
        "NotFound",
        "PlatformError",
        "PluginError",
        "RateLimited",
        "SettingsError",
        "SoulwatchError",
        "Unavailable",
        "UnexpectedAnswer",
    ),
    "hookspecs": ("hookimpl",),
    "oauth": ("OAuth2",),
    "paging": (
        "LinkHeader",
        "NextLink",
        "Offset",
        "OnePage",
        "PageToken",
        "Paging",
    ),
    "platform": (
        "Identity",
        "Platform",
    ),
    "values": (
        "Account",
        "Client",
        "Connection",
        "Cursor",
        "Event",
        "Item",
        "Page",
        "Token",
    ),
}

if not TYPE_CHECKING:  # a type checker knows the names above, and that there are no others

    def __getattr__(name: str) -> Any:
        from importlib import import_module  # noqa: PLC0415  - likewise

        for home, names in _HOMES.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{home}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
