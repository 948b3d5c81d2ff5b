"""The bundles that are measured. As a program, writes an untrained one and prints its folder.

    python -m bench.models FOLDER WEIGHTS

Random weights in the head cost as much time as trained ones.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.pictures import DATA
from bench.plan import ROOT
from daemon.app import BUNDLED_MODEL, make_catalogue
from daemon.artifacts import write_bundle
from daemon.classifier import build_classifier
from daemon.clock import utc_text
from daemon.config import Selection, Settings
from daemon.preprocessing import Geometry
from daemon.quiet import import_keras
from daemon.training import Challenger, Recipe, make_manifest

BUNDLED, MOBILENET = "compact", "mobilenet_v2"
NAMES = (BUNDLED, MOBILENET)
_KERAS_HOME = DATA / "keras"
_CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
_ALPHA = 0.35


@dataclass(frozen=True)
class Model:
    """A bundle to be measured, and what it is in words."""

    bundle: Path
    what: str


def make_model(name: str, folder: Path) -> Model:
    """Return the bundled model, or make the other one in a process of its own."""
    if name == BUNDLED:
        return Model(BUNDLED_MODEL, "the bundled `compact`, 64 px")
    weights = "imagenet" if _KERAS_HOME.is_dir() else "none"
    command = [sys.executable, "-m", "bench.models", str(folder), weights]
    ran = subprocess.run(
        command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    pretrained = "ImageNet" if weights == "imagenet" else "random"
    return Model(
        Path(ran.stdout.strip()),
        f"`{MOBILENET}`, alpha {_ALPHA}, 224 px, {pretrained} weights, untrained head",
    )


def write_untrained(folder: Path, weights: str) -> Path:
    """Write a classifier of a few classes whose head has learned nothing; returns the bundle."""
    import_keras()
    catalogue, options = make_catalogue(Settings()), {"alpha": _ALPHA}
    backbone = catalogue.backbones.build(Selection(MOBILENET, options), folder)
    head = catalogue.heads.build(Selection("softmax"), folder)
    geometry = Geometry(backbone.default_size, backbone.default_size)
    model = build_classifier(backbone, head, _CLASSES, geometry, weights)
    recipe = Recipe(backbone, head, geometry, weights, options)
    now = utc_text(datetime.now(UTC).timestamp())
    untrained = Challenger(recipe, _CLASSES, model)
    return write_bundle(model, make_manifest(untrained, {}, MOBILENET, now), folder)


def _environment() -> Mapping[str, str]:
    return {**os.environ, "KERAS_HOME": str(_KERAS_HOME)} if _KERAS_HOME.is_dir() else os.environ


if __name__ == "__main__":
    print(write_untrained(Path(sys.argv[1]), sys.argv[2]))
