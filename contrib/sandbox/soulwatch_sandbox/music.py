"""Invented artists and tracks in the shape in which Spotify tells of them."""

from __future__ import annotations

from typing import Any

from soulwatch_sandbox.chance import number, pick, word
from soulwatch_sandbox.people import Person
from soulwatch_sandbox.timeline import iso

ADJECTIVES = ("Velvet", "Paper", "Distant", "Copper", "Sleepless", "Second", "Borrowed", "Northern")
NOUNS = ("Lanterns", "Ferry", "Orchard", "Static", "Weathervane", "Harbour", "Almanac", "Thimble")
CATALOGUE = 40
"""So many different tracks a person listens to, again and again."""
OPEN = "https://open.spotify.com"
API = "https://api.spotify.com/v1"


def account(person: Person) -> dict[str, Any]:
    """The answer of `/v1/me` for an app in development mode."""
    name = f"sandbox_{person.id}"
    return {
        "account_id": word(10, "account", person.id),
        "display_name": person.name,
        "external_urls": {"spotify": f"{OPEN}/user/{name}"},
        "href": f"{API}/users/{name}",
        "id": name,
        "images": [_image(64, "face", person.id)],
        "type": "user",
        "uri": f"spotify:user:{name}",
    }


def play(seed: str, person: Person, ms: int) -> dict[str, Any]:
    """A track that somebody heard to the end at a moment."""
    track = heard(seed, person, ms)
    from_album = number(seed, "context", person.id, ms) % 3 != 0
    return {"track": track, "played_at": iso(ms), "context": _context(track) if from_album else None}


def playing(seed: str, person: Person, since_ms: int, next_ms: int, now_ms: int) -> dict[str, Any] | None:
    """What plays since a moment, until it is heard at the next one; None while nothing plays."""
    state = number(seed, "playing", person.id, since_ms) % 6
    if state == 0:
        return None
    track = None if state == 1 else heard(seed, person, next_ms)
    return {
        "timestamp": since_ms,
        "context": None if track is None else _context(track),
        "progress_ms": max(0, now_ms - since_ms),
        "item": track,
        "currently_playing_type": "ad" if track is None else "track",
        "actions": {"disallows": {"resuming": True}},
        "is_playing": True,
    }


def heard(seed: str, person: Person, ms: int) -> dict[str, Any]:
    """The track that belongs to a moment."""
    return _track(seed, number(seed, "heard", person.id, ms) % CATALOGUE)


def _track(seed: str, place: int) -> dict[str, Any]:
    about = (seed, "track", place)
    album = _album(seed, place // 4)
    return {
        "album": album,
        "artists": album["artists"],
        "disc_number": 1,
        "duration_ms": 90_000 + number(*about, "duration") % 240_000,
        "explicit": False,
        "external_ids": {"isrc": f"ZZSBX{number(*about, 'isrc') % 10_000_000:07d}"},
        **_named("track", f"{pick(ADJECTIVES, *about)} {pick(NOUNS, *about)} No. {place}", *about),
        "is_local": False,
        "preview_url": None,
        "track_number": place % 4 + 1,
    }


def _album(seed: str, place: int) -> dict[str, Any]:
    about = (seed, "album", place)
    artist = f"The {pick(ADJECTIVES, *about, 'artist')} {pick(NOUNS, *about, 'artist')}"
    return {
        "album_type": "album",
        "total_tracks": 4,
        "available_markets": [],
        "images": [_image(size, *about) for size in (640, 300, 64)],
        **_named("album", f"{pick(NOUNS, *about)} {place}", *about),
        "release_date": f"{1990 + place % 35}-03-01",
        "release_date_precision": "day",
        "artists": [_named("artist", artist, *about, "artist")],
    }


def _named(kind: str, name: str, *about: object) -> dict[str, Any]:
    ident = word(22, kind, *about)
    return {
        "external_urls": {"spotify": f"{OPEN}/{kind}/{ident}"},
        "href": f"{API}/{kind}s/{ident}",
        "id": ident,
        "name": name,
        "type": kind,
        "uri": f"spotify:{kind}:{ident}",
    }


def _image(size: int, *about: object) -> dict[str, Any]:
    return {"height": size, "url": f"https://images.invalid/{word(20, size, *about)}", "width": size}


def _context(track: dict[str, Any]) -> dict[str, Any]:
    album = track["album"]
    return {name: album[name] for name in ("type", "external_urls", "href", "uri")}
