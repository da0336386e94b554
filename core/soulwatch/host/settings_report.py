"""What is told about settings: everything that is wrong at once, and what is in force; never a secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from soulwatch.host.settings_addresses import without_password
from soulwatch.host.settings_fields import duration_text
from soulwatch.host.settings_names import Name, Names, dotted

_WORDS = {
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "int_from_float": "is no whole number",
    "int_parsing": "is no whole number",
    "int_type": "is no whole number",
    "path_not_file": "is no file",
    "string_type": "is no text",
}
_NOT_OURS = "default_factory_not_called"  # follows from a problem that is told already


@dataclass(frozen=True)
class Given:
    """A value that some source gives for a setting."""

    value: Any = field(repr=False)
    source: str
    """As `Settings.sources` says it."""
    where: str
    """The exact spelling to look for in that source."""
    is_file: bool = False
    file: Path | None = None
    """The file that it stands in, if it stands in one."""

    def holding(self, value: Any) -> Self:
        """The same with the value that was meant by it."""
        return replace(self, value=value)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the settings, for the operator to mend."""

    name: str
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        place = self.where.removesuffix(f" {self.name}")
        return f"{self.name} ({place}): {self.what.rstrip('.')}. {self.remedy}".strip()


def complaint(problems: Iterable[Problem]) -> str:
    """All problems in one message, a line each."""
    return "\n  ".join(["The settings have to be mended:", *sorted({str(problem) for problem in problems})])


def problems_in(error: ValidationError, given: Mapping[Name, Given], names: Names) -> Iterator[Problem]:
    """What the model refused, in words that hold none of the values."""
    for found in error.errors(include_url=False, include_input=False):
        if found["type"] == _NOT_OURS:
            continue
        name = tuple(part for part in found["loc"] if isinstance(part, str))
        places = [part + 1 for part in found["loc"] if isinstance(part, int)]
        if found["type"] == "missing":
            yield Problem(dotted(name), _beside(name, given), "is missing", _how_to_give(name))
            continue
        entry = f"entry {places[0]}: " if places else ""
        example = names.example(name)
        where = given[name].where if name in given else "default"
        yield Problem(dotted(name), where, entry + _what(found), f"For example: {example}" if example else "")


def _what(found: ErrorDetails) -> str:
    text = found["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return _WORDS.get(found["type"], text)


def _beside(name: Name, given: Mapping[Name, Given]) -> str:
    """Where the settings next to a missing one come from."""
    return next((each.where for other, each in given.items() if other[:-1] == name[:-1]), "default")


def _how_to_give(name: Name) -> str:
    # Only a client's id is ever asked for, and its plain name is the one that operators know.
    return f"Set {name[1].upper()}_CLIENT_ID."


def leaves_in(model: BaseModel | Mapping[str, Any], under: Name = ()) -> Iterator[tuple[Name, Any]]:
    """Each setting in force, with its name."""
    for key, value in model.items() if isinstance(model, Mapping) else model:
        name = (*under, key)
        if isinstance(value, BaseModel | Mapping):
            yield from leaves_in(value, name)
        else:
            yield name, value


def shown(name: Name, value: Any, *, is_given: bool) -> str:
    """A value as people may see it: secrets masked, and whatever a plugin may have for one."""
    if value is None or (value == () and not is_given):
        return "not set"
    if isinstance(value, SecretStr) or ("options" in name and isinstance(value, str)):
        return f"set ({len(value)} characters)"
    if isinstance(value, tuple | list):
        return ", ".join(shown(name, entry, is_given=True) for entry in value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return duration_text(value)
    return without_password(value) if name == ("database_url",) else str(value)
