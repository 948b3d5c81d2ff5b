"""Linear classifiers with their best weights: a convex loss, an L2 penalty, and L-BFGS.

For heads that are linear in the pooled features. The features are standardised while fitting and
the standardisation is folded into the weights that are returned, so that what serves is one
matrix and one row of offsets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]
Loss = Callable[[Numbers, NDArray[np.int64]], tuple[Numbers, Numbers]]
"""Of outputs `[n, C]` and class numbers `[n]` (or 0 and 1 `[n, C]`): each row's loss `[n]`, and
its slope `[n, C]`."""

_BLOCK = 4096
_MEMORY = 10  # pairs that L-BFGS remembers
_SMALL = 256 << 20  # bytes of features that are kept as float32


@dataclass(frozen=True, slots=True)
class Linear:
    """`features @ kernel + bias`; kernel `float32[F, C]`, bias `float32[C]`."""

    kernel: Numbers
    bias: Numbers


def cross_entropy(outputs: Numbers, indices: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Softmax regression: one of several classes."""
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(indices)), indices], np.exp(logs) - _one_hot(indices, outputs)


def logistic(outputs: Numbers, indices: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """One yes-or-no regression a class."""
    targets = _one_hot(indices, outputs)
    losses = np.logaddexp(0, outputs) - targets * outputs
    slopes = 0.5 * (1 + np.tanh(outputs / 2)) - targets
    return losses.sum(axis=1), np.asarray(slopes, np.float32)


def squared_hinge(outputs: Numbers, indices: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """One linear support vector machine a class, the loss squared (Tang, "Deep Learning using
    Linear Support Vector Machines", 2013)."""
    signs = 2 * _one_hot(indices, outputs) - 1
    short = np.maximum(0, 1 - signs * outputs)
    return (short**2).sum(axis=1), -2 * signs * short


def fit_linear(
    rows: NDArray[Any],
    indices: NDArray[np.int64],
    weights: Numbers,
    classes: int,
    loss: Loss,
    strength: float,
    most_steps: int = 150,
) -> Linear:
    """Minimise the weighted sum of losses plus `strength / 2` times the squared weights.

    `rows` are features `[N, F]`, `indices` class numbers `[N]`, `weights` `[N]`. The weights that
    are penalised are those on standardised features; the offsets are free.
    """
    scale = _Scale.of(rows)
    problem = _Problem(scale.kept(rows), indices, weights, classes, loss, strength, scale)
    flat = _descend(problem, np.zeros((rows.shape[1] + 1) * classes, np.float64), most_steps)
    return scale.folded(flat.reshape(-1, classes))


@dataclass(frozen=True, slots=True)
class _Scale:
    """Mean and deviation of each feature.

    Deviations are drawn a third of the way to the common one: of few images a feature may have
    hardly any by chance, and dividing by that would make it decide everything.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[Any]) -> "_Scale":
        blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
        mean = sum(block.sum(axis=0, dtype=np.float64) for block in blocks) / len(rows)
        squares = [np.square(block - mean).sum(axis=0, dtype=np.float64) for block in blocks]
        variance = sum(squares) / len(rows)
        drawn = (variance + variance.mean() / 2) / 1.5
        return cls(np.asarray(mean), np.sqrt(np.maximum(drawn, 1e-12)))

    def kept(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Turn few rows into float32 once; many stay as they are, block by block."""
        return rows.astype(np.float32) if rows.size * 4 <= _SMALL else rows

    def folded(self, weights: NDArray[np.float64]) -> Linear:
        """Weights `[F + 1, C]` on standardised features as weights on the features."""
        kernel = weights[:-1] / self.deviation[:, None]
        bias = weights[-1] - self.mean @ kernel
        return Linear(kernel.astype(np.float32), bias.astype(np.float32))


@dataclass(frozen=True, slots=True)
class _Problem:
    rows: NDArray[Any]
    indices: NDArray[np.int64]
    weights: Numbers
    classes: int
    loss: Loss
    strength: float
    scale: _Scale

    def __call__(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the cost and its slope."""
        own = flat.reshape(-1, self.classes)
        model = self.scale.folded(own)
        total, slope = 0.0, np.zeros((len(own) - 1, self.classes))
        sums = np.zeros(self.classes)
        for start in range(0, len(self.rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            rows = self.rows[part].astype(np.float32, copy=False)
            losses, slopes = self.loss(rows @ model.kernel + model.bias, self.indices[part])
            slopes = slopes * self.weights[part, None]
            total += float(losses @ self.weights[part])
            slope += rows.T @ slopes
            sums += slopes.sum(axis=0)
        slope -= np.outer(self.scale.mean, sums)
        slope /= self.scale.deviation[:, None]
        penalised = own[:-1]
        total += self.strength / 2 * float((penalised**2).sum())
        return total, np.vstack([slope + self.strength * penalised, sums]).ravel()


def _descend(
    cost: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]],
    at: NDArray[np.float64],
    most_steps: int,
) -> NDArray[np.float64]:
    """L-BFGS (Liu and Nocedal, 1989) with a backtracking line search."""
    value, slope = cost(at)
    steps: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for _ in range(most_steps):
        direction = -_inverse_curvature(slope, steps)
        fall = float(direction @ slope)
        length = 1.0 if steps else min(1.0, 1 / max(float(np.abs(slope).sum()), 1e-12))
        for _ in range(25):
            new_value, new_slope = cost(at + length * direction)
            if new_value <= value + 1e-4 * length * fall:
                break
            length /= 2
        else:
            return at
        move, change = length * direction, new_slope - slope
        if float(move @ change) > 1e-10:
            steps = [*steps[1 - _MEMORY :], (move, change)]
        is_done = value - new_value <= 1e-6 * max(abs(value), 1e-6)
        at, value, slope = at + move, new_value, new_slope
        if is_done:
            return at
    return at


def _inverse_curvature(
    slope: NDArray[np.float64], steps: list[tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> NDArray[np.float64]:
    """The two-loop recursion: the slope times what the last steps tell of the curvature."""
    result = slope.copy()
    factors = []
    for move, change in reversed(steps):
        factor = float(move @ result) / float(move @ change)
        result -= factor * change
        factors.append(factor)
    if steps:
        move, change = steps[-1]
        result *= float(move @ change) / float(change @ change)
    for (move, change), factor in zip(steps, reversed(factors), strict=True):
        result += (factor - float(change @ result) / float(move @ change)) * move
    return result


def _one_hot(indices: NDArray[np.int64], like: Numbers) -> Numbers:
    if indices.ndim == 2:  # 0 and 1 already, where a row has several classes
        return indices.astype(np.float32)
    return np.asarray(np.eye(like.shape[1], dtype=np.float32)[indices])
