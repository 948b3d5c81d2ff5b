"""Libraries that may be missing: their version without importing them, and importing them."""

from importlib import import_module, metadata
from typing import Any

from daemon.errors import RuntimeLoadError


def version_of(package: str, runtime: str, install: str) -> str:
    """Return the version of an installed package; raises `RuntimeLoadError` with the remedy.

    Importing it for that would cost the daemon tens of megabytes.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise _missing(package, runtime, install, error) from error


def load(module: str, runtime: str, install: str) -> Any:
    """Import a module of such a package; raises `RuntimeLoadError` with the remedy."""
    try:
        return import_module(module)
    except ImportError as error:
        raise _missing(module, runtime, install, error) from error


def _missing(what: str, runtime: str, install: str, error: ImportError) -> RuntimeLoadError:
    return RuntimeLoadError(
        f"runtime {runtime}: {what} is not installed here ({error});"
        f" install it with `pip install '{install}'`, or set `runtime: keras`"
    )


def uncompiled(runtime: str, bundle: object) -> RuntimeLoadError:
    """Return the refusal to load a bundle that is not compiled yet."""
    return RuntimeLoadError(
        f"runtime {runtime}: {bundle} is not compiled for this machine;"
        " run `classifyd models compile`"
    )
