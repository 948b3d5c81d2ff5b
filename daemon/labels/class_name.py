"""What may be the name of a class: it is a folder's name and a cell of a table somewhere."""

import unicodedata

LONGEST = 200


def class_name(text: str) -> str:
    """Return a class's name in its one spelling: no spaces around it, composed accents (folders
    of some systems have them decomposed). Raises `ValueError` that says what is wrong."""
    name = unicodedata.normalize("NFC", text).strip()
    if not name:
        raise ValueError("the class is empty")
    if "/" in name or "\\" in name:
        raise ValueError(f"the class {name!r} has a path separator; write it without / and \\")
    if not name.isprintable():
        raise ValueError(f"the class {name!r} has control characters, or is no UTF-8 text")
    if name.startswith("."):
        raise ValueError(f"the class {name!r} begins with a dot, as hidden folders do")
    if len(name.encode()) > LONGEST:
        raise ValueError(f"the class {name[:20]!r}… is longer than {LONGEST} bytes")
    return name
