import io
import json
import logging
import os
import re
import subprocess
import sys

import httpx
import pytest
from support.commands import logging_as_it_was

from soulwatch.host.logs import configure

__all__ = ["logging_as_it_was"]

pytestmark = pytest.mark.usefixtures("logging_as_it_was")

logger = logging.getLogger("soulwatch.tests")


def fail(text):
    raise ValueError(text)


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def console():
    stream = io.StringIO()
    configure("INFO", "console", stream, secrets=["our very secret"])
    return stream


@pytest.fixture
def programs():
    stream = io.StringIO()
    configure("INFO", "json", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_tells_when_how_grave_what_and_where(console):
    logger.info("polled %s: %d new", "notes", 3)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info     polled notes: 3 new \[soulwatch.tests\]\n", console.getvalue()
    )


def test_what_it_is_about_stands_behind_as_key_and_value(console):
    extra = {"platform": "spotify", "connection": "c1", "user": "ada lovelace", "data_type": None}
    logger.info("polled", extra=extra)
    assert console.getvalue().endswith("[soulwatch.tests] platform=spotify connection=c1 user='ada lovelace'\n")


def test_for_programs_each_line_is_an_object(programs):
    logger.warning("not polled: %s", "busy", extra={"platform": "spotify", "count": 3})
    (line,) = programs()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "soulwatch.tests",
        "message": "not polled: busy",
        "platform": "spotify",
        "count": 3,
    }


def test_a_field_cannot_take_the_place_of_the_message_level_or_time(programs):
    logger.info("really", extra={"event": "forged", "level": "critical", "logger": "other", "time": "1970"})
    (line,) = programs()
    assert (line["message"], line["level"], line["logger"]) == ("really", "info", "soulwatch.tests")
    assert line["time"] != "1970"


def test_the_time_is_utc_wherever_the_machine_is():
    code = (
        "import logging, sys, time; from soulwatch.host.logs import configure;"
        "configure('INFO', 'console', sys.stdout);"
        "print(time.strftime('%Y-%m-%dT%H:%M', time.gmtime())); logging.getLogger('x').info('now')"
    )
    said = subprocess.check_output([sys.executable, "-c", code], env={**os.environ, "TZ": "Asia/Tokyo"}, text=True)
    utc, line = said.splitlines()
    assert line.startswith(utc)


def test_messages_below_the_level_are_not_written(console):
    logger.debug("hardly of interest")
    assert console.getvalue() == ""


@pytest.mark.fault("F27")
@pytest.mark.parametrize("form", ["console", "json"])
def test_no_secret_is_in_message_field_or_traceback(form):
    stream = io.StringIO()
    configure("INFO", form, stream, secrets=["our very secret"])
    try:
        fail("refused: Bearer AQDx0k3-hT9 and our very secret")
    except ValueError:
        logger.exception(
            "at %s",
            "https://a.example/?code=canary",
            extra={"access_token": "canary", "answer": {"client_secret": "canary", "list": ["our very secret"]}},
        )
    written = stream.getvalue()
    assert "ValueError" in written
    for secret in ("canary", "AQDx0k3-hT9", "our very secret"):
        assert secret not in written


@pytest.mark.parametrize(
    "text", ["\n2026-01-01T00:00:00.000Z info     forged", "\r", "\x1b[2J", "\u2028forged", "\x85forged"]
)
def test_nothing_can_forge_a_line(console, text):
    try:
        fail(f"said {text}")
    except ValueError:
        logger.exception("failed%s", text, extra={"user": text, text: 1})
    lines = console.getvalue().removesuffix("\n").splitlines()
    assert lines[0].startswith("20")
    assert [line for line in lines[1:] if not line.startswith("    ")] == []
    assert "\x1b" not in console.getvalue()


@pytest.mark.fault("F27")
def test_a_traceback_shows_no_local_variables(console):
    canary = "a local canary"
    try:
        fail(str(len(canary)))
    except ValueError:
        logger.exception("failed")
    assert "a local canary" not in console.getvalue()


@pytest.mark.fault("F27")
@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
async def test_addresses_that_are_asked_are_not_logged_by_the_http_client(level):
    stream = io.StringIO()
    configure(level, "console", stream)
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as http:
        await http.get("https://a.example/?code=canary")
    assert stream.getvalue() == ""


def test_an_access_log_is_not_written(console):
    logging.getLogger("uvicorn.access").warning('127.0.0.1 - "GET /?code=canary HTTP/1.1" 200')
    assert console.getvalue() == ""


def test_at_error_those_who_are_quiet_are_not_louder():
    configure("ERROR", "console", io.StringIO())
    assert not logging.getLogger("httpx").isEnabledFor(logging.WARNING)


def test_colours_are_for_terminals(monkeypatch):
    for name, value in {"NO_COLOR": "", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    terminal, file = FakeTerminal(), io.StringIO()
    for stream in (terminal, file):
        configure("INFO", "console", stream)
        logger.warning("look")
    assert "\x1b[33m" in terminal.getvalue()
    assert "\x1b" not in file.getvalue()


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colours_gets_none(monkeypatch, variable):
    monkeypatch.setenv(*variable)
    terminal = FakeTerminal()
    configure("INFO", "console", terminal)
    logger.warning("look")
    assert "\x1b" not in terminal.getvalue()


def test_configuring_again_writes_no_line_twice():
    first, second = io.StringIO(), io.StringIO()
    configure("INFO", "console", first)
    configure("INFO", "console", second)
    logger.info("once")
    assert (first.getvalue(), second.getvalue().count("once")) == ("", 1)
