"""Hypothesis as these tests use it: the same examples each time, and no race against the machine's clock."""

from hypothesis import settings

repeatable = settings(deadline=None, derandomize=True)
