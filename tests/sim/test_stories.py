"""Many seeds of a few stories: whatever happens in them, every token is there in the end.

Set SIM_SEEDS for more seeds of each story, SIM_FROM for the first of them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from sim.world import Story

FIRST = int(os.environ.get("SIM_FROM", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("SIM_SEEDS", "10")))
BAD = {"refused": 0.05, "request_lost": 0.05, "answer_cut": 0.05, "answer_hangs": 0.03, "slow": 0.05, "unwell": 0.05}
STORIES = {
    # What a platform that keeps its refresh token forgives: everything.
    "no rotation, everything goes wrong": Story(
        rotation="none", weather=BAD, kills=5, stops=2, longest_stop=90, outages=2, full_disks=2, jumps=2, reconnects=1
    ),
    "no rotation, and grants are called dead that are not": Story(rotation="none", weather={"lied": 0.3}, kills=2),
    # Ten seconds are enough for a lost answer and for a crash, where the process is started again at once.
    "ten seconds of grace, answers are lost and processes die": Story(
        grace=10,
        weather={"refused": 0.05, "request_lost": 0.05, "answer_cut": 0.1, "unwell": 0.05},
        kills=5,
    ),
    "ten seconds of grace, and answers hang": Story(grace=10, weather={"answer_hangs": 0.2}, callers=0),
    # A stopped process keeps its lease for 60 s, an outage lasts up to 30, and then it is tried again every minute:
    # one after the other they take long.
    "five minutes of grace, everything goes wrong": Story(
        grace=300, weather=BAD, kills=4, stops=2, longest_stop=50, outages=2, full_disks=2, reconnects=1
    ),
    # Of a strict platform a token is lost with an answer, and only so.
    "strict rotation, answers are lost and processes die": Story(
        rotation="strict", weather={"refused": 0.05, "request_lost": 0.02, "answer_cut": 0.02, "slow": 0.05}, kills=3
    ),
    # Only an answer that is on its way when its process dies or stands still may be lost.
    "strict rotation, processes die and stand still, disks are full": Story(
        rotation="strict", kills=6, stops=6, longest_stop=120, full_disks=2, chaos_s=300, reconnects=1
    ),
    "strict rotation, and no answer is lost": Story(
        rotation="strict", weather={"refused": 0.1, "slow": 0.3}, machines=3, callers=60
    ),
    "a wrong client secret": Story(users=20, machines=1, wrong_secret=True, callers=0),
}


def shown_by(name: str) -> Any:
    """The story as a parameter, marked with those rows of the fault table that really happen in it."""
    story = STORIES[name]
    happens = {
        "F01": story.machines > 1 and story.callers,
        "F02": story.stops,
        "F03": story.machines > 1 and (story.stops or story.weather.get("slow")),
        "F05": story.weather.get("answer_cut") or story.weather.get("answer_hangs"),
        "F06": story.kills,
        "F07": story.full_disks,
        "F12": story.weather.get("refused") or story.outages,
        "F17": story.wrong_secret,
        "F23": story.weather.get("lied"),
        "F31": story.jumps,
        "F41": story.full_disks,
        "F63": story.reconnects,
    }
    return pytest.param(name, marks=pytest.mark.fault(*(fault for fault, does in happens.items() if does)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [shown_by(name) for name in STORIES])
def test_whatever_happens_every_token_is_there_in_the_end(play, name, seed):
    play(STORIES[name], seed)


@pytest.mark.fault("F17")
def test_a_wrong_client_secret_costs_few_requests(play):
    simulation = play(STORIES["a wrong client secret"], 0)

    wrong = [sent for sent in simulation.sent if sent.at < simulation.story.chaos_s and sent.status == 401]
    assert 1 <= len(wrong) <= 10


def test_a_seed_plays_the_same_run_again(play):
    story = replace(STORIES["five minutes of grace, everything goes wrong"], chaos_s=60, quiet_s=130)

    first, second, other = play(story, 5), play(story, 5), play(story, 6)

    assert first.trace == second.trace
    assert first.trace != other.trace


def test_what_must_never_be_is_found(play, monkeypatch):
    """The checks themselves: a host that forgets what it was given is caught."""
    monkeypatch.setattr("soulwatch.host.timing.PROMPT_RETRIES_S", ())
    story = Story(grace=10, weather={"answer_cut": 0.3})

    with pytest.raises(AssertionError, match="needs_reauth"):
        play(story, 0)
