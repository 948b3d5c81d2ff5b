"""The figures of the model card, from the weights that ship.

    KERAS_HOME=../shared/data/keras python -m bench.compact.measure ../shared/data

Accuracy, calibration and `unknown` of the bundled classifier on test images; a logistic
regression on the frozen features of photographs of flowers, beside random weights and MobileNetV2
with ImageNet weights at the same size; speed in the compiled runtime; size in the wheel.
"""

import argparse
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.compact.data import load
from bench.compact.teacher import ALPHA
from daemon.artifacts import MODEL_FILE, read_manifest
from daemon.classifier import load_model
from daemon.learning.calibration import calibration_error
from daemon.scores import Limits, is_unknown, read_scores, split_novelty
from plugins.backbones.compact import BUNDLE, Compact

FOLDS, SEED = 5, 7
SIZES = 64, 96
BATCH, ROUNDS = 32, 60

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
Features = NDArray[np.float32]


def tell_accuracy(data: Path) -> None:
    """Print what the bundled classifier says of test images, and of photographs of other things."""
    manifest = read_manifest(BUNDLE)
    model = load_model(BUNDLE / MODEL_FILE, manifest.modules)
    own = manifest.unknown
    limits = Limits(own.threshold, own.novelty) if own else Limits()

    def answer(pixels: Pixels) -> tuple[Features, NDArray[np.bool_]]:
        answers = model.predict(pixels, BATCH, verbose=0)
        scores, novelty = split_novelty(answers, manifest.has_novelty)
        sure = read_scores(manifest.reading, scores, manifest.temperature)
        return sure, is_unknown(sure, novelty, limits)

    side = manifest.geometry.height
    pixels, labels, classes = load(data / "cifar10" / "test.zip", side)
    sure, unknown = answer(pixels)
    taken = sure.argmax(axis=1)
    right = taken == labels
    by_class = {name: right[labels == number].mean() for number, name in enumerate(classes)}
    top5 = (np.argsort(-sure, axis=1)[:, :5] == labels[:, None]).any(axis=1)
    row("test images", f"{len(labels)}")
    row("top-1", f"{right.mean():.4f}")
    row("top-5", f"{top5.mean():.4f}")
    for name, share in sorted(by_class.items(), key=lambda item: item[1]):
        row(f"  {name}", f"{share:.3f}")
    row("expected calibration error", f"{calibration_error(sure, labels):.4f}")
    row("accepted, not `unknown`", f"{1 - unknown.mean():.3f}")
    row("wrong among accepted", f"{1 - right[~unknown].mean():.4f}")
    photos, _, _ = load(data / "photos", side)
    row("photographs called `unknown`", f"{answer(photos)[1].mean():.3f}")


def tell_probe(data: Path) -> None:
    """Print how right a regression on frozen features is on held-out fifths of the flowers."""
    for size in SIZES:
        pixels, labels, _ = load(data / "flowers", size)
        scaled = pixels / np.float32(127.5) - 1
        for name, network in networks(size).items():
            features = network.predict(scaled, BATCH, verbose=0).mean(axis=(1, 2))
            shares = probe(features, labels)
            each = ", ".join(f"{share:.3f}" for share in shares)
            row(f"flowers at {size} px, {name}", f"{np.mean(shares):.4f} ({each})")


def networks(size: int) -> dict[str, keras.Model]:
    """Return the backbones that are compared, at one input size."""
    teacher = keras.applications.MobileNetV2(
        (224, 224, 3), alpha=ALPHA, include_top=False, weights="imagenet"
    )
    mobilenet = keras.applications.MobileNetV2(
        (size, size, 3), alpha=ALPHA, include_top=False, weights=None
    )
    mobilenet.set_weights(teacher.get_weights())
    keras.utils.set_random_seed(SEED)
    return {
        "compact": Compact().build(size, size, "bundled"),
        "compact, random weights": Compact().build(size, size, "none"),
        f"MobileNetV2 {ALPHA}, ImageNet": mobilenet,
    }


def probe(features: Features, labels: Labels) -> list[float]:
    """Return the share right on each fifth by a regression on the other four."""
    fold = np.empty(len(labels), int)
    for number in np.unique(labels):
        rows = np.random.default_rng([SEED, number]).permutation(np.flatnonzero(labels == number))
        fold[rows] = np.arange(len(rows)) % FOLDS
    found = []
    for held_out in range(FOLDS):
        regression = LogisticRegressionCV(
            Cs=np.logspace(-4, 0, 9), scoring="neg_log_loss", max_iter=300, l1_ratios=(0,),
            use_legacy_attributes=False,
        )  # fmt: skip
        learned = make_pipeline(StandardScaler(), regression).fit(
            features[fold != held_out], labels[fold != held_out]
        )
        right = learned.predict(features[fold == held_out]) == labels[fold == held_out]
        found.append(float(right.mean()))
    return found


def tell_speed() -> None:
    """Print images a second of the network alone, compiled, on all processors."""
    import openvino

    model = load_model(BUNDLE / MODEL_FILE, read_manifest(BUNDLE).modules)
    size = Compact.default_size
    model.export("bench/out/compact/exported", verbose=False)
    converted = openvino.convert_model("bench/out/compact/exported")
    converted.reshape([BATCH, size, size, 3])
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = openvino.Core().compile_model(converted, "CPU", settings)
    queue = openvino.AsyncInferQueue(compiled)
    pixels = np.random.default_rng(SEED).integers(0, 256, (BATCH, size, size, 3), np.uint8)

    def run() -> None:
        for _ in range(ROUNDS):
            queue.start_async({0: pixels})
        queue.wait_all()

    run()
    seconds = min(timed(run) for _ in range(5))
    row("images a second, OpenVINO f32, batch 32", f"{ROUNDS * BATCH / seconds:.0f}")
    row("images a second, Keras, batch 32", f"{BATCH * 8 / timed_keras(model, pixels):.0f}")


def timed_keras(model: keras.Model, pixels: Pixels) -> float:
    """Return the seconds of eight batches in a compiled TensorFlow function."""
    import tensorflow as tf

    function = tf.function(model, jit_compile=False)
    batch = tf.constant(pixels)
    function(batch)
    return min(timed(lambda: [function(batch).numpy() for _ in range(8)]) for _ in range(3))


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def tell_size() -> None:
    """Print how many numbers there are, and the bytes of the bundle in the compressed wheel."""
    packed = sum(len(zlib.compress(path.read_bytes(), 6)) for path in BUNDLE.iterdir())
    size = Compact.default_size
    row("numbers in the backbone", f"{Compact().build(size, size, 'none').count_params():,}")
    row("megabytes in the wheel", f"{packed / 1e6:.2f}")


def row(name: str, value: str) -> None:
    """Print a row of the card's table."""
    print(f"| {name} | {value} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of `cifar10`, `flowers` and `photos`")
    root = parser.parse_args().data
    tell_size()
    tell_accuracy(root)
    tell_probe(root)
    tell_speed()
