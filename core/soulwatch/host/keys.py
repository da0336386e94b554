"""What an encryption key looks like as text, and the file where a generated one is kept."""

from __future__ import annotations

import base64
import os
import re
import secrets
import stat
from pathlib import Path

from soulwatch.errors import SettingsError

KEY_BYTES = 32
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_FROM_URL_SAFE = str.maketrans("-_", "+/")
_REMEDY = "`soulwatch keygen` makes one."


def generate_key() -> str:
    """A new random 256-bit key, as base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse_key(text: str) -> bytes:
    """The 32 bytes that `text` spells in base64, base64url (padded or not) or hex.

    Raises ValueError, which says what is wrong and never what the text was.
    """
    key = _decoded(text.strip())
    if key is None:
        raise ValueError(f"The key is neither base64 nor hex; it has to spell {KEY_BYTES} bytes. {_REMEDY}")
    if len(key) != KEY_BYTES:
        raise ValueError(f"The key is {len(key)} bytes long, AES-256 needs {KEY_BYTES}. {_REMEDY}")
    return key


def read_or_make_key_file(path: Path) -> tuple[bytes, bool]:
    """The key kept in `path`, and whether it was made just now.

    A new file is readable by its owner alone, appears with its whole content or not at all, and is on the disk before
    this returns. Raises SettingsError when the file cannot be used, or others than its owner may read it.
    """
    try:
        try:
            return _read(path), False
        except FileNotFoundError:
            made = _make(path)
            return _read(path), made
    except OSError as error:
        raise SettingsError(
            f"The key file {path} cannot be used: {error.strerror}."
            " Mend the path or its permissions, or set ENCRYPTION_KEY instead."
        ) from None


def _decoded(text: str) -> bytes | None:
    if _HEX.fullmatch(text):  # first, since 64 hex digits are valid base64 too, of 48 bytes
        return bytes.fromhex(text)
    unpadded = text.translate(_FROM_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except ValueError:
        return None


def _read(path: Path) -> bytes:
    with path.open(encoding="utf-8", errors="replace") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise SettingsError(
                f"The key file {path} is open to others than its owner (mode {mode:04o})."
                f" Close it with: chmod 600 {path}; if others may have read it, make a new key."
            )
        text = file.read()
    try:
        return parse_key(text)
    except ValueError:
        raise SettingsError(
            f"The key file {path} does not hold one key of {KEY_BYTES} bytes as base64 or hex. Restore it from a"
            " backup; only if nothing was ever connected, delete it and a new one is made."
        ) from None


def _make(path: Path) -> bool:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(generate_key() + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces: of two hosts that start at once, the second reads the first's key.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _sync_folder(folder: Path) -> None:
    # A key that a power cut takes back has sealed tokens that nobody opens again.
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
