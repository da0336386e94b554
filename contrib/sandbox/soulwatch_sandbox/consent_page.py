"""The consent page: plain HTML that every reader and every keyboard can use, without a script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from soulwatch_sandbox.people import Person
from soulwatch_sandbox.rules import Pose

STYLE = """
:root { color-scheme: light dark; font: 1.05rem/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 34rem; padding: 2rem 1rem; }
fieldset { border: 1px solid; border-radius: .5rem; margin: 1.25rem 0; padding: .5rem 1rem; }
label { display: block; padding: .4rem 0; }
small { display: block; margin-left: 1.8rem; }
button { font: inherit; margin-right: .75rem; padding: .6rem 1.6rem; }
"""
STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

TITLES = {
    "sandbox": "the sandbox",
    "spotify": "the sandbox, posing as Spotify",
    "github": "the sandbox, posing as GitHub",
}


def consent_page(pose: Pose, client_id: str, people: Sequence[Person], scope: Sequence[str]) -> str:
    """The question."""
    title = f"Allow {escape(client_id)}?"
    return _page(
        title,
        f"""<h1>{title}</h1>
<p>This is {TITLES[pose]}. Everybody here is invented: no real account is involved, and nothing leaves this
computer.</p>
<form method="post">
<fieldset><legend>Continue as</legend>
{"".join(_choice(person, is_first=place == 0) for place, person in enumerate(people))}</fieldset>
{_scopes(pose, scope)}<p><button name="answer" value="allow">Allow</button>
<button name="answer" value="deny">Deny</button></p>
</form>""",
    )


def error_page(message: str) -> str:
    """What went wrong, for the person in front of it."""
    return _page("This cannot go on", f"<h1>This cannot go on</h1>\n<p>{escape(message)}</p>")


def _choice(person: Person, *, is_first: bool) -> str:
    checked = " checked" if is_first else ""
    return (
        f'<label><input type="radio" name="person" value="{escape(person.id)}"{checked}> {escape(person.name)}'
        f"<small>{escape(person.about)}</small></label>\n"
    )


def _scopes(pose: Pose, scope: Sequence[str]) -> str:
    if not scope:
        return ""
    if pose != "sandbox":
        rows = "".join(f"<li>{escape(one)}</li>\n" for one in scope)
        return f"<p>It asks for:</p>\n<ul>\n{rows}</ul>\n"
    rows = "".join(
        f'<label><input type="checkbox" name="scope" value="{escape(one)}" checked> {escape(one)}</label>\n'
        for one in scope
    )
    return f"<fieldset><legend>It may read</legend>\n{rows}</fieldset>\n"


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
