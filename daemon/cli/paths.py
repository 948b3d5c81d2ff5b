"""Paths as people give them, and as the database has them."""

import os


def absolute(path: str) -> bytes:
    """Return the absolute path as the bytes that identify it; links are not followed."""
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100  (`Path.resolve` follows links)


def display(path: bytes) -> str:
    """Return a path as the database shows it; bytes that are no UTF-8 become `\\xNN`."""
    return path.decode("utf-8", "backslashreplace")
