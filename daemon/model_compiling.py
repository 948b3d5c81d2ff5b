"""`models compile`: a model version in every form that this machine may execute it in."""

import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daemon.app import Wiring, bundle_of, decode_limits
from daemon.artifacts import MODEL_FILE, read_manifest
from daemon.classifier import load_model
from daemon.compiling import LEAST_IMAGES, ROW, SIZES, Row, Trial, compare, compile_way
from daemon.frozen import FrozenGraph, freeze
from daemon.manifest import Manifest
from daemon.preprocessing import Geometry
from daemon.quiet import hush_pillow, import_keras
from daemon.scores import read_scores, split_novelty
from daemon.serving import KERAS, compiled_root, rows, ways
from daemon.store import queries
from daemon.store.database import reading
from daemon.training import Item, Progress
from daemon.training.features import read_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy import Engine

    from daemon.store.models import Version

_MOST_IMAGES = 256


def compile_version(
    wiring: Wiring, engine: "Engine", version: "Version", progress: Progress, anew: bool = False
) -> list[Row]:
    """Compile a model version all ways that the configuration allows, check and time each.

    What is known already is kept, unless `anew`. Returns the rows, the fastest first. Raises
    `BundleError`, `RuntimeLoadError`.
    """
    hush_pillow()
    import_keras()
    bundle = bundle_of(version, wiring.loaded.settings)
    manifest = read_manifest(bundle)
    candidates = ways(wiring, version)
    images, photographs = _images(wiring, engine, manifest.geometry, progress)
    graph = freeze(load_model(bundle / MODEL_FILE, manifest.modules))
    run = FrozenGraph(graph, max(SIZES))
    trial = Trial(images, photographs, run(images), partial(_read, manifest))
    _keep(compare(KERAS.name, {}, run, trial), compiled_root(wiring) / bundle.name / KERAS.name)
    for number, way in enumerate(candidates):
        progress("compile", number, len(candidates))
        if anew or way.row() is None:
            compile_way(way, graph, trial)
    progress("compile", len(candidates), len(candidates))
    return rows(wiring, version)


def _read(manifest: Manifest, scores: "NDArray[np.float32]") -> tuple[Any, Any]:
    raw, novelty = split_novelty(scores, manifest.has_novelty)
    return read_scores(manifest.reading, raw, manifest.temperature), novelty


def _keep(row: Row, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ROW).write_text(json.dumps(asdict(row)) + "\n", "utf-8")


def _images(
    wiring: Wiring, engine: "Engine", geometry: Geometry, progress: Progress
) -> tuple["NDArray[np.uint8]", int]:
    """Return the newest images that can be read, drawn ones where these are few, and how many
    were read."""
    with reading(engine) as connection:
        newest = list(queries.newest_images(connection, _MOST_IMAGES))
    items = [Item(Path(os.fsdecode(path)), "", sha256) for path, sha256 in newest]
    found, count = [_drawn(geometry, 0)], 0
    for chunk in read_pixels(items, geometry, decode_limits(wiring.loaded.settings)):
        found.append(chunk.images)
        count += len(chunk.images)
        progress("read", count, len(items))
    return np.concatenate([*found, _drawn(geometry, max(0, LEAST_IMAGES - count))]), count


def _drawn(geometry: Geometry, count: int) -> "NDArray[np.uint8]":
    """Draw soft clouds of colour, which are nearer to photographs than noise is."""
    from PIL import Image

    random = np.random.default_rng(0)
    size = geometry.width, geometry.height
    images = np.empty((count, geometry.height, geometry.width, 3), np.uint8)
    for row in range(count):
        side = int(random.integers(2, 9))
        seeds = random.integers(0, 256, (side, side, 3), np.uint8)
        images[row] = np.asarray(Image.fromarray(seeds).resize(size, Image.Resampling.BICUBIC))
    return images
