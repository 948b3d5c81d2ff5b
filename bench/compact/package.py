"""Make the bundle in the wheel from the checkpoint that `train.py` left.

    python -m bench.compact.package ../shared/data/cifar10/test.zip

The test images decide nothing here: their accuracy is measured once and written down.
"""

import argparse
import shutil
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from bench.compact.data import OUT, load
from bench.compact.train import BATCH, CHECKPOINT, LOG, SEED, SIZE
from daemon.artifacts import MODEL_FILE, read_manifest, write_bundle
from daemon.classifier import backbone_of, build_classifier, head_of, load_model
from daemon.manifest import BackbonePart, Manifest, Part
from daemon.preprocessing import Geometry
from plugins.backbones.compact import BUNDLE, Compact
from plugins.heads.softmax import SoftmaxHead, SoftmaxOptions

HEAD = SoftmaxOptions(dropout=0.0, label_smoothing=0.1)


def classifier_from(trained: keras.Model, classes: list[str]) -> keras.Model:
    """Return the classifier, probabilities instead of logits, with the trained weights."""
    geometry = Geometry(SIZE, SIZE)
    model = build_classifier(Compact(), SoftmaxHead(HEAD), classes, geometry, "none")
    backbone_of(model).set_weights(trained.get_layer("compact").get_weights())
    head_of(model).set_weights(trained.get_layer("scores").get_weights())
    return model


def accuracy(model: keras.Model, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Return the share of images whose highest score is at their class."""
    scores = model.predict(pixels, BATCH, verbose=0)
    return round(float(np.mean(scores.argmax(axis=1) == labels)), 4)


def manifest_for(classes: list[str], top1: float, images: int) -> Manifest:
    """Return the manifest, hashes and versions still to be filled in."""
    return Manifest(
        name="cifar10",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        classes=tuple(classes),
        geometry=Geometry(SIZE, SIZE),
        scaling=Compact.scaling,
        backbone=BackbonePart(name=Compact.name, weights="none"),
        head=Part(name=SoftmaxHead.name, options=HEAD.model_dump()),
        reading=SoftmaxHead.reading,
        metrics={
            "test_top1": top1,
            "test_images": images,
            "epochs": len(LOG.read_text().splitlines()) - 1,
            "seed": SEED,
        },
    )


def package(test: Path) -> None:
    """Write the bundle to `plugins/bundled/cifar10` and say what it scores as saved there."""
    pixels, labels, classes = load(test, SIZE)
    model = classifier_from(keras.saving.load_model(CHECKPOINT, compile=False), classes)
    manifest = manifest_for(classes, accuracy(model, pixels, labels), len(labels))
    written = write_bundle(model, manifest, OUT / "bundles")
    shutil.rmtree(BUNDLE, ignore_errors=True)
    shutil.copytree(written, BUNDLE)
    saved = load_model(BUNDLE / MODEL_FILE, read_manifest(BUNDLE).modules)
    print(f"{BUNDLE}: top-1 {accuracy(saved, pixels, labels)} on {len(labels)} images")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("test", type=Path, help="class folders, or a zip of them, never trained on")
    package(parser.parse_args().test)
