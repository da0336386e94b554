import pytest
from hypothesis import given
from hypothesis import strategies as st

from soulwatch.host.redaction import GONE, LONGEST, is_secret, redactor, visible

redact = redactor()

SECRET = "AQDx0k3-hT9_zzPq"


@pytest.mark.fault("F27")
@pytest.mark.parametrize(
    ("said", "left"),
    [
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer [redacted]"),
        ("authorization: Basic abcdef", "authorization: Basic [redacted]"),
        (f"{{'access_token': '{SECRET}', 'n': 1}}", "{'access_token': '[redacted]', 'n': 1}"),
        (f'{{"refresh_token":"{SECRET}"}}', '{"refresh_token":"[redacted]"}'),
        (f'"{{\\"client_secret\\": \\"{SECRET}\\"}}"', '"{\\"client_secret\\": \\"[redacted]"}"'),
        (f"grant_type=authorization_code&code={SECRET}&x=1", "grant_type=authorization_code&code=[redacted]&x=1"),
        ("code=abcdefghijkl", "code=[redacted]"),
        (f"code_verifier={SECRET}", "code_verifier=[redacted]"),
        (f"client_secret={SECRET}", "client_secret=[redacted]"),
        ("the key sw_pDVGNdEjQyoRw1mkd4T4Ys opens", "the key sw_[redacted] opens"),
        ("sign in with K7QF-M2XN-9TRW now", "sign in with [redacted] now"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", GONE),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSM", GONE),
        ("ENCRYPTION_KEY geUWrxwWgoBgHp1g++Lv8gkUgWeGxJnjZQJCXlHk3L0=", f"ENCRYPTION_KEY {GONE}"),
        ("key " + "0f" * 32, f"key {GONE}"),
        ("BQDj4Fz" + "a1B" * 20, GONE),
        ("GET https://a.example/cb?code=1&state=2 gave 302", "GET https://a.example/cb?[redacted] gave 302"),
        ("at http://127.0.0.1:3001/sign-in#K7QF-M2XN-9TRW", "at http://127.0.0.1:3001/sign-in?[redacted]"),
        ("GET /connect/spotify/callback?code=a&state=b 303", "GET /connect/spotify/callback?[redacted] 303"),
        ("postgresql://soulwatch:hunter2@db/soulwatch", "postgresql://[redacted]@db/soulwatch"),
        ("Cookie: soulwatch-session-3001=abc", "Cookie: [redacted]"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(said, left):
    assert redact(said) == left


@pytest.mark.parametrize(
    "said",
    [
        "polled spotify recently_played: 3 new of 50 read",
        "token refreshed; the token is good for an hour",
        "Basic authentication is refused, bearer tokens are taken",
        "error code: invalid_grant",
        "{'error': 'invalid_client', 'code': 'temporarily_unavailable'}",
        "status code: 503, state: connected",
        "connection 0199f3c2-6a51-7c3e-9d0e-2f4b8a11c0de",
        "in /usr/lib/python3.11/site-packages/soulwatch_SomeLongName1/host/poller.py, line 12",
        "is /tmp/x there? yes",
        "https://api.spotify.com/v1/me/player/recently-played",
        "clients.spotify.secret (environment SPOTIFY_CLIENT_SECRET): is missing",
        "a SHA-1 such as da39a3ee5e6b4b0d3255bfef95601890afd80709",
    ],
)
def test_what_people_want_to_read_is_left_as_it_is(said):
    assert redact(said) == said


@pytest.mark.fault("F27")
def test_secrets_that_are_known_are_taken_out_wherever_they_stand():
    assert redactor(["correct horse", "correct horse battery"])("xcorrect horse batteryx") == f"x{GONE}x"


def test_a_known_secret_that_is_a_short_word_takes_nothing_apart():
    assert redactor(["a", ""])("a cat") == "a cat"


@given(st.text(alphabet=st.sampled_from("Bearer tokn=:/?#&\"'[]{}_-sw0A1.cdahtps\\ \n"), max_size=80))
def test_taking_out_twice_takes_out_no_more(said):
    assert redact(redact(said)) == redact(said)


@pytest.mark.parametrize("piece", ["a-", "a://", "Bearer ", "code=", "/a?", "token: ", "eyJa."])
def test_a_text_without_end_is_cut_and_takes_no_time(piece):
    assert len(redact(piece * 500_000)) <= 2 * LONGEST


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("a\nb", "a\\nb"),
        ("a\r\n2026-01-01 info forged", "a\\r\\n2026-01-01 info forged"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("\udcff", "\\udcff"),
        ("naïve 日本 👩‍🚀", "naïve 日本 👩‍🚀"),
    ],
)
def test_control_characters_are_spelled_out(said, left):
    assert visible(said) == left


@given(st.text(st.characters()))
def test_a_visible_text_is_one_line_and_can_be_written(said):
    seen = visible(said)
    assert len(seen.splitlines()) <= 1
    assert seen.encode().decode() == seen


@pytest.mark.parametrize("name", ["access_token", "client_secret", "X-CSRF-Token", "authorization", "ENCRYPTION_KEY"])
def test_a_field_of_this_name_is_a_secret(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["user", "platform", "connection", "data_type", "expires_at", "key", "status"])
def test_a_field_of_this_name_is_none(name):
    assert not is_secret(name)
