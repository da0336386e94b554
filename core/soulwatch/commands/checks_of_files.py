"""The files that secrets among the settings stand in: nobody but their owner may read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from soulwatch.commands.findings import Finding, warn
from soulwatch.host.settings_report import leaves_in

if TYPE_CHECKING:
    from soulwatch.host.settings import Settings


def examine_files(settings: Settings) -> Iterator[Finding]:
    """A finding for each file that others can read and that holds secrets."""
    if os.name != "posix":
        return
    holding: dict[Path, list[str]] = {}
    for name in _secret_names(settings):
        if name in settings.files:
            holding.setdefault(settings.files[name], []).append(name)
    for path, names in holding.items():
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0
        if mode & 0o077:
            what = f"others may read {path} (mode {mode:04o}), which holds {', '.join(names)}"
            yield warn("Settings file", what, f"chmod 600 {path}")


def _secret_names(settings: Settings) -> Iterator[str]:
    from pydantic import SecretStr  # noqa: PLC0415

    for name, value in leaves_in(settings):
        values = value if isinstance(value, tuple) else (value,)
        is_address = name == ("database_url",) and make_url(value).password is not None
        if is_address or any(isinstance(one, SecretStr) for one in values):
            yield ".".join(name)
