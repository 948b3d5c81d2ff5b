"""Train the `compact` backbone from nothing on class folders; resumes where it was stopped.

    python -m bench.compact.train ../shared/data/cifar10/train.zip --epochs 25

Each epoch ends with a checkpoint in `bench/out/compact` and a line in `log.csv` beside this
file. Started again, it goes on after the last whole epoch; with another `--epochs` the learning
rate continues on the new curve. The test images play no part here: see `package.py`.
"""

import argparse
import csv
import time
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from bench.compact.data import OUT, load
from plugins.backbones.compact import Compact

SEED = 20261124
SIZE = 64
BATCH = 128
PEAK_RATE = 0.1
WEIGHT_DECAY = 5e-3  # Keras multiplies it with the learning rate alone: 5e-4 as papers count it
LABEL_SMOOTHING = 0.1
SHIFT = 8  # pixels
HOLE = 16  # pixels
HELD_OUT = 50  # every 50th image is only looked at, for the log
LOG = Path(__file__).with_name("log.csv")
CHECKPOINT = OUT / "checkpoint.keras"

Pixels = NDArray[np.uint8]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """One epoch: every image once in random order, flipped, shifted and with a hole."""

    def __init__(self, pixels: Pixels, targets: NDArray[np.float32], epoch: int) -> None:
        super().__init__()
        self.pixels, self.targets = pixels, targets
        self.epoch = epoch
        self.order = np.random.default_rng([SEED, epoch]).permutation(len(pixels))

    def __len__(self) -> int:
        return len(self.order) // BATCH

    def __getitem__(self, index: int) -> tuple[Pixels, NDArray[np.float32]]:
        chosen = self.order[index * BATCH : (index + 1) * BATCH]
        rng = np.random.default_rng([SEED, self.epoch, index])
        return augment(self.pixels[chosen], rng), self.targets[chosen]


def augment(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Return `uint8[N, H, W, 3]` of the same shape: mirrored or not, shifted, with a grey hole."""
    count, height, width, _ = images.shape
    edges = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))
    padded = np.pad(images, edges, mode="reflect")
    result = np.empty_like(images)
    tops, lefts = rng.integers(0, 2 * SHIFT + 1, (2, count))
    hole_tops, hole_lefts = rng.integers(-HOLE // 2, (height, width), (count, 2)).T
    mirrored = rng.random(count) < 0.5
    for i in range(count):
        crop = padded[i, tops[i] : tops[i] + height, lefts[i] : lefts[i] + width]
        result[i] = crop[:, ::-1] if mirrored[i] else crop
        top, left = max(hole_tops[i], 0), max(hole_lefts[i], 0)
        result[i, top : hole_tops[i] + HOLE, left : hole_lefts[i] + HOLE] = 128
    return result


def build(classes: int) -> keras.Model:
    """Return `uint8[N, 64, 64, 3]` to logits `[N, classes]`, with the backbone trainable."""
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    backbone = Compact().build(SIZE, SIZE, weights="none")
    x = backbone(keras.layers.Rescaling(1 / 127.5, -1.0)(image))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes, name="scores")(x))


def compile_model(model: keras.Model) -> None:
    """Give the model its loss and optimiser: SGD with Nesterov momentum and weight decay."""
    optimiser = keras.optimizers.SGD(PEAK_RATE, 0.9, nesterov=True, weight_decay=WEIGHT_DECAY)
    optimiser.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=LABEL_SMOOTHING)
    model.compile(optimiser, loss, metrics=["accuracy"])


class Rate(keras.callbacks.Callback):  # type: ignore[misc]
    """Raise the learning rate over the first tenth of all steps, then let it fall to zero."""

    def __init__(self, epoch: int, epochs: int) -> None:
        super().__init__()
        self.epoch, self.epochs = epoch, epochs

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        done = (self.epoch + batch / self.params["steps"]) / self.epochs
        falling = (1 + np.cos(np.pi * (done - 0.1) / 0.9)) / 2
        self.model.optimizer.learning_rate = PEAK_RATE * (done / 0.1 if done < 0.1 else falling)


def train(source: Path, epochs: int) -> None:
    """Train up to `epochs` epochs in all, going on from the checkpoint if there is one."""
    keras.utils.set_random_seed(SEED)
    pixels, labels, classes = load(source, SIZE)
    targets = np.eye(len(classes), dtype=np.float32)[labels]
    held_out = np.arange(len(pixels)) % HELD_OUT == 0
    seen = pixels[~held_out], targets[~held_out]
    model = _resume(len(classes))
    first = int(model.optimizer.iterations) // len(Batches(*seen, 0))
    for epoch in range(first, epochs):
        started = time.monotonic()
        fitted = model.fit(
            Batches(*seen, epoch),
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=[Rate(epoch, epochs)],
            verbose=2,
        ).history
        loss, accuracy = model.evaluate(pixels[held_out], targets[held_out], BATCH, verbose=0)
        _save(model)
        row = epoch + 1, epochs, fitted["loss"][0], fitted["accuracy"][0], loss, accuracy
        _log(*row, time.monotonic() - started)


def _resume(classes: int) -> keras.Model:
    if CHECKPOINT.exists():
        return keras.saving.load_model(CHECKPOINT)
    LOG.write_text("epoch,epochs,loss,accuracy,held_out_loss,held_out_accuracy,seconds\n")
    model = build(classes)
    compile_model(model)
    return model


def _save(model: keras.Model) -> None:
    part = CHECKPOINT.with_name("part.keras")
    model.save(part)
    part.rename(CHECKPOINT)


def _log(*row: float) -> None:
    with LOG.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow([f"{value:.5g}" for value in row])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="class folders, or a zip of them")
    parser.add_argument("--epochs", type=int, default=25)
    arguments = parser.parse_args()
    train(arguments.source, arguments.epochs)
