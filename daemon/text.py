"""Paths and other strangers' text, made fit to be stored and shown."""

import json
from typing import Any


def display_path(path: bytes) -> str:
    """Return a path as text for people; bytes that are no UTF-8 become `\\xNN`."""
    return path.decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Return a text that can neither end a line nor move a terminal's cursor: other characters
    are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_text(value: Any, indent: int | None = None) -> str:
    """Write plain data as JSON that is readable, and safe for a terminal: characters that cannot
    be printed are escaped, which JSON allows for any."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def one_line(value: Any) -> str:
    """Write plain data as YAML on one line, as configuration has it."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return str(text).split("\n")[0]


def first_line(error: Exception) -> str:
    """Return what an exception says in its first line, else its kind."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
