"""What the sandbox's own people write down, feel, follow and keep: content of the pose "sandbox"."""

from __future__ import annotations

from typing import Any

from soulwatch_sandbox.chance import number, pick
from soulwatch_sandbox.people import Person
from soulwatch_sandbox.timeline import iso

PLACES = ("the roof", "platform nine", "a borrowed boat", "the kitchen table", "under the lime tree", "tram 14")
THINGS = ("a letter", "the old clock", "honey", "a blue bicycle", "rain", "the neighbour's cat", "a map", "bread")
DEEDS = (
    "spent far too long on",
    "finally understood",
    "nearly lost",
    "gave away",
    "was talked into",
    "mended",
    "dreamt about",
    "could not stop laughing at",
)
AFTERTHOUGHTS = (
    "It will not change the world, but it changed the afternoon.",
    "Next time I shall bring a longer rope and a shorter list of excuses.",
    "Somebody ought to write this down properly; until then, here it is.",
    "The light was good and nobody was in a hurry, which is rarer than it sounds.",
    "I keep thinking that there was a sixth one, but we only ever counted five.",
    "If you read this, future me: the key is where it always is.",
)
MOODS = ("curious", "calm", "restless", "grateful", "tired", "merry")
TAGS = ("weather", "small-wins", "people", "repair", "food", "travel", "unfinished")
FIRST_NAMES = ("Ansel", "Berit", "Corin", "Dilys", "Elif", "Fenn", "Greta", "Hale", "Ines", "Jory")
LAST_NAMES = ("Quillfeather", "Marrowby", "Tidewell", "Ashgrove", "Pennyworth-Lund", "Okanga")

FOLLOWS_AT_ONCE = 25
CIRCLE = 60
ARCHIVE_RECORD_BYTES = 1000


def note(seed: str, person: Person, ms: int) -> dict[str, Any]:
    """A journal item of about half a kilobyte."""
    about = (seed, "note", person.id, ms)
    thing = pick(THINGS, *about, "thing")
    thoughts = [pick(AFTERTHOUGHTS, *about, "thought", n) for n in range(1 + number(*about, "length") % 4)]
    return {
        "id": f"note-{ms}",
        "written_at": iso(ms),
        "written_ms": ms,
        "title": f"About {thing}",
        "text": " ".join([f"Today I {pick(DEEDS, *about, 'deed')} {thing}.", *thoughts]),
        "place": pick(PLACES, *about, "place"),
        "mood": pick(MOODS, *about, "mood"),
        "tags": sorted({pick(TAGS, *about, "tag", n) for n in range(3)}),
        "author": {"id": person.id, "name": person.name},
        "words_read_aloud": number(*about, "aloud") % 5 == 0,
    }


def mood(seed: str, person: Person, since_ms: int) -> dict[str, Any] | None:
    """How somebody feels since a moment; None when they would rather not say."""
    about = (seed, "mood", person.id, since_ms)
    if number(*about, "silent") % 4 == 0:
        return None
    return {"mood": pick(MOODS, *about), "energy": number(*about, "energy") % 5 + 1, "since": iso(since_ms)}


def follows(seed: str, person: Person, turn: int) -> list[dict[str, Any]]:
    """Whom somebody follows: at each turn one is dropped and another is found."""
    return [_followed(seed, person, (turn + place) % CIRCLE) for place in range(FOLLOWS_AT_ONCE)]


def _followed(seed: str, person: Person, place: int) -> dict[str, Any]:
    about = (seed, "follow", person.id, place)
    first, last = pick(FIRST_NAMES, *about, "first"), pick(LAST_NAMES, *about, "last")
    return {
        "id": f"{first}-{last}-{place:02d}".lower(),
        "name": f"{first} {last}",
        "bio": f"Mostly {pick(TAGS, *about, 'bio')}, from {pick(PLACES, *about, 'home')}.",
        "followed_since": iso(1_600_000_000_000 + number(*about, "since") % 100_000_000_000),
    }


def archive_record(seed: str, person: Person, place: int) -> dict[str, Any]:
    """Record number `place` of a person's archive, about one kilobyte, the same for ever."""
    about = (seed, "archive", person.id, place)
    ms = 1_500_000_000_000 + place * 3_600_000
    record = {
        "id": f"record-{place:07d}",
        "kept_at": iso(ms),
        "owner": person.id,
        "title": f"{pick(THINGS, *about, 'title')}, sheet {place}",
        "place": pick(PLACES, *about, "place"),
        "mark": number(*about),
        "text": "",
    }
    words: list[str] = []
    while sum(map(len, words)) < ARCHIVE_RECORD_BYTES - 230:
        words.append(pick(AFTERTHOUGHTS, *about, len(words)))
    return {**record, "text": " ".join(words)[: ARCHIVE_RECORD_BYTES - 230]}
