"""What is fuzzed: each target takes any bytes and may refuse them in no way but its own error."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from daemon.config import load
from daemon.contracts import DecodeLimits
from daemon.errors import BundleError, ConfigError, ImageError, UsageError
from daemon.images.decode import decode
from daemon.labels.reading import read_labels
from daemon.manifest import parse_manifest
from daemon.preprocessing import Fit, Geometry

Target = Callable[[bytes], None]
LIMITS = DecodeLimits(
    max_pixels=4_000_000,
    max_bytes=1 << 20,
    max_memory_mb=256,
    timeout_s=5.0,
    threads=1,
    formats=frozenset({"jpeg", "png", "webp", "avif", "gif", "bmp", "tiff"}),
)
_GEOMETRY = Geometry(16, 24, Fit.PAD)


def image(data: bytes) -> None:
    """Decode: facts within the limits, or an `ImageError` in one printable line."""
    out = np.zeros((_GEOMETRY.height, _GEOMETRY.width, 3), np.uint8)
    try:
        facts = decode(data, "0" * 64, _GEOMETRY, LIMITS, out)
    except ImageError as error:
        assert str(error).isprintable(), error
        return
    assert 0 < facts.width * facts.height <= LIMITS.max_pixels
    assert facts.format.lower() in LIMITS.formats
    assert len(facts.phash) == 16
    assert facts.taken_at is None or facts.taken_at.isprintable()


def _labels(ending: str) -> Target:
    def target(data: bytes) -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            file = Path(folder, f"labels{ending}")
            file.write_bytes(data)
            try:
                lines = read_labels(file)
            except UsageError:
                return
        for line in lines:
            assert line.label.isprintable() and "/" not in line.label
            assert line.candidates

    return target


def config(data: bytes) -> None:
    """Read a configuration: settings that can be shown again, or a `ConfigError`."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        file = Path(folder, "config.yaml")
        file.write_bytes(data)
        try:
            loaded = load(file, {})
        except ConfigError:
            return
    json.dumps(loaded.settings.model_dump(mode="json"))


def manifest(data: bytes) -> None:
    """Read a manifest: one whose every name stays in its bundle, or a `BundleError`."""
    try:
        found = parse_manifest(data, Path("bundle"))
    except BundleError:
        return
    assert not any("/" in name or name.startswith(".") for name in (found.name, *found.files))


def _altered(seed: Path, target: Target) -> Target:
    """Put the bytes, as text or as JSON, in the place of one value of a whole document."""
    document = json.loads(seed.read_text("utf-8"))
    places = list(_places(document))

    def altered(data: bytes) -> None:
        if not data:
            return
        above, key = places[data[0] % len(places)]
        before = above[key]
        above[key] = _value(data[1:])
        try:
            text = json.dumps(document)
        finally:
            above[key] = before
        target(text.encode())

    return altered


def _places(part: Any) -> Iterator[tuple[Any, Any]]:
    keys = part.items() if isinstance(part, dict) else enumerate(part)
    for key, value in list(keys):
        yield part, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _value(data: bytes) -> Any:
    text = data.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


_SEEDS = Path(__file__).with_name("corpus")
TARGETS: dict[str, Target] = {
    "image": image,
    "csv": _labels(".csv"),
    "jsonl": _labels(".jsonl"),
    "label-studio": _labels(".json"),
    "config": config,
    "manifest": manifest,
    "manifest-value": _altered(_SEEDS / "manifest" / "bundled.json", manifest),
    "label-studio-value": _altered(_SEEDS / "label-studio" / "plain.json", _labels(".json")),
}
