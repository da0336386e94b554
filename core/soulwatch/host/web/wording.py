"""What the page says of times, connections and events, in plain words: who can help, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor
from typing import Any, Literal

Tone = Literal["good", "waiting", "help", "off"]

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S
LONGEST_TEXT = 300


@dataclass(frozen=True, slots=True)
class State:
    """How a connection is: a word, what it means, and whether connecting it again would help."""

    tone: Tone
    word: str
    meaning: str = ""
    is_mended_by_connecting: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One event as one line; a quiet one says that nothing was new."""

    kind: str
    text: str
    tone: Tone = "good"
    is_quiet: bool = False


CONNECTED = State("good", "Connected")
DISCONNECTED = State(
    "off", "Disconnected", "Its tokens are gone and nothing is read any more. Items already stored stay."
)

# By reason. {title} is the platform's; page.js never sees these, it fetches the page again.
WAITING: Mapping[str, State] = {
    "reauth_soon": State("waiting", "Ends soon", "The consent runs out. Connect again before it does.", True),
    "rate_limited": State("waiting", "Waiting", "{title} asked for a pause. Nothing to do: it goes on by itself."),
    "unavailable": State(
        "waiting", "Not reached", "{title} does not answer properly. Nothing to do: it is tried again by itself."
    ),
    "paused": State("waiting", "Paused", "Reading is paused by the operator."),
    "scope_missing": State(
        "help", "Not all allowed", "A permission is missing. Connect again and allow everything it asks for.", True
    ),
    "misconfigured": State("help", "Operator needed", "This is not the user's to mend. See `soulwatch doctor`."),
}
ENDED = "{title} no longer honours this connection. Its user has to connect again; then all goes on."
LOST = "A new token got lost between {title} and this host. Its user has to connect again; then all goes on."


def state_of(connection: Mapping[str, Any]) -> State:
    """How a connection, in the shape of the HTTP API, is."""
    reason, title = connection["reason"], connection["title"]
    if connection["status"] == "disconnected":
        return DISCONNECTED
    if connection["status"] == "needs_reauth":
        # The message, where there is one, knows more: what the plugin says about connecting again.
        meaning = LOST if reason == "ambiguous_rotation" else connection["message"] or ENDED
        return State("help", "Connect again", meaning.replace("{title}", title), True)
    if not reason:
        return _state_of_polls(connection["polls"])
    found = WAITING.get(reason) or State("waiting", word_of(reason))
    return State(found.tone, found.word, found.meaning.replace("{title}", title), found.is_mended_by_connecting)


def _state_of_polls(polls: Sequence[Mapping[str, Any]]) -> State:
    reasons = [poll["reason"] for poll in polls if poll["reason"]]
    if not reasons:
        return CONNECTED
    is_all = len(reasons) == len(polls) and len(set(reasons)) == 1
    return State("waiting", word_of(reasons[0]) if is_all else "Partly read")


def word_of(reason: str) -> str:
    """A reason in a word or two."""
    return WAITING[reason].word if reason in WAITING else reason.replace("_", " ").capitalize()


def line_of(event: Mapping[str, Any]) -> Line:
    """An event, in the shape of the HTTP API, as one line."""
    said = _short(event.get("message"))
    data_type = str(event.get("dataType") or "")
    match event["type"]:
        case "new_data":
            return Line("new data", said or f"{event.get('count', '?')} new in {data_type}")
        case "platform_sync":
            return Line("sync", said or data_type, is_quiet=event.get("count") == 0)
        case "token_refresh":
            return Line("token", said or "Token refreshed")
        case "extraction_progress":
            total = event.get("total")
            until = f" of {total:,}" if isinstance(total, int) else ""
            done = event.get("done")
            return Line("reading", f"{data_type}: {done:,}{until} read" if isinstance(done, int) else data_type)
        case "connection_status":
            return Line("status", _about(said, data_type, event.get("reason")), _tone(event))
        case other:
            return Line(_short(other), said or _fields(event))


def _about(said: str, data_type: str, reason: Any) -> str:
    text = said or str(reason or "").replace("_", " ") or "changed"
    return f"{data_type}: {text}" if data_type and data_type not in text else text


def _tone(event: Mapping[str, Any]) -> Tone:
    if event.get("status") == "disconnected":
        return "off"
    if event.get("status") == "needs_reauth":
        return "help"
    reason = str(event.get("reason") or "")
    return WAITING[reason].tone if reason in WAITING else "waiting" if reason else "good"


def _fields(event: Mapping[str, Any]) -> str:
    """What an application told of its own, without what every event has."""
    told = {"seq", "type", "at", "user", "platform", "connection"}
    return _short(
        ", ".join(f"{name}: {value}" for name, value in event.items() if name not in told and value is not None)
    )


def _short(said: Any) -> str:
    text = " ".join(str(said or "").split())
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def distance(moment: datetime, now: datetime) -> str:
    """How far a time is from now: "3 min ago", "in 4 min 10 s". The script says it in the same words (clock.js)."""
    # Halves go up, as they do for a script: `round` takes them to the even neighbour.
    seconds = floor((moment - now).total_seconds() + 0.5)
    if seconds > 0:
        return f"in {_span(seconds, is_exact=True)}"
    return f"{_span(-seconds)} ago" if seconds < -1 else "just now"


def _span(seconds: int, *, is_exact: bool = False) -> str:
    if seconds < MINUTE_S:
        return f"{seconds} s"
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S} min" + (f" {seconds % MINUTE_S} s" if is_exact and seconds % MINUTE_S else "")
    if seconds < 2 * DAY_S:
        minutes = seconds % HOUR_S // MINUTE_S
        return f"{seconds // HOUR_S} h" + (f" {minutes} min" if is_exact and minutes else "")
    return f"{seconds // DAY_S} days"
