"""Times as people write and read them: `1d`, `2026-05-01`, local; the database has UTC text."""

import re
from datetime import UTC, datetime, timedelta

from daemon.errors import UsageError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, now: datetime) -> datetime:
    """Read `30m`, `12h`, `1d`, `2w` (before `now`), or an ISO date or time, local without zone.

    Raises `UsageError`.
    """
    if found := re.fullmatch(r"(\d+)\s*([smhdw])", text.strip()):
        try:
            return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
        except OverflowError:
            raise UsageError(f"{text!r} is too long ago") from None
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no time; write 30m, 12h, 1d or 2w for so long ago, or a date or time "
            "such as 2026-05-01 or 2026-05-01T18:30"
        ) from None


def utc_text(when: datetime) -> str:
    """Write a time as the database does: `2026-05-01T12:00:00.000Z`."""
    text = when.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def camera_text(when: datetime) -> str:
    """Write a time as cameras do, local and without zone: `2026-05-01T14:00:00`."""
    return when.astimezone().strftime("%Y-%m-%dT%H:%M:%S")


def local_text(utc: str) -> str:
    """Write a time of the database for people: local, to the second."""
    return datetime.fromisoformat(utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(utc: str, now: datetime) -> str:
    """Write how long ago a time of the database is: `3 min ago`."""
    seconds = int((now - datetime.fromisoformat(utc)).total_seconds())
    if seconds < 0:
        return "in the future"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"
