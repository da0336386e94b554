"""soulwatch for plugin authors: everything a connector is made of, and nothing else."""

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
