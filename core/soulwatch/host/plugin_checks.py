"""What plugins answer, checked before it is used: messages name the plugin, what it gave and what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from soulwatch.endpoint import Endpoint
from soulwatch.errors import PluginError
from soulwatch.platform import Platform
from soulwatch.values import Token


def check_platform(name: str, answer: Any) -> Platform | None:
    """The platform's facts, or None from a plugin that is for none. Raises PluginError."""
    if answer is None:
        return None
    if not isinstance(answer, Platform):
        raise PluginError(f"platform() gave {type(answer).__name__}, expected a Platform", plugin=name)
    if answer.name != name:
        raise PluginError(
            f"its platform is named {answer.name!r}, its entry point {name!r}: they have to be the same", plugin=name
        )
    oauth = answer.oauth
    urls = [oauth.authorize_url, oauth.token_url, answer.identity.url, *filter(None, [oauth.revoke_url])]
    for url in urls:
        if urlsplit(url).scheme != "https" or not urlsplit(url).hostname:
            raise PluginError(f"{url!r} is no https address", plugin=name)
    _check_texts(name, "hosts", answer.hosts)
    _check_texts(name, "scopes", oauth.scopes)
    if not answer.hosts or urlsplit(answer.identity.url).hostname not in answer.hosts:
        raise PluginError(f"hosts {answer.hosts} do not hold the host of {answer.identity.url}", plugin=name)
    return answer


def check_token(name: str, answer: Any) -> Token:
    """The token a plugin gave. Raises PluginError for anything else."""
    if not isinstance(answer, Token) or not isinstance(answer.access, str) or not answer.access:
        raise PluginError(
            f"The plugin {name} gave {type(answer).__name__} from refresh_token, expected a Token with access.",
            plugin=name,
        )
    if answer.refresh is not None and (not isinstance(answer.refresh, str) or not answer.refresh):
        raise PluginError(f"The plugin {name} gave a Token whose refresh is neither a text nor None.", plugin=name)
    for field in ("expires_at", "grant_expires_at"):
        at = getattr(answer, field)
        if at is not None and (not isinstance(at, datetime) or at.tzinfo is None):
            raise PluginError(
                f"The plugin {name} gave a Token whose {field} is neither a time with its zone nor None.", plugin=name
            )
    _check_texts(name, "scopes", answer.scopes)
    return answer


def check_endpoints(name: str, answer: Any) -> Mapping[str, Endpoint]:
    """The endpoints by name. Raises PluginError where there are others than endpoints, or two of one name."""
    is_list = isinstance(answer, Sequence) and not isinstance(answer, str)
    if not is_list or not all(isinstance(endpoint, Endpoint) for endpoint in answer):
        raise PluginError(
            f"The plugin {name} gave {answer!r} from poll_endpoints, expected a list of Endpoint.", plugin=name
        )
    if not all(isinstance(endpoint.name, str) and endpoint.name for endpoint in answer):
        raise PluginError(f"The plugin {name} gave an endpoint whose name is no text.", plugin=name)
    endpoints = {endpoint.name: endpoint for endpoint in answer}
    if len(endpoints) != len(answer):
        raise PluginError(f"The plugin {name} gave two endpoints of one name.", plugin=name)
    for endpoint in answer:
        _check_texts(name, f"{endpoint.name}.key", endpoint.key)
    return endpoints


def _check_texts(name: str, field: str, value: Any) -> None:
    # A text is a sequence of texts too: without its comma, ("api.example.com") is 15 hosts of one letter.
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise PluginError(f"The plugin {name} has {field} {value!r}, expected a tuple of texts.", plugin=name)
