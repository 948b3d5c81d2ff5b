"""The generated pages on database and commands say what the program is."""

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
STALE = """
from reference_pages import pages
print(*(path for path, text in pages().items() if path.read_text("utf-8") != text))
"""


def test_the_pages_are_current():
    """In a process of its own: click keeps the help option of a command as first called."""
    done = subprocess.run(
        [sys.executable, "-c", STALE], cwd=DOCS, capture_output=True, text=True, check=True
    )
    assert not done.stdout.strip(), "run `make docs`"
