"""Train the `compact` backbone from nothing; resumes where it was stopped.

    python -m bench.compact.train ../shared/data/cifar10/train.zip

Needs `pip install torch` and what `teacher.py` wrote. Each step learns the classes of CIFAR-10
images (cross-entropy) and, on them and on crops of photographs, the features of a teacher
(MobileNetV2; Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Romero et al.,
"FitNets", 2015). Each epoch ends with a checkpoint in `bench/out/compact` and a line in `log.csv`
beside this file. Started again, it goes on after the last whole epoch; with another `--epochs`
the learning rate continues on the new curve. The test images play no part here: see
`package.py`.
"""

import argparse
import csv
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from bench.compact.data import OUT, load
from bench.compact.network import Network

SEED = 20261125
SIZE = 64
CYCLES = ((34, 0.12), (7, 0.05))  # epochs, highest learning rate; the last with CutMix
SMALL_SIZE, SMALL_EPOCHS = 48, 14  # the first epochs see fewer pixels
CUT_SHARE = 0.5  # of the batches
BATCH, VIEWS = 128, 32  # CIFAR-10 images and photograph crops in a step
WARM_SHARE = 0.15  # of a cycle's steps
WEIGHT_DECAY = 5e-4
LABEL_SMOOTHING = 0.1
TEACHING = 0.5  # weight of each of the two losses on the teacher's features
AVERAGE = 0.998  # decay of the moving average of the weights, which is what is kept
SHIFT, HOLE = 8, 20  # pixels
HELD_OUT = 50  # every 50th image is only looked at, for the log
LOG = Path(__file__).with_name("log.csv")
CHECKPOINT = OUT / "checkpoint.pt"
ENDS = tuple(accumulate(epochs for epochs, _ in CYCLES))

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Material:
    """Everything that is learned from; features are standardised, `float16[N, 1280]`."""

    pixels: Pixels
    labels: NDArray[np.int64]
    plain: NDArray[np.float16]
    mirrored: NDArray[np.float16]
    views: Pixels
    seen: NDArray[np.float16]


@dataclass(frozen=True)
class Step:
    """What one step of the optimiser sees."""

    images: Tensor
    labels: Tensor  # as probabilities
    small: Tensor
    seen: Tensor


def material(source: Path) -> Material:
    """Load the images (but those held out) and the teacher's features of them."""
    pixels, labels, _ = load(source, SIZE)
    learned = np.arange(len(pixels)) % HELD_OUT != 0
    with np.load(OUT / "cifar.npz") as cifar, np.load(OUT / "views.npz") as views:
        mean, deviation = spread(cifar["plain"][learned])
        return Material(
            pixels[learned],
            labels[learned],
            ((cifar["plain"][learned] - mean) / deviation).astype(np.float16),
            ((cifar["mirrored"][learned] - mean) / deviation).astype(np.float16),
            views["pixels"],
            standardised(views["features"]),
        )


def spread(features: NDArray[np.float16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the standard deviation of each feature."""
    values = features.astype(np.float32)
    return values.mean(axis=0), values.std(axis=0) + np.float32(0.05)


def standardised(features: NDArray[np.float16]) -> NDArray[np.float16]:
    """Return features of mean 0 and deviation about 1."""
    mean, deviation = spread(features)
    return ((features - mean) / deviation).astype(np.float16)


def steps(data: Material, epoch: int) -> Iterator[Step]:
    """Yield one epoch: every image once, in random order; the next step is made meanwhile."""
    rng = np.random.default_rng([SEED, epoch])
    order, views = rng.permutation(len(data.pixels)), rng.permutation(len(data.views))
    # Mirrored in every second epoch: Jordan, "94% on CIFAR-10 in 3.29 Seconds", 2024.
    mirrored = (np.random.default_rng(SEED).random(len(order)) < 0.5) ^ (epoch % 2 == 1)
    cut_share = CUT_SHARE if epoch >= CYCLES[0][0] else 0.0

    def step(at: int) -> Step:
        rows = order[at * BATCH : (at + 1) * BATCH]
        is_cut = rng.random() < cut_share
        return _step(data, rows, views[at * VIEWS : (at + 1) * VIEWS], mirrored[rows], is_cut, rng)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(step, 0)
        for at in range(1, len(order) // BATCH):
            ready, coming = coming.result(), pool.submit(step, at)
            yield ready
        yield coming.result()


def _step(
    data: Material,
    rows: NDArray[np.int64],
    seen: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    is_cut: bool,
    rng: np.random.Generator,
) -> Step:
    images = augment(data.pixels[rows], mirrored, rng)
    labels = np.eye(data.labels.max() + 1, dtype=np.float32)[data.labels[rows]]
    small = np.where(mirrored[:, None], data.mirrored[rows], data.plain[rows]).astype(np.float32)
    if is_cut:
        kept = cut_mix(images, rng)
        labels, small = (kept * each + (1 - kept) * each[::-1] for each in (labels, small))
    return Step(
        scaled(np.concatenate([images, data.views[seen]])),
        torch.from_numpy(labels),
        torch.from_numpy(small),
        torch.from_numpy(data.seen[seen]).float(),
    )


def cut_mix(images: Pixels, rng: np.random.Generator) -> np.float32:
    """Paste a box of the images, in reverse order, into them; return the share that is left
    (Yun et al., "CutMix", 2019)."""
    _, height, width, _ = images.shape
    side = np.sqrt(1 - rng.random())
    tall, wide = int(side * height), int(side * width)
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    box = np.s_[:, top : top + tall, left : left + wide]
    images[box] = images[::-1][box].copy()
    return np.float32(1 - tall * wide / (height * width))


def augment(images: Pixels, mirrored: NDArray[np.bool_], rng: np.random.Generator) -> Pixels:
    """Return `uint8[N, H, W, 3]` of the same shape: mirrored or not, shifted, with a grey hole
    (DeVries and Taylor, "Cutout", 2017)."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
    result = np.empty_like(images)
    tops, lefts = rng.integers(0, 2 * SHIFT + 1, (2, count))
    hole_tops, hole_lefts = rng.integers(-HOLE // 2, (height, width), (count, 2)).T
    for i in range(count):
        crop = padded[i, tops[i] : tops[i] + height, lefts[i] : lefts[i] + width]
        result[i] = crop[:, ::-1] if mirrored[i] else crop
        top, left = max(hole_tops[i], 0), max(hole_lefts[i], 0)
        result[i, top : hole_tops[i] + HOLE, left : hole_lefts[i] + HOLE] = 128
    return result


def scaled(pixels: Pixels) -> Tensor:
    """Return `float32[N, 3, H, W]` in -1..1, channels last in memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def loss_of(net: Network, step: Step, size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss and its parts for the log."""
    x = step.images
    if size != SIZE:
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    with torch.autocast("cpu", torch.bfloat16):
        features = net.features(x.contiguous(memory_format=torch.channels_last))
    cifar, views = features[: len(step.labels)], features[len(step.labels) :]
    scores = net.scores(cifar)
    parts = {
        "loss": F.cross_entropy(scores, step.labels, label_smoothing=LABEL_SMOOTHING),
        "small": F.mse_loss(net.small(cifar), step.small),
        "views": F.mse_loss(net.views(views), step.seen),
        "accuracy": (scores.argmax(1) == step.labels.argmax(1)).float().mean(),
    }
    return parts["loss"] + TEACHING * (parts["small"] + parts["views"]), parts


def rate(epoch: float) -> float:
    """Return the learning rate after so many epochs: in each cycle up, then straight to zero."""
    for epochs, peak in CYCLES:
        if epoch < epochs:
            done = epoch / epochs
            return peak * min(done / WARM_SHARE, (1 - done) / (1 - WARM_SHARE))
        epoch -= epochs
    return 0.0


class Training:
    """The network, its optimiser and the moving average of its weights."""

    def __init__(self, classes: int, taught: int) -> None:
        torch.manual_seed(SEED)
        self.net = Network(classes, taught).to(memory_format=torch.channels_last)
        self.average = deepcopy(self.net)
        plain = [p for p in self.net.parameters() if p.ndim == 1]
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.SGD(
            groups, CYCLES[0][1], 0.9, nesterov=True, weight_decay=WEIGHT_DECAY
        )
        self.epoch = 0

    def learn(self, data: Material) -> dict[str, float]:
        """Go through one epoch; return the mean of each part of the loss."""
        self.net.train()
        size = SMALL_SIZE if self.epoch < SMALL_EPOCHS else SIZE
        total, count = len(data.pixels) // BATCH, 0
        sums: dict[str, float] = {}
        for count, step in enumerate(steps(data, self.epoch), start=1):
            for group in self.optimiser.param_groups:
                group["lr"] = rate(self.epoch + count / total)
            loss, parts = loss_of(self.net, step, size)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self._follow()
            sums = {name: sums.get(name, 0.0) + float(part) for name, part in parts.items()}
        self.epoch += 1
        return {name: value / count for name, value in sums.items()}

    @torch.no_grad()
    def _follow(self) -> None:
        mine, theirs = self.average.state_dict(), self.net.state_dict()
        for name, value in mine.items():
            if value.dtype.is_floating_point:
                value.lerp_(theirs[name], 1 - AVERAGE)
            else:
                value.copy_(theirs[name])

    def state(self) -> dict[str, Any]:
        """Return everything that going on needs."""
        parts = {"net": self.net, "average": self.average, "optimiser": self.optimiser}
        return {"epoch": self.epoch} | {name: part.state_dict() for name, part in parts.items()}

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take the state of an earlier training."""
        self.epoch = state["epoch"]
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])


@torch.no_grad()
def accuracy(net: Network, pixels: Pixels, labels: NDArray[np.int64]) -> float:
    """Return the share of images whose highest score is at their class."""
    net.eval()
    parts = [scaled(pixels[at : at + BATCH]) for at in range(0, len(pixels), BATCH)]
    scores = torch.cat([net.scores(net.features(part)) for part in parts])
    return float((scores.argmax(1).numpy() == labels).mean())


def train(source: Path) -> None:
    """Train through all cycles, going on from the checkpoint if there is one."""
    data = material(source)
    training = Training(int(data.labels.max()) + 1, data.seen.shape[1])
    if CHECKPOINT.exists():
        training.go_on_from(torch.load(CHECKPOINT))
    else:
        LOG.write_text("epoch,loss,small,views,accuracy,held_out_accuracy,seconds\n")
    pixels, labels, _ = load(source, SIZE)
    held_out = pixels[::HELD_OUT], labels[::HELD_OUT]
    while training.epoch < ENDS[-1]:
        started = time.monotonic()
        means = training.learn(data)
        torch.save(training.state(), CHECKPOINT.with_suffix(".part"))
        CHECKPOINT.with_suffix(".part").rename(CHECKPOINT)
        if training.epoch in ENDS:
            shutil.copy(CHECKPOINT, end_of(ENDS.index(training.epoch)))
        right = accuracy(training.average, *held_out)
        _log(training.epoch, *means.values(), right, time.monotonic() - started)


def end_of(cycle: int) -> Path:
    """Return where the state at the end of a cycle is kept."""
    return OUT / f"cycle-{cycle}.pt"


def _log(*row: float) -> None:
    print(" ".join(f"{value:.5g}" for value in row), flush=True)
    with LOG.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow([f"{value:.5g}" for value in row])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="class folders, or a zip of them")
    train(parser.parse_args().source)
