"""The generated pages on database and commands say what the program is."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_pages_are_current():
    spec = importlib.util.spec_from_file_location("reference_pages", DOCS / "reference_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stale = [str(p) for p, text in module.pages().items() if p.read_text("utf-8") != text]
    assert not stale, "run `make docs`"
