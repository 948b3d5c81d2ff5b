"""The bundles that are measured. As a program, writes an untrained one and prints its folder.

    python -m bench.models NAME CLASSES FOLDER

Random weights in the head cost as much time as trained ones.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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

BUNDLED, MOBILENET = "compact", "mobilenet_v2_035"
_BACKBONES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    MOBILENET: ("mobilenet_v2", {"alpha": 0.35}),
    "mobilenet_v2": ("mobilenet_v2", {"alpha": 1.0}),
    BUNDLED: ("compact", {}),
    "efficientnet_v2_b0": ("efficientnet_v2_b0", {}),
    "resnet50": ("resnet50", {}),
}
NAMES = tuple(_BACKBONES)
_KERAS_HOME = DATA / "keras"
_CLASSES = 5


@dataclass(frozen=True)
class Model:
    """A bundle to be measured, and what it is in words."""

    bundle: Path
    what: str


def make_model(name: str, folder: Path, classes: int = _CLASSES) -> Model:
    """Return the bundled model, or make another one in a process of its own."""
    if name == BUNDLED and classes == _CLASSES:
        return Model(BUNDLED_MODEL, "the bundled `compact`, 64 px")
    command = [sys.executable, "-m", "bench.models", name, str(classes), str(folder)]
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    bundle, weights = ran.stdout.splitlines()
    return Model(Path(bundle), f"`{name}`, {weights} weights, {classes:,} classes, untrained head")


def write_untrained(name: str, classes: int, folder: Path) -> tuple[Path, str]:
    """Write a classifier whose head has learned nothing; returns the bundle, and its weights:
    pretrained ones where they are at hand."""
    os.environ.setdefault("KERAS_HOME", str(_KERAS_HOME))
    import_keras()
    catalogue, (backbone_name, options) = make_catalogue(Settings()), _BACKBONES[name]
    backbone = catalogue.backbones.build(Selection(backbone_name, options), folder)
    size = backbone.default_size
    at_hand = getattr(backbone, "at_hand", lambda *_: [])(size, size)
    weights = "imagenet" if options in list(map(dict, at_hand)) else "none"
    head = catalogue.heads.build(Selection("softmax"), folder)
    names = tuple(f"class-{number:06d}" for number in range(classes))
    geometry = Geometry(size, size)
    model = build_classifier(backbone, head, names, geometry, weights)
    recipe = Recipe(backbone, head, geometry, weights, options)
    now = utc_text(datetime.now(UTC).timestamp())
    manifest = make_manifest(Challenger(recipe, names, model), {}, f"{name}-{classes}", now)
    return write_bundle(model, manifest, folder), "random" if weights == "none" else "ImageNet"


if __name__ == "__main__":
    _bundle, _weights = write_untrained(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    print(_bundle, _weights, sep="\n")
