"""What one setting may look like: each kind of value, checked and brought to one spelling.

No message repeats the value it is about: many of these are secrets, or hold one.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, timedelta, tzinfo
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, SecretStr

from soulwatch.host.cron import parse_schedule
from soulwatch.host.keys import parse_key
from soulwatch.host.settings_addresses import database_address, host_name, origin, web_address

CRON_SECRET_MIN_BYTES = 32
UNIT_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_T = TypeVar("_T")


def duration(value: Any) -> timedelta:
    """A length of time from `30s`, `5m`, `2h`, `1d`, `1h30m` or a number of seconds."""
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=_seconds(value))
    except (ValueError, TypeError, OverflowError):
        raise ValueError("is no length of time: write 30s, 5m, 2h, 1d or a number of seconds") from None


def _not_negative(length: timedelta) -> timedelta:
    if length < timedelta():
        raise ValueError("must not be less than 0")
    return length


def _more_than_nothing(length: timedelta) -> timedelta:
    if length <= timedelta():
        raise ValueError("must be more than 0")
    return length


def _seconds(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    if not isinstance(value, str):
        return float(value)
    text = re.sub(r"\s", "", value.lower())
    if re.fullmatch(rf"(?:{_AMOUNT.pattern})+", text):
        return sum(float(number) * UNIT_SECONDS[unit] for number, unit in _AMOUNT.findall(text))
    return float(text)


def duration_text(length: timedelta) -> str:
    """The shortest text that `duration` reads as this length: `5m`, `1h30m`, `0.5s`."""
    left, text = length.total_seconds(), ""
    for unit, seconds in UNIT_SECONDS.items():
        count = left if unit == "s" else left // seconds
        if count:
            text += f"{count:g}{unit}"
            left -= count * seconds
    return text or "0s"


def several(value: Any) -> Any:
    """A list: one by itself, separated by commas or blanks, or a JSON array where an entry holds such."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            pass  # an IPv6 address begins like an array
    return [entry for entry in re.split(r"[,\s]+", value) if entry]


def _key(secret: SecretStr) -> SecretStr:
    parse_key(secret.get_secret_value())
    return secret


def _all_different(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if len({parse_key(key.get_secret_value()) for key in keys}) != len(keys):
        raise ValueError("holds the same key twice: name each key once, newest first")
    return keys


def _cron_secret(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode(errors="replace")) < CRON_SECRET_MIN_BYTES:
        raise ValueError(
            f"is shorter than {CRON_SECRET_MIN_BYTES} characters, so it can be guessed: "
            "make one with `soulwatch keygen`"
        )
    return secret


def zone_of(name: str) -> tzinfo:
    """The time zone of this IANA name. UTC is known even where the machine has no zone files."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # a folder of zones answers with an OSError
        raise ValueError("is no time zone this machine knows: write UTC or an IANA name") from None


def _zone_name(name: str) -> str:
    zone_of(name)
    return name


def _schedule(value: Any) -> Any:
    """Keeps the operator's own text, once the cron room can read it."""
    if isinstance(value, timedelta | int | float) and not isinstance(value, bool):
        value = f"{duration(value).total_seconds():.9g}s"
    if isinstance(value, str) and value != "off":
        parse_schedule(value)
    return value


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):  # which Python takes for the number 0 or 1
        raise ValueError("is no whole number")  # noqa: TRY004  - pydantic reports this one
    return value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Listed = Annotated[tuple[_T, ...], BeforeValidator(several)]

WholeNumber = Annotated[int, BeforeValidator(_no_switch)]
Duration = Annotated[timedelta, BeforeValidator(duration), AfterValidator(_not_negative)]
Interval = Annotated[timedelta, BeforeValidator(duration), AfterValidator(_more_than_nothing)]
Schedule = Annotated[str, BeforeValidator(_schedule)]
ZoneName = Annotated[str, AfterValidator(_zone_name)]
Upper = BeforeValidator(_upper)

HostName = Annotated[str, AfterValidator(host_name)]
WebAddress = Annotated[str, AfterValidator(web_address)]
Origin = Annotated[str, AfterValidator(origin)]
DatabaseAddress = Annotated[str, AfterValidator(database_address)]

EncryptionKeys = Annotated[Listed[Annotated[SecretStr, AfterValidator(_key)]], AfterValidator(_all_different)]
CronSecret = Annotated[SecretStr, AfterValidator(_cron_secret)]
