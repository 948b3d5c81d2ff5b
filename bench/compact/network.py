"""The `compact` network as PyTorch trains it; `package.py` carries its weights into Keras.

PyTorch, for it alone trains in `bfloat16` at speed on a processor: 1,670 images a second of a
44-million-multiplication network on two cores, where TensorFlow trains 415.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from plugins.backbones.compact import LAST_FILTERS, STAGES, STEM_FILTERS


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; halves the map where `stride` is 2."""

    def __init__(self, filters_in: int, filters: int, stride: int) -> None:
        super().__init__()
        self.first = convolved(filters_in, filters, 3, stride)
        self.second = convolved(filters, filters, 3)
        self.shortcut = (
            nn.Sequential(nn.AvgPool2d(2), *convolved(filters_in, filters, 1))
            if stride == 2
            else nn.Sequential()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's map."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class Network(nn.Module):
    """Images to features; class scores and the teacher's features are read off linearly."""

    def __init__(self, classes: int, taught: int) -> None:
        super().__init__()
        self.stem = convolved(3, STEM_FILTERS, 3, 2)
        self.blocks = nn.ModuleDict()
        filters_in = STEM_FILTERS
        for stage, (filters, blocks) in enumerate(STAGES, start=1):
            for number in range(1, blocks + 1):
                block = Block(filters_in, filters, 2 if number == 1 else 1)
                self.blocks[f"stage{stage}_block{number}"] = block
                filters_in = filters
        self.last = convolved(filters_in, LAST_FILTERS, 1)
        levels = STEM_FILTERS + sum(filters for filters, _ in STAGES) + LAST_FILTERS
        self.norm = nn.BatchNorm1d(levels, affine=False)
        self.scores = nn.Linear(levels, classes)
        self.small = nn.Linear(levels, taught)  # features of small images, as the teacher's
        self.views = nn.Linear(levels, taught)  # features of photographs, as the teacher's

    def features(self, x: Tensor) -> Tensor:
        """Return every level's averages, `float32[N, F]`, for `float32[N, 3, H, W]` in -1..1."""
        x = torch.relu(self.stem(x))
        levels = [x]
        for name, block in self.blocks.items():
            x = block(x)
            if name.endswith("_block1"):
                levels.append(x)
            levels[-1] = x
        levels.append(torch.relu(self.last(x)))
        return self.norm(torch.cat([level.mean((2, 3)).float() for level in levels], dim=1))

    def named(self) -> Iterator[tuple[str, nn.Sequential]]:
        """Yield each convolution with its normalisation, by the name it has in Keras."""
        yield "stem", self.stem
        for name, block in self.blocks.items():
            yield f"{name}_first", block.first
            yield f"{name}_second", block.second
            if block.shortcut:
                yield f"{name}_shortcut", block.shortcut[1:]
        yield "last", self.last


def convolved(filters_in: int, filters: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution without bias and its batch normalisation."""
    convolution = nn.Conv2d(filters_in, filters, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(filters))
