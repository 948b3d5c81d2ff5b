"""Fuzz one target with atheris: `python -m tests.fuzz TARGET [CORPUS...] [-libFuzzer=option...]`.

With `any` for the target the first byte of each input chooses it. New inputs go to the first
corpus folder. Coverage is that of Python code: our own, Pillow's, PyYAML's and pydantic's.
"""

import sys

import atheris

with atheris.instrument_imports(include=["daemon", "PIL", "yaml", "csv", "json"]):
    # Pillow loads its formats when they are first needed: now, so that they are instrumented.
    from PIL import Image

    from daemon.quiet import hush_pillow
    from tests.fuzz.targets import TARGETS

    Image.init()
    hush_pillow()


def _any(data: bytes) -> None:
    if data:
        list(TARGETS.values())[data[0] % len(TARGETS)](data[1:])


def main() -> None:
    """Run until the limit that the options set; ends with a code other than 0 at a finding."""
    name = sys.argv[1]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], _any if name == "any" else TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
