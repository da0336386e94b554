"""What the explanations say in numbers and tables, compared with the code."""

from __future__ import annotations

import inspect
import itertools
import re
import tomllib
from pathlib import Path

import httpx
import pytest

from soulwatch.host import access, forecast, host, outbound, refresher, settling, worker
from soulwatch.host.settling import reason_of
from soulwatch.host.store import attempts
from soulwatch.host.timing import COOL_DOWNS_S, PROMPT_RETRIES_S, RefreshPolicy
from soulwatch.oauth import refusal
from soulwatch.token_answer import Verdict, classify

DOCS = Path(__file__).parents[2] / "docs" / "explanation"
REFRESHING = (DOCS / "refreshing.md").read_text("utf-8")
WHO_MAY = (DOCS / "who-may.md").read_text("utf-8")
POLICY = RefreshPolicy()


def rows(heading: str) -> dict[str, str]:
    """The rows of the first table under a heading, by their first cell."""
    table = re.search(rf"(?ms)^## {heading}\n.*?\n(\| ---.*?)\n\n", REFRESHING)
    return {line.split(" | ")[0].strip("| "): line for line in table[1].splitlines()[1:]}


def test_the_states_of_the_journal_are_those_of_the_code():
    closed = re.findall(r"`(\w+)`", inspect.getdoc(attempts.close).partition("\n")[0])
    assert sorted(state.strip("`") for state in rows("The journal")) == sorted([*attempts.OPEN, *closed])


ANSWERS = {
    "success, with an access token": (200, b'{"access_token": "a"}', None),
    "`invalid_grant`": (400, b'{"error": "invalid_grant"}', Verdict.GRANT),
    "`invalid_client`, `unauthorized_client`; 401 without a code": (401, b"", "misconfigured"),
    "another error code; another 3xx or 4xx": (404, b"<html>", "misconfigured"),
    "429": (429, b"", "rate_limited"),
    "5xx, 408, 425; `temporarily_unavailable`, `server_error`, `slow_down`": (503, b"", "unavailable"),
    "success without a token that has to come: HTML, half a JSON, nothing": (200, b"<html>", "unavailable"),
    "none: DNS, refused, TLS": None,
    "none: time-out or reset after the first byte": None,
}


def test_each_row_of_answers_is_tried_here():
    assert list(rows("What an answer means")) == list(ANSWERS)


@pytest.mark.parametrize("said", [said for said, example in ANSWERS.items() if example])
def test_an_answer_means_what_the_table_says(said):
    status, body, expected = ANSWERS[said]
    judged = classify(status, body)
    if expected is None or isinstance(expected, Verdict):
        assert judged.verdict == (expected or Verdict.OK)
        return
    error = refusal(judged, httpx.Response(status, request=httpx.Request("POST", "https://example.com")))
    assert reason_of(error) == expected
    line = rows("What an answer means")[said]
    who = "the operator" if expected == "misconfigured" else "nobody needs to"
    assert f"| {who} |" in line
    if "misconfigured" not in expected:
        assert f"`{expected}`" in line


def test_the_numbers_of_refreshing_are_those_of_the_code():
    minutes = [round(seconds / 60) for seconds in COOL_DOWNS_S[1:]]
    said = (
        f"{COOL_DOWNS_S[0]} seconds, {', '.join(map(str, minutes[:-1]))} and then {minutes[-1]} minutes",
        f"{', '.join(map(str, PROMPT_RETRIES_S[:-1]))} and {PROMPT_RETRIES_S[-1]} seconds",
        f"later than {POLICY.send_within * POLICY.lease.total_seconds():g} seconds after the claim",
        f"Connecting may take {outbound.CONNECT_TIMEOUT_S:g} seconds",
        f"whole exchange {outbound.TOTAL_TIMEOUT_S:g}",
        f"{outbound.LARGEST_TOKEN_ANSWER // 1024} KiB",
        f"at least {POLICY.floor.total_seconds():g} seconds",
        f"every {worker.RECOVER_EVERY_S:g} seconds after",
        f"for {host.ATTEMPTS_ARE_KEPT.days} days",
        f"more than {settling.MASS} connections dead",
        "{}, {} and {} days before".format(*forecast.TOLD_BEFORE_DAYS),
    )
    in_one_line = " ".join(REFRESHING.split())
    for each in said:
        assert each in in_one_line
    # Those in words.
    assert (POLICY.margin.total_seconds(), POLICY.confirm_after.total_seconds(), POLICY.lease.total_seconds()) == (
        600,
        60,
        60,
    )
    assert (settling.MASS_SHARE, settling.FROM_SEVERAL, refresher.LET_FINISH_S) == (0.3, 3, 3.0)
    assert (settling.MASS_WINDOW.total_seconds(), settling.MASS_IS_HELD.days) == (600, 1)


def test_how_long_things_open_is_told_as_it_is():
    table = dict(re.findall(r"(?m)^\| ([\w' ]+) \| .+ \| (.+) \|$", WHO_MAY))
    code, idle = access.LOGIN_CODE_LASTS.total_seconds() / 60, access.SESSION_IDLES.total_seconds() / 3600
    session = f"session {idle:g} hours without use, {access.SESSION_LASTS.days} days at most"
    assert table["operator"] == f"code {code:g} minutes; {session}"
    assert table["your application's front end"].startswith(f"{access.TICKET_LASTS.total_seconds():g} seconds")


def test_the_floors_of_the_house_are_those_that_are_enforced():
    house = (DOCS / "the-house.md").read_text("utf-8")
    contracts = tomllib.loads((DOCS.parents[1] / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (layers,) = [one["layers"] for one in contracts["contracts"] if one.get("containers") == ["soulwatch.host"]]
    floor = {room: number for number, layer in enumerate(layers) for room in layer.split(" | ")}
    (drawing,) = re.findall(r"(?s)```text\n(  cli.*?)```", house)
    drawn = [[floor[room] for room in re.findall(r"host/(\w+)", line)] for line in drawing.splitlines()]
    drawn = [floors for floors in drawn if floors]
    assert len(drawn) > 5
    assert all(max(upper) < min(lower) for upper, lower in itertools.pairwise(drawn))
