"""Those who look for secrets are looked at: one that sees nothing would find every place clean."""

import base64
from urllib.parse import quote

import pytest
from support.canaries import Canaries

SECRET = "a/Secret+of=16~letters"
SPELLED = {
    "as it is": str.encode,
    "in an address": lambda text: quote(text, safe="").encode(),
    "in hex": lambda text: text.encode().hex().encode(),
    "in capital hex": lambda text: text.encode().hex().upper().encode(),
    **{
        f"{name} after {number}": lambda text, number=number, encode=encode: encode(
            b"x" * number + text.encode() + b"y"
        )
        for number in range(4)
        for name, encode in (("in base64", base64.b64encode), ("in base64url", base64.urlsafe_b64encode))
    },
}


@pytest.fixture
def canaries():
    made = Canaries()
    made.add("secret", SECRET)
    return made


@pytest.mark.parametrize("spelled", SPELLED.values(), ids=SPELLED)
def test_a_secret_is_seen_however_it_is_spelled(canaries, spelled):
    (leak,) = {leak.partition(":")[0] for leak in canaries.found_in(b"before " + spelled(SECRET) + b" after")}
    assert leak == "secret"


def test_one_that_was_meant_to_be_there_is_none(canaries):
    assert list(canaries.found_in(SECRET.encode(), meant=("secret",))) == []


def test_files_are_looked_through_save_those_that_hold_secrets_by_their_name(canaries, tmp_path):
    for name in ("log", "key"):
        (tmp_path / "deep").mkdir(exist_ok=True)
        (tmp_path / "deep" / name).write_bytes(b"\0" + SECRET.encode())
    (leak,) = canaries.found_in_files(tmp_path, without=("key",))
    assert leak.startswith("log: secret")
