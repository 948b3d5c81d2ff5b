"""The code of a documentation page as the files that its reader would have."""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def write_files(page: str, folder: Path) -> None:
    """Write each Python block of a page to the file that its first line names (`# tiny.py`)."""
    text = (DOCS / page).read_text()
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        path = folder / block.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)


@contextlib.contextmanager
def typed(page: str, folder: Path) -> Iterator[Path]:
    """Work in a folder with the page's files; on leaving, forget what was imported from it."""
    write_files(page, folder)
    sys.path.insert(0, str(folder))
    try:
        with contextlib.chdir(folder):
            yield folder
    finally:
        sys.path.remove(str(folder))
        for name, module in tuple(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
