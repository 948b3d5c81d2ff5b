"""Importing TensorFlow without its greetings on standard error."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def import_keras() -> None:
    """Import Keras and TensorFlow; what they print while loading is shown only if they fail.

    TensorFlow's own settings do not silence what it prints before it has read them.
    """
    with _held_back():
        import keras  # noqa: F401
        import tensorflow

        tensorflow.config.list_physical_devices()


@contextmanager
def _held_back() -> Iterator[None]:
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
