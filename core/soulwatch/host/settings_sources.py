"""Where settings come from: command line, environment, `.env` and `soulwatch.toml`, each read into one flat shape."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from soulwatch.host.settings_names import FILE, PREFIX, Name, Names, dotted, is_no_setting
from soulwatch.host.settings_report import Given, Problem

VALUE_FILE_MAX_BYTES = 65536
COMMAND_LINE = "command line"
DEMONSTRATION = "--demo"
ENVIRONMENT = "environment"
DOTENV = ".env"

_PATHS = {("data_dir",), ("ca_file",)}
_SQLITE = ("sqlite:///", "sqlite+aiosqlite:///")
# Everywhere else an empty value means "not given", but an allow-list must not be opened by accident.
_NEVER_EMPTY = {("plugins", "allow")}

Layer = dict[Name, Given]


@dataclass
class Reader:
    """Reads one source after the other and notes what is wrong on the way, so that all of it is told at once."""

    names: Names
    home: Path
    problems: list[Problem] = field(default_factory=list)

    def variables(self, variables: Mapping[str, str], source: str, folder: Path) -> Layer:
        """The settings among these environment variables; `source` is `environment` or `.env`."""
        layer: Layer = {}
        # A name with our prefix was surely meant for us: it comes last and so stands over a plain DATABASE_URL.
        for variable in sorted(variables, key=lambda variable: (variable.startswith(PREFIX), variable)):
            text, where = variables[variable], f"{source} {variable}"
            if (found := self.names.of_variable(variable)) is None:
                self._refuse_unknown_variable(variable, text, where)
                continue
            if is_no_setting(variable, text):
                continue
            name, is_file = found
            shown = where if source == ENVIRONMENT else source
            if text.strip() or (name in _NEVER_EMPTY and not is_file):
                file = folder / DOTENV if source == DOTENV else None
                self._put(layer, name, Given(text, shown, where, is_file, file), folder)
        return layer

    def _refuse_unknown_variable(self, variable: str, text: str, where: str) -> None:
        if variable.startswith(PREFIX) and not is_no_setting(variable, text):
            nearest = self.names.nearest_variable(variable)
            self.problems.append(_unknown(variable, where, nearest))

    def table(self, leaves: Iterable[tuple[Name, Any]], source: str, folder: Path) -> Layer:
        """The settings among these leaves of `soulwatch.toml` or of the command line."""
        layer: Layer = {}
        file = None if source in (COMMAND_LINE, DEMONSTRATION) else folder / Path(source).name
        for name, value in leaves:
            where = f"{source} {dotted(name)}"
            of_file = (*name[:-1], name[-1].removesuffix(FILE.lower()))
            if name in self.names:
                self._put(layer, name, Given(value, source, where, file=file), folder)
            elif name != of_file and of_file in self.names:
                self._put(layer, of_file, Given(value, source, where, is_file=True), folder)
            else:
                self.problems.append(_unknown(dotted(name), source, self.names.nearest(name)))
        return layer

    def _put(self, layer: Layer, name: Name, given: Given, folder: Path) -> None:
        before = layer.get(name)
        if before is not None and _twice(before, given):
            self._note(name, given, f"is given by {before.where} too", "Keep one of the two.")
            return
        if given.is_file:
            given = replace(given, file=self.path(str(given.value).strip(), folder))
        value = self._from_file(name, given) if given.is_file else given.value
        if isinstance(value, str):
            value = value.strip()
        if name in _NEVER_EMPTY and value == "":
            self._note(name, given, "is empty", "Write [] to allow none, or leave it out.")
        elif value is not None and value != "":
            layer[name] = given.holding(self._anchored(name, value, folder))

    def _from_file(self, name: Name, given: Given) -> str | None:
        try:
            with (given.file or Path()).open("rb") as file:
                text = file.read(VALUE_FILE_MAX_BYTES).decode("utf-8-sig").strip()
        except (OSError, UnicodeDecodeError, ValueError) as error:
            # The path is not repeated: sometimes it is the secret itself, put under the wrong name.
            what = f"names a file that cannot be read ({_reason(error)})"
            self._note(name, given, what, "Mend the path or its permissions.")
            return None
        if not text:
            self._note(name, given, "names a file that is empty", "Put the value into it.")
        return text or None

    def _note(self, name: Name, given: Given, what: str, remedy: str) -> None:
        self.problems.append(Problem(dotted(name), given.where, what, remedy))

    def _anchored(self, name: Name, value: Any, folder: Path) -> Any:
        """A relative path means: from where it is written, whatever directory the host works in later."""
        if name in _PATHS and isinstance(value, str | Path):
            return self.path(str(value), folder)
        if name == ("database_url",) and isinstance(value, str) and value.startswith(_SQLITE):
            head, _, path = value.partition(":///")
            if path and not path.startswith((":", "file:", "?")):
                return f"{head}:///{self.path(path, folder)}"
        return value

    def path(self, text: str, folder: Path) -> Path:
        """Where this path leads when it is written in this folder."""
        if text == "~" or text.startswith("~/"):
            return self.home / text[2:]
        return folder / text


def read_dotenv(path: Path, problems: list[Problem]) -> dict[str, str]:
    """The variables of a `.env` file, just as written: `${...}` is not replaced. No file, no variables."""
    if not path.is_file():  # a virtual environment may be a folder of that name
        return {}
    from dotenv.parser import parse_stream  # noqa: PLC0415  - slow to import, and most hosts have no .env

    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            for binding in parse_stream(file):
                if binding.error:
                    where = f"line {binding.original.line}"
                    problems.append(Problem(".env", where, "cannot be understood", "Write it as NAME=value."))
                elif binding.key is not None and binding.value is not None:
                    found[binding.key] = binding.value
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(".env", str(path), f"cannot be read ({_reason(error)})", "Mend it or its permissions."))
    return found


def read_toml(path: Path, problems: list[Problem]) -> dict[str, Any]:
    """The tables of a settings file. What cannot be read is noted as a problem."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(
            Problem(path.name, str(path), f"cannot be read ({_reason(error)})", "Mend it or its permissions.")
        )
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(path.name, str(path), f"is not TOML: {error}", "Mend that line."))
    return {}


def merged(layers: Sequence[Layer]) -> Layer:
    """All layers as one, the first having the last word."""
    result: Layer = {}
    for layer in layers:
        for name, given in layer.items():
            if not any(name[: len(other)] == other or other[: len(name)] == name for other in result):
                result[name] = given
    return result


def nested(layer: Layer) -> dict[str, Any]:
    """The values of a layer as the tables that the model reads."""
    root: dict[str, Any] = {}
    for name, given in layer.items():
        table = root
        for part in name[:-1]:
            table = table.setdefault(part, {})
        table[name[-1]] = given.value
    return root


def leaves(table: Mapping[str, Any], under: Name = ()) -> Iterator[tuple[Name, Any]]:
    """Each value in nested tables, with its name."""
    for key, value in table.items():
        # Names are written in any case, as in the environment; but options are spelled as their plugin likes.
        name = (*under, key if "options" in under else key.lower())
        if isinstance(value, Mapping):
            yield from leaves(value, name)
        else:
            yield name, value


def overridden(overrides: Mapping[str, Any]) -> Iterator[tuple[Name, Any]]:
    """What the command line says, in nested tables or under dotted names; None is what it leaves alone."""
    for key, value in overrides.items():
        *tables, last = key.split(".")
        yield from leaves({last: value} if value is not None else {}, tuple(tables))


def _twice(one: Given, other: Given) -> bool:
    """Whether one is the `_FILE` form of the other."""
    first, second = one.where.upper(), other.where.upper()
    return first == second + FILE or second == first + FILE


def _unknown(spelled: str, where: str, nearest: str | None) -> Problem:
    remedy = f"Did you mean {nearest}?" if nearest else "Remove it; the settings reference lists all there are."
    return Problem(spelled, where, "is no setting", remedy)


def _reason(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "not UTF-8 text"
