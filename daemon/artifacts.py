"""Bundles on disk: written atomically beside their place, then never modified."""

import contextlib
import fcntl
import hashlib
import logging
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.classifier import layer_modules
from daemon.durable import make_folder, publish
from daemon.errors import BundleError
from daemon.lock import locked_folder
from daemon.manifest import Manifest, StoredFile, parse_manifest

if TYPE_CHECKING:
    import keras

_log = logging.getLogger("classifyd.model")
MODEL_FILE = "model.keras"
MANIFEST_FILE = "manifest.json"


def write_bundle(model: "keras.Model", manifest: Manifest, folder: Path) -> Path:
    """Write `folder/NAME-DIGEST/` and return it; nothing is seen there before it is whole.

    Hashes, library versions and the modules of its layers are filled into the manifest.
    """

    def fill(part: Path) -> None:
        model.save(part / MODEL_FILE)
        facts = {
            "files": {MODEL_FILE: _describe(part / MODEL_FILE)},
            "modules": layer_modules(model),
            "versions": _versions(),
        }
        whole = manifest.model_copy(update=facts)
        (part / MANIFEST_FILE).write_text(whole.model_dump_json(indent=2) + "\n", "utf-8")

    return _publish(fill, folder)


def install_bundle(source: Path, folder: Path) -> Path:
    """Copy a bundle into `folder` after verifying it; the same one twice is one directory."""
    manifest = read_manifest(source)
    existing = folder / _directory_name(source, manifest)
    if existing.exists():
        read_manifest(existing)
        return existing

    def fill(part: Path) -> None:
        for name in (MANIFEST_FILE, *manifest.files):
            shutil.copyfile(source / name, part / name)
        read_manifest(part)

    return _publish(fill, folder)


def read_manifest(bundle: Path, verify: bool = True) -> Manifest:
    """Read a bundle's manifest and, with `verify`, hash every file it lists.

    Raises `BundleError` when anything is missing, altered, or not understood.
    """
    manifest = parse_manifest(_manifest_bytes(bundle), bundle)
    if MODEL_FILE not in manifest.files:
        raise BundleError(f"bundle {bundle}: manifest.json lists no {MODEL_FILE}; {_AGAIN}")
    if verify:
        for name, expected in manifest.files.items():
            _verify(bundle, name, expected)
    return manifest


def digest(bundle: Path) -> str:
    """SHA-256 (hex) of the manifest, which holds the hash of all else: a model's identity."""
    return hashlib.sha256(_manifest_bytes(bundle)).hexdigest()


@contextlib.contextmanager
def registering(folder: Path) -> Iterator[None]:
    """Keep others from looking for unregistered bundles, from writing one to registering it."""
    make_folder(folder)
    with locked_folder(folder, fcntl.LOCK_SH):
        yield


def adopt(
    folder: Path, names: Callable[[], Collection[str]], register: Callable[[Path], object]
) -> None:
    """Register each bundle that a killed process wrote and could not: all but those of `names`.

    Does nothing while somebody writes there. A damaged bundle is left where it is, and told.
    """
    if not folder.is_dir():
        return
    with contextlib.suppress(BlockingIOError), locked_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        known = names()
        for bundle in sorted(path.parent for path in folder.glob(f"[!.]*/{MANIFEST_FILE}")):
            if bundle.name not in known:
                try:
                    register(bundle)
                    _log.info("%s was written but not registered: it is a candidate", bundle)
                except BundleError as error:
                    _log.warning("%s belongs to no model version: %s", bundle, error)


_AGAIN = "import or train the model again"


def _publish(fill: Callable[[Path], None], folder: Path) -> Path:
    published: list[Path] = []

    def place(part: Path) -> None:
        target = folder / _directory_name(part, parse_manifest(_manifest_bytes(part), part))
        _place(part, target)
        published.append(target)

    publish(folder, fill, place)
    return published[0]


def _place(part: Path, target: Path) -> None:
    try:
        part.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        read_manifest(target)  # somebody else was quicker; the name says it is the same bundle


def _directory_name(bundle: Path, manifest: Manifest) -> str:
    return f"{manifest.name}-{digest(bundle)[:12]}"


def _manifest_bytes(bundle: Path) -> bytes:
    try:
        return (bundle / MANIFEST_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(
            f"bundle {bundle}: there is no {MANIFEST_FILE}, which lies beside {MODEL_FILE} in"
            f" every bundle; {_AGAIN}"
        ) from error


def _verify(bundle: Path, name: str, expected: StoredFile) -> None:
    try:
        found = _describe(bundle / name)
    except FileNotFoundError as error:
        raise BundleError(f"bundle {bundle}: {name} is missing; {_AGAIN}") from error
    if found != expected:
        raise BundleError(
            f"bundle {bundle}: {name} was altered (SHA-256 {found.sha256[:12]}… of {found.size}"
            f" bytes, the manifest says {expected.sha256[:12]}… of {expected.size}); {_AGAIN}"
        )


def _describe(path: Path) -> StoredFile:
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredFile(sha256=checksum, size=file.tell())


def _versions() -> dict[str, str]:
    import keras
    import tensorflow as tf

    return {"keras": keras.__version__, "tensorflow": tf.__version__}
