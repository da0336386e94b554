"""docs/reference/safeguards.md is what tests/support/ablations.py says: run as a program, that writes it."""

from support.ablations import PAGE, SAFEGUARDS, page


def test_the_page_names_each_safeguard_and_the_test_that_misses_it():
    assert PAGE.read_text() == page()
    assert len({one.name for one in SAFEGUARDS}) == len(SAFEGUARDS)
