"""The people who live in the sandbox: all invented, the first three with faces, the rest by number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account on every pose; `number` is the id where a platform counts its people."""

    id: str
    name: str
    login: str
    number: int
    about: str


FIRST = (
    Person("mira", "Mira Vantongeren", "mira-vt", 9000001, "keeps bees on a roof and writes about it"),
    Person("oskar", "Oskar Pellwood", "pellwood", 9000002, "mends clocks that nobody asked him to mend"),
    Person("juno", "Juno Castellary", "junocast", 9000003, "sails a borrowed boat, badly and with joy"),
)


def invent_people(count: int) -> dict[str, Person]:
    """`count` people by id."""
    more = (
        Person(f"person{n:04d}", f"Person Number {n}", f"person-{n:04d}", 9000000 + n, "one of many")
        for n in range(len(FIRST) + 1, count + 1)
    )
    return {person.id: person for person in (*FIRST[:count], *more)}
