"""A plugin whose workers have a decoder with the faults of native code, by the width of a PNG.

Its runtime, `hostile`, puts the faulty decoder in place inside the worker process alone.
"""

import ctypes
from collections.abc import Iterable
from pathlib import Path

from daemon import worker
from daemon.contracts import Executable, Factory, Runtime
from daemon.hookspecs import hookimpl
from daemon.images.decode import decode
from daemon.testing import BrightnessOptions, BrightnessRuntime

SEGFAULT, ABORT, HANG, LEAK, EXIT = 99, 98, 97, 96, 95
LEAKED = 1_000_000

_leaked: list[bytearray] = []


def _decode(data, *rest):
    match int.from_bytes(data[16:20], "big"):
        case width if width == SEGFAULT:
            ctypes.string_at(0)
        case width if width == ABORT:
            ctypes.CDLL(None).abort()
        case width if width == HANG:
            ctypes.PyDLL(None).sleep(3600)  # with the interpreter's lock in its hand
        case width if width == LEAK:
            _leaked.append(bytearray(b"x") * LEAKED)
        case width if width == EXIT:
            ctypes.CDLL(None)._exit(3)
    return decode(data, *rest)


class Hostile(BrightnessRuntime):
    """`brightness` over a faulty decoder."""

    name = "hostile"

    def load(self, bundle: Path, max_batch: int) -> Executable:
        """Put the decoder in place."""
        worker.decode = _decode
        return super().load(bundle, max_batch)


@hookimpl
def register_runtimes() -> Iterable[Factory[Runtime]]:
    """Offer `hostile`."""
    yield Factory("hostile", Hostile, BrightnessOptions)
