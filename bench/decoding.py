"""Scaled beside full decoding: what it saves, and whether the answers stay the same.

    python -m bench.decoding BUNDLE FOLDER [FOLDER…]

prints, for the JPEGs below each folder, what a bundle makes of them either way.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.pictures import DATA, PHOTOS
from bench.plan import ROOT, Plan, Say, scratch
from bench.report import Cell, Section, Table
from daemon.app import make_catalogue
from daemon.artifacts import MODEL_FILE, read_manifest
from daemon.classifier import load_model
from daemon.config import Settings
from daemon.contracts import DecodeLimits
from daemon.images.decode import decode
from daemon.preprocessing import Geometry
from daemon.quiet import hush_pillow, import_keras

_FLOWERS = DATA / "flowers"
_KERAS_HOME = DATA / "keras"
_LARGE = (4000, 3000)
_MOST_LARGE = 60
_AGREEMENT = ("images", "how many", "same label", "largest difference of a score")
_COSINE = ("cosine of features, mean", "least")
_COST = ("images", "input, px", "full, ms", "scaled, ms", "ratio")
_SCALED = DecodeLimits(10**9, 10**9, 4096, 60.0, 1, frozenset({"jpeg"}))
_FULL = DecodeLimits(10**9, 10**9, 4096, 60.0, 1, frozenset({"jpeg"}), scaled=False)


def measure(plan: Plan, say: Say) -> Section:
    """Train on the flowers, then compare both ways on flowers and photographs."""
    if not (_FLOWERS.is_dir() and PHOTOS.is_dir() and _KERAS_HOME.is_dir()):
        note = f"Not measured: it needs flowers, photos and keras in {DATA}."
        return Section("decoding", "Scaled decoding", [], (note,))
    with scratch() as folder:
        sets = {
            "flowers": _FLOWERS,
            "photographs": PHOTOS,
            "flowers, 12 megapixels": _enlarged(_FLOWERS, folder / "large-flowers"),
            "photographs, 12 megapixels": _enlarged(PHOTOS, folder / "large-photos"),
        }
        say(f"decoding: {_MOST_LARGE} of each are enlarged to {_LARGE[0]} x {_LARGE[1]} pixels")
        bundle = _trained(folder)
        say("decoding: a model of the flowers is trained")
        command = [sys.executable, "-m", "bench.decoding", str(bundle), *map(str, sets.values())]
        ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        answers = [[what, *row] for what, row in zip(sets, json.loads(ran.stdout), strict=True)]
        costs = [row for what, place in sets.items() for row in _costs(what, place)]
    notes = (
        "`mobilenet_v2`, alpha 0.35, 224 px, trained on the flowers; features are pooled.",
        "Milliseconds of processor time for one image, of the quicker of two passes.",
    )
    tables = [
        Table("Scaled against full decoding", (*_AGREEMENT, *_COSINE), answers),
        Table("What decoding costs", _COST, costs),
    ]
    return Section("decoding", "Scaled decoding", tables, notes)


def _trained(folder: Path) -> Path:
    """Train a model of the flowers in a place of its own; returns the bundle."""
    config = folder / "config.yaml"
    config.write_text("model: {backbone: {name: mobilenet_v2, alpha: 0.35}}\n", "utf-8")
    command = [sys.executable, "-m", "daemon", "models", "train", str(_FLOWERS)]
    subprocess.run(
        [*command, "--name", "flowers", "--config", str(config)],
        cwd=ROOT,
        env={**os.environ, "KERAS_HOME": str(_KERAS_HOME)},
        capture_output=True,
        check=True,
    )
    (bundle,) = (folder / "state" / "models").glob("flowers*")
    return bundle


def _enlarged(source: Path, folder: Path) -> Path:
    """Write some of the images as large as a camera's, evenly taken from the source."""
    folder.mkdir()
    files = _jpegs(source)
    for number, path in enumerate(files[:: max(1, len(files) // _MOST_LARGE)][:_MOST_LARGE]):
        with Image.open(path) as image:
            size = _LARGE if image.width >= image.height else _LARGE[::-1]
            large = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        large.save(folder / f"{number:03d}.jpg", quality=90)
    return folder


def _jpegs(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))


def _costs(what: str, folder: Path) -> list[Sequence[Cell]]:
    contents = [path.read_bytes() for path in _jpegs(folder)[:_MOST_LARGE]]
    rows: list[Sequence[Cell]] = []
    for side in (64, 224):
        full, scaled = (_milliseconds(contents, side, limits) for limits in (_FULL, _SCALED))
        rows.append((what, side, full, scaled, full / scaled))
    return rows


def _milliseconds(contents: Sequence[bytes], side: int, limits: DecodeLimits) -> float:
    geometry, out = Geometry(side, side), np.empty((side, side, 3), np.uint8)
    least = float("inf")
    for _ in range(2):
        began = time.process_time()
        for data in contents:
            decode(data, "", geometry, limits, out)
        least = min(least, time.process_time() - began)
    return least / len(contents) * 1000


_Run = Callable[[NDArray[Any]], NDArray[np.float32]]


def _answers(bundle: Path, folders: Sequence[Path]) -> list[list[float]]:
    make_catalogue(Settings())  # a plugin's own layers load only once the plugins are
    hush_pillow()
    import_keras()
    from daemon.training.features import compiled, cut

    manifest = read_manifest(bundle)
    front, back = map(compiled, cut(load_model(bundle / MODEL_FILE, manifest.modules)))
    return [_compared(_jpegs(folder), manifest.geometry, front, back) for folder in folders]


def _compared(files: Sequence[Path], geometry: Geometry, front: _Run, back: _Run) -> list[float]:
    """Return how many images, share of same labels, largest difference, mean and least cosine."""
    full, scaled = (_features(files, geometry, limits, front) for limits in (_FULL, _SCALED))
    scores, others = back(full), back(scaled)
    lengths = np.linalg.norm(full, axis=1) * np.linalg.norm(scaled, axis=1)
    cosines = (full * scaled).sum(axis=1) / np.maximum(lengths, 1e-12)
    same = scores.argmax(axis=1) == others.argmax(axis=1)
    apart = np.abs(scores - others).max()
    return [len(files), *map(float, (same.mean(), apart, cosines.mean(), cosines.min()))]


def _features(
    files: Sequence[Path], geometry: Geometry, limits: DecodeLimits, front: _Run
) -> NDArray[np.float32]:
    rows = []
    for start in range(0, len(files), 32):
        part = files[start : start + 32]
        pixels = np.empty((len(part), geometry.height, geometry.width, 3), np.uint8)
        for path, out in zip(part, pixels, strict=True):
            decode(_as_jpeg(path), "", geometry, limits, out)
        rows.append(front(pixels))
    return np.concatenate(rows)


def _as_jpeg(path: Path) -> bytes:
    """Return the file's bytes; what is named JPEG and is another format is written anew."""
    data = path.read_bytes()
    if data.startswith(b"\xff\xd8"):
        return data
    file = BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(file, "JPEG", quality=95)
    return file.getvalue()


if __name__ == "__main__":
    bundle, *folders = map(Path, sys.argv[1:])
    print(json.dumps(_answers(bundle, folders)))
