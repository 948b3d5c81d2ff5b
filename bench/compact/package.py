"""Make the bundle in the wheel from the checkpoint that `train.py` left.

    python -m bench.compact.package ../shared/data/cifar10

Temperature and the limits of `unknown` come from the training images that were held out. The test
images decide nothing: their accuracy is measured once and written down.
"""

import argparse
import csv
import shutil
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from bench.compact.data import OUT, load
from bench.compact.network import Network
from bench.compact.train import BATCH, CHECKPOINT, HELD_OUT, LOG, SEED, SIZE
from daemon.artifacts import write_bundle
from daemon.classifier import backbone_of, build_classifier, head_of, with_novelty
from daemon.learning.calibration import choose_temperature, is_right
from daemon.learning.unknown import confidence_threshold, novelty_limit
from daemon.manifest import BackbonePart, Manifest, Part, Unknown
from daemon.preprocessing import Geometry
from daemon.scores import read_scores, split_novelty
from plugins.backbones.compact import BUNDLE, Compact
from plugins.heads.softmax import SoftmaxHead, SoftmaxOptions

HEAD = SoftmaxOptions(dropout=0.0, label_smoothing=0.1)
GEOMETRY = Geometry(SIZE, SIZE)
REFERENCES = 15  # training images of a class that novelty is measured from
TARGET_ERROR = FALSE_ALARMS = 0.05

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


def trained() -> Network:
    """Return the network with the averaged weights of the checkpoint."""
    state = torch.load(CHECKPOINT)["average"]
    net = Network(*(len(state[f"{head}.bias"]) for head in ("scores", "views")))
    net.load_state_dict(state)
    return net.eval()


def carry(net: Network, model: keras.Model) -> None:
    """Give a classifier the weights of a trained network."""
    backbone = backbone_of(model)
    for name, (convolution, norm) in net.named():
        kernel = short(convolution.weight.permute(2, 3, 1, 0))
        backbone.get_layer(f"{name}_conv").set_weights([kernel])
        numbers = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        backbone.get_layer(f"{name}_norm").set_weights([n.detach().numpy() for n in numbers])
    spread = (net.norm.running_mean, net.norm.running_var)
    backbone.get_layer("features").set_weights([n.numpy() for n in spread])
    head_of(model).set_weights([short(net.scores.weight.T), net.scores.bias.detach().numpy()])


def short(values: torch.Tensor) -> NDArray[np.float32]:
    """Round to `bfloat16`, in which the training ran too: half of the bytes are zeros then, which
    cost nothing in the wheel."""
    return values.detach().bfloat16().float().numpy()


def references(model: keras.Model, pixels: Pixels, labels: Labels) -> NDArray[np.float32]:
    """Return the pooled features of the first images of each class, rounded."""
    rows = [np.flatnonzero(labels == label)[:REFERENCES] for label in np.unique(labels)]
    scaled = pixels[np.concatenate(rows)] / np.float32(127.5) - 1
    maps = backbone_of(model).predict(scaled, BATCH, verbose=0)
    return short(torch.from_numpy(maps.mean(axis=(1, 2))))


def accuracy(model: keras.Model, pixels: Pixels, labels: Labels) -> float:
    """Return the share of images whose highest score is at their class."""
    scores, _ = split_novelty(model.predict(pixels, BATCH, verbose=0), has_novelty=True)
    return round(float(np.mean(scores.argmax(axis=1) == labels)), 4)


def manifest_for(
    classes: list[str], answers: NDArray[np.float32], truth: Labels, tested: dict[str, float]
) -> Manifest:
    """Return the manifest, calibrated by answers on held-out images; hashes are still missing."""
    scores, novelty = split_novelty(answers, has_novelty=True)
    assert novelty is not None
    reading = SoftmaxHead.reading
    temperature = choose_temperature(reading, scores, truth)
    sure = read_scores(reading, scores, temperature)
    right = is_right(sure, truth)
    unknown = Unknown(
        target_error=TARGET_ERROR,
        false_alarms=FALSE_ALARMS,
        threshold=confidence_threshold(sure.max(axis=1), right, TARGET_ERROR),
        novelty=novelty_limit(novelty, FALSE_ALARMS),
    )
    with LOG.open(newline="") as file:
        epochs = len(list(csv.DictReader(file)))
    return Manifest(
        name="cifar10",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        classes=tuple(classes),
        geometry=GEOMETRY,
        scaling=Compact.scaling,
        backbone=BackbonePart(name=Compact.name, weights="none"),
        head=Part(name=SoftmaxHead.name, options=HEAD.model_dump()),
        reading=reading,
        temperature=temperature,
        unknown=unknown,
        has_novelty=True,
        metrics={
            **tested,
            "held_out_top1": round(float(right.mean()), 4),
            "held_out_images": len(truth),
            "epochs": epochs,
            "seed": SEED,
        },
    )


def package(data: Path) -> None:
    """Write the bundle to `plugins/bundled/cifar10`."""
    pixels, labels, classes = load(data / "train.zip", SIZE)
    held_out = np.arange(len(pixels)) % HELD_OUT == 0
    model = build_classifier(Compact(), SoftmaxHead(HEAD), classes, GEOMETRY, "none")
    carry(trained(), model)
    model = with_novelty(model, references(model, pixels[~held_out], labels[~held_out]))
    answers = model.predict(pixels[held_out], BATCH, verbose=0)
    unseen, truth, _ = load(data / "test.zip", SIZE)
    tested = {"test_top1": accuracy(model, unseen, truth), "test_images": len(truth)}
    manifest = manifest_for(classes, answers, labels[held_out], tested)
    shutil.rmtree(BUNDLE, ignore_errors=True)
    shutil.copytree(write_bundle(model, manifest, OUT / "bundles"), BUNDLE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of `train.zip` and `test.zip`")
    package(parser.parse_args().data)
