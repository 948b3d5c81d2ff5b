"""What libraries say that no user can act on: TensorFlow's greetings, Pillow's remarks."""

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.doctor import Verdict, check_processor
from daemon.errors import RuntimeLoadError


def import_keras(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Import Keras and TensorFlow; what they print while loading is shown only if they fail.

    TensorFlow's own settings do not silence what it prints before it has read them. Raises
    `RuntimeLoadError` on a processor on which it would end the process.
    """
    _require_avx(cpuinfo)
    with held_back():
        import keras  # noqa: F401
        import tensorflow

        tensorflow.config.list_physical_devices()
    # It would warn of graphs that are traced anew, as they are for each model that is tried.
    tensorflow.get_logger().setLevel("ERROR")


def hush_pillow() -> None:
    """Let Pillow not warn of blemishes that it can read past; for processes that decode.

    Set once for the process: changing the filters around each image is not safe with threads.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _require_avx(cpuinfo: Path) -> None:
    try:
        found = check_processor(cpuinfo.read_text("utf-8", "replace"))
    except OSError:
        return
    if found.verdict is Verdict.FAIL:
        raise RuntimeLoadError(f"this processor {found.says}; {found.remedy}")


@contextmanager
def held_back() -> Iterator[None]:
    """Hold back what native code writes to file descriptor 2, and print it after an error."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
