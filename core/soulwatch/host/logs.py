"""How the log of a run is written: for people or for programs, in UTC, with no secret in it and nothing forged."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

from soulwatch.host.redaction import GONE, is_secret, redactor, visible

QUIET = (
    "aiosqlite",
    "alembic",
    "asyncio",
    "httpcore",
    "httpx",
    "python_multipart",
    "schedule",
    "uvicorn.error",
    "websockets",
)
"""Loggers of others that write addresses, headers, frames or statements below WARNING."""

Fields = structlog.typing.EventDict
_WRITTEN_OTHERWISE = ("message", "asctime", "color_message", "_record", "_from_structlog")
"""Not the caller's fields: other handlers' formatters leave some of them on the record."""


class LogHandler(logging.StreamHandler[TextIO]):
    """The one handler that soulwatch adds, and takes away when it is configured again."""


def configure(level: str, form: str, stream: TextIO | None = None, *, secrets: Iterable[str] = ()) -> None:
    """Write every logger's messages of at least `level` to `stream` (standard error) as "console" or "json".

    `secrets` are texts that must not be in it, beside all that looks like a secret.
    """
    stream = stream or sys.stderr
    handler = LogHandler(stream)
    handler.setFormatter(_formatter(form, stream, redactor(secrets)))
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, LogHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # Its lines hold query strings, and with them codes and states.
    logging.getLogger("uvicorn.access").disabled = True


def _formatter(form: str, stream: TextIO, redact: Callable[[str], str]) -> logging.Formatter:
    is_console = form == "console"
    render = _for_people(has_colours=is_console and _shows_colours(stream)) if is_console else _for_programs()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_with_extra],
        processors=[_named, structlog.processors.format_exc_info, _Cleaned(redact), render],
    )


def _with_extra(logger: Any, method: str, fields: Fields) -> Fields:
    """The caller's fields too, none of which takes the place of the message."""
    return {**structlog.stdlib.ExtraAdder()(logger, method, {"_record": fields["_record"]}), **fields}


def _named(_logger: Any, _method: str, fields: Fields) -> Fields:
    """The fields every line has, the time as it was when the message was written."""
    record: logging.LogRecord = fields["_record"]
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    own = {"time": at, "level": record.levelname.lower(), "logger": record.name}
    more = {name: value for name, value in fields.items() if name not in own and name not in _WRITTEN_OTHERWISE}
    return own | more


class _Cleaned:
    """Takes secrets and control characters out of every field."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def __call__(self, _logger: Any, _method: str, fields: Fields) -> Fields:
        return {self._text(name): self._field(name, value) for name, value in fields.items()}

    def _field(self, name: str, value: Any) -> Any:
        if name in ("exception", "stack"):
            # Lines of a traceback stay lines, but none begins where a new message would.
            return "\n".join(f"    {self._text(line)}" for line in str(value).split("\n"))
        return self._value(name, value)

    def _value(self, name: str, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if is_secret(name):
            return GONE
        if isinstance(value, Mapping):
            return {self._text(str(key)): self._value(str(key), each) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value("", each) for each in value]
        return self._text(value.isoformat() if isinstance(value, datetime) else str(value))

    def _text(self, text: str) -> str:
        return visible(self._redact(text))


def _for_people(*, has_colours: bool) -> structlog.typing.Processor:
    dim, plain = ("\x1b[2m", "\x1b[0m") if has_colours else ("", "")
    colours = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"} if has_colours else {}

    def render(_logger: Any, _method: str, fields: Fields) -> str:
        at, level, name, event = (fields.pop(key) for key in ("time", "level", "logger", "event"))
        more = [fields.pop(key) for key in ("exception", "stack") if key in fields]
        pairs = " ".join(f"{key}={_quoted(value)}" for key, value in fields.items() if value is not None)
        begin = f"{dim}{at}{plain} {colours.get(level, '')}{level:8}{plain if level in colours else ''}"
        return "\n".join([f"{begin} {event} {dim}[{name}]{f' {pairs}' if pairs else ''}{plain}", *more])

    return render


def _quoted(value: Any) -> str:
    text = str(value)
    return repr(text) if not text or any(letter in text for letter in " \"'=") else text


def _for_programs() -> structlog.typing.Processor:
    to_json = structlog.processors.JSONRenderer(ensure_ascii=False)

    def render(logger: Any, method: str, fields: Fields) -> str | bytes:
        at, level, name, event = (fields.pop(key) for key in ("time", "level", "logger", "event"))
        return to_json(logger, method, {"time": at, "level": level, "logger": name, "message": event, **fields})

    return render


def _shows_colours(stream: TextIO) -> bool:
    # https://no-color.org: any value but the empty one.
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
