"""How settings are spelled: dotted names, environment variables, and the known name nearest to a misspelt one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import get_args, get_origin

from pydantic import BaseModel

Name = tuple[str, ...]
"""The way to one setting: `("platforms", "github", "api_url")`. In a pattern, `<platform>` stands for any name."""

PREFIX = "SOULWATCH_"
FILE = "_FILE"
FIXED_CLIENTS = ("spotify", "google", "discord", "linkedin", "github")
"""Clients that everyone may expect: a secret without an id is a mistake, never another program's variable."""

_PLAIN: dict[str, Name] = {
    "DATABASE_URL": ("database_url",),
    "ENCRYPTION_KEY": ("encryption_key",),
    "CRON_SECRET": ("cron_secret",),
}
_PLAIN_CLIENT = re.compile(r"(?!SOULWATCH_)([A-Z][A-Z0-9_]*)_CLIENT_(ID|SECRET)")
_KEYS = {
    "clients": "<client>",
    "platforms": "<platform>",
    "schedules": "<endpoint>",
    "options": "<option>",
}
_READ_ELSEWHERE = {"SOULWATCH_CONFIG", "SOULWATCH_TRACE_PLUGINS"}
# Kubernetes gives every pod variables for each Service, one of which may well be called soulwatch.
_KUBERNETES = re.compile(r"SOULWATCH_(\w+_)?(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP|SCTP))(_\w+)?")


def dotted(name: Name) -> str:
    """The setting's name as people read it and `soulwatch.toml` spells it."""
    return ".".join(name)


def variable_of(name: Name) -> str:
    """The environment variable of this setting."""
    return PREFIX + "__".join(name).upper()


def is_no_setting(variable: str, text: str) -> bool:
    """Whether this `SOULWATCH_*` variable is meant for someone else."""
    service = variable.endswith("PORT") and re.match(r"(tcp|udp|sctp)://", text) is not None
    return variable in _READ_ELSEWHERE or service or _KUBERNETES.fullmatch(variable) is not None


def patterns(model: type[BaseModel], under: Name = ()) -> Iterator[tuple[Name, str]]:
    """The name of each setting that the model has a place for, with an example of its value."""
    for field, info in model.model_fields.items():
        name, kind = (*under, field), info.annotation
        if get_origin(kind) is dict:
            name, kind = (*name, _KEYS[field]), get_args(kind)[1]
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from patterns(kind, name)
        else:
            yield name, next(iter(info.examples or ()), "")


@dataclass(frozen=True)
class Names:
    """The names of all settings, as patterns, with an example of what each may hold."""

    known: Mapping[Name, str]

    def __contains__(self, name: Name) -> bool:
        return all(name) and any(_fits(pattern, name) for pattern in self.known)

    def is_own(self, name: Name) -> bool:
        """Whether soulwatch itself chose the last word, such as `ca_file`, and not a plugin or the operator."""
        return any(_fits(pattern, name) and pattern[-1] == name[-1] for pattern in self.known)

    def example(self, name: Name) -> str:
        """A value this setting could have, or nothing."""
        return next((text for pattern, text in self.known.items() if _fits(pattern, name)), "")

    def of_variable(self, variable: str) -> tuple[Name, bool] | None:
        """The setting this variable gives, and whether through a file; None if it gives none."""
        name = self._plainly(variable)
        if variable.endswith(FILE) and (name is None or not self.is_own(name)):
            name = self._plainly(variable.removesuffix(FILE))
            return None if name is None else (name, True)
        return None if name is None else (name, False)

    def _plainly(self, variable: str) -> Name | None:
        if variable.startswith(PREFIX):
            name = tuple(variable.removeprefix(PREFIX).lower().split("__"))
            return name if name in self else None
        if found := _PLAIN_CLIENT.fullmatch(variable):
            return ("clients", found[1].lower(), found[2].lower())
        return _PLAIN.get(variable)

    def nearest(self, name: Name, spelled: Callable[[Name], str] = dotted) -> str | None:
        """The known name that was probably meant; for a whole group, one of those in it."""
        for pattern in self.known:
            if len(pattern) > len(name) and _fits(pattern[: len(name)], name):
                return spelled(_filled(pattern, name))
        candidates = [spelled(_filled(pattern, name)) for pattern in self.known]
        return next(iter(get_close_matches(spelled(name), candidates, n=1, cutoff=0.7)), None)

    def nearest_variable(self, variable: str) -> str | None:
        """The variable that was probably meant."""
        if _PLAIN_CLIENT.fullmatch(plain := variable.removeprefix(PREFIX)):
            return plain
        ending = FILE if variable.endswith(FILE) else ""
        name = tuple(variable.removesuffix(FILE).removeprefix(PREFIX).lower().split("__"))
        found = self.nearest(name, variable_of)
        return None if found is None else found + ending


def _fits(pattern: Name, name: Name) -> bool:
    if pattern[-1] == _KEYS["options"]:  # what a plugin's option holds is that plugin's affair
        name = name[: len(pattern)]
    return len(pattern) == len(name) and all(
        part == given or part.startswith("<") for part, given in zip(pattern, name, strict=True)
    )


def _filled(pattern: Name, name: Name) -> Name:
    given = dict(enumerate(name))
    return tuple(given.get(place, part) if part.startswith("<") else part for place, part in enumerate(pattern))
