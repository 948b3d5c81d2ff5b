"""Blend the weights at the ends of the two cycles of `train.py`, which lie in one valley.

    python -m bench.compact.blend ../shared/data/cifar10/train.zip

Wortsman et al., "Model soups", 2022. Statistics of the normalisations are taken anew. The share is
the one that was best on the training images held out.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from bench.compact.data import load
from bench.compact.network import Network
from bench.compact.train import (
    BATCH,
    CHECKPOINT,
    HELD_OUT,
    SEED,
    SIZE,
    VIEWS,
    Material,
    accuracy,
    end_of,
    material,
    scaled,
)  # fmt: skip

SHARES = (0.0, 0.3, 0.5, 1.0)  # of the last cycle
BATCHES = 50  # that the statistics come from


def blend(source: Path) -> None:
    """Write the best blend into the checkpoint."""
    data = material(source)
    pixels, labels, _ = load(source, SIZE)
    first, last = (torch.load(end_of(cycle))["average"] for cycle in (0, 1))
    best: tuple[float, Network] | None = None
    for share in SHARES:
        net = blended(first, last, share)
        if 0 < share < 1:
            take_statistics(net, data)
        right = accuracy(net, pixels[::HELD_OUT], labels[::HELD_OUT])
        print(f"{share}: {right:.3f} of the images held out")
        best = max(best or (right, net), (right, net), key=lambda found: found[0])
    assert best is not None
    torch.save({**torch.load(CHECKPOINT), "average": best[1].state_dict()}, CHECKPOINT)


def blended(first: dict[str, torch.Tensor], last: dict[str, torch.Tensor], share: float) -> Network:
    """Return a network of weights in between."""
    net = Network(*(len(first[f"{head}.bias"]) for head in ("scores", "views")))
    net.load_state_dict(
        {
            name: value.lerp(last[name], share) if value.dtype.is_floating_point else value
            for name, value in first.items()
        }
    )
    return net


@torch.no_grad()
def take_statistics(net: Network, data: Material) -> None:
    """Set the statistics of every normalisation to those of some images."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    rng = np.random.default_rng(SEED)
    net.train()
    for _ in range(BATCHES):
        small = data.pixels[rng.integers(0, len(data.pixels), BATCH)]
        net.features(
            scaled(np.concatenate([small, data.views[rng.integers(0, len(data.views), VIEWS)]]))
        )
    net.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="class folders, or a zip of them")
    blend(parser.parse_args().source)
