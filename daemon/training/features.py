"""Steps three and four: images decoded as in serving, through the frozen backbone, once."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from daemon.classifier import features_model, head_of
from daemon.contracts import DecodeLimits
from daemon.domain import ImageFacts
from daemon.errors import ImageError, TrainingError
from daemon.preprocessing import Geometry
from daemon.training.cache import FeatureCache, Rows, cache_key
from daemon.training.collect import Progress, Skipped

if TYPE_CHECKING:
    import keras

CHUNK = 32
_HALF = np.finfo(np.float16)


class Labelled(Protocol):
    """A labelled content, as `collect` finds it or as a `Dataset` holds it."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def label(self) -> str:
        """Its class."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All its classes, that one first."""

    @property
    def sha256(self) -> str:
        """What it is, in hexadecimal."""


ItemT = TypeVar("ItemT", bound=Labelled)


@dataclass(frozen=True, slots=True)
class Chunk(Generic[ItemT]):
    """A few decoded images, `uint8[n, H, W, 3]`, and what could not be decoded between them."""

    images: NDArray[np.uint8]
    items: tuple[ItemT, ...]
    facts: tuple[ImageFacts, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class Features(Generic[ItemT]):
    """`rows` is `float16[N, …]`, one for each of `items`; larger than memory if need be."""

    rows: Rows
    items: tuple[ItemT, ...]
    facts: tuple[ImageFacts, ...]
    skipped: tuple[Skipped, ...]

    def rows_of(self, items: Iterable[Labelled]) -> NDArray[np.int64]:
        """Return the row numbers of these items, in their order."""
        row = {item.sha256: number for number, item in enumerate(self.items)}
        return np.array([row[item.sha256] for item in items], np.int64)


def cut(model: "keras.Model") -> "tuple[keras.Model, keras.Model]":
    """Cut a classifier where learning begins: images to features, features to scores.

    The parts share the classifier's weights. A global pooling that the head begins with has
    nothing to learn, so it goes to the first part and the features kept are smaller.
    """
    import keras

    front, back = features_model(model), head_of(model)
    pool = back.layers[1]
    pools = keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D
    if not isinstance(pool, pools):
        return front, back
    try:
        rest = keras.Model(pool.output, back.output)
    except ValueError:  # the head uses the map beside its pooling, too
        return front, back
    return keras.Model(front.input, pool(front.output)), rest


def open_cache(front: "keras.Model", folder: Path, **made_of: Any) -> FeatureCache:
    """Open the cache in `folder` of what `front` computes, images to features.

    Its key is made of `front`'s weights and what `made_of` adds (the backbone's name and options,
    the geometry), so that no other network's features can be taken for these.
    """
    weights = hashlib.sha256()
    for array in front.get_weights():
        weights.update(np.ascontiguousarray(array).tobytes())
    shape = tuple(front.output_shape[1:])
    kind = front.layers[-1].__class__.__name__
    key = cache_key(weights=weights.hexdigest(), shape=shape, kind=kind, **made_of)
    return FeatureCache(folder / key, shape)


def extract_features(
    front: "keras.Model",
    items: Sequence[ItemT],
    geometry: Geometry,
    limits: DecodeLimits,
    cache: FeatureCache,
    progress: Progress,
) -> Features[ItemT]:
    """Return each item's features out of the cache, computing once those that it lacks.

    What cannot be decoded is left out and reported. Raises `OSError` when the disk is full.
    """
    missing = [item for item in items if item.sha256 not in cache]
    skipped = _compute(front, missing, geometry, limits, cache, progress) if missing else ()
    progress("features", len(items), len(items))
    there = tuple(item for item in items if item.sha256 in cache)
    facts = tuple(cache.facts(item.sha256) for item in there)
    return Features(cache.take([item.sha256 for item in there]), there, facts, skipped)


def _compute(
    front: "keras.Model",
    items: Sequence[ItemT],
    geometry: Geometry,
    limits: DecodeLimits,
    cache: FeatureCache,
    progress: Progress,
) -> tuple[Skipped, ...]:
    run = compiled(front)
    skipped: list[Skipped] = []
    facts: list[ImageFacts] = []
    rows: list[NDArray[np.float16]] = []
    for number, chunk in enumerate(read_pixels(items, geometry, limits), 1):
        skipped += chunk.skipped
        if chunk.items:
            facts += chunk.facts
            rows.append(_finite(run(chunk.images)))
        if len(facts) >= cache.rows_per_shard:
            cache.add(facts, np.concatenate(rows))
            facts, rows = [], []
        progress("features", min(number * CHUNK, len(items)), len(items))
    if facts:
        cache.add(facts, np.concatenate(rows))
    return tuple(skipped)


def _finite(rows: NDArray[np.float32]) -> NDArray[np.float16]:
    if np.isnan(rows).any():
        raise TrainingError(
            "the backbone gives features that are no numbers (NaN): check its weights"
            " (model.weights), or choose another backbone"
        )
    return np.clip(rows, _HALF.min, _HALF.max).astype(np.float16)


def read_pixels(
    items: Sequence[ItemT], geometry: Geometry, limits: DecodeLimits
) -> Iterator[Chunk[ItemT]]:
    """Decode the items in chunks, `limits.threads` at a time."""
    buffer = np.empty((CHUNK, geometry.height, geometry.width, 3), np.uint8)

    def decode_into(slot: int, item: ItemT) -> ImageFacts | Skipped:
        return _decode(item, geometry, limits, buffer[slot])

    with ThreadPoolExecutor(limits.threads) as pool:
        for start in range(0, len(items), CHUNK):
            part = items[start : start + CHUNK]
            yield _chunk(buffer, part, list(pool.map(decode_into, range(len(part)), part)))


def snapshot(model: "keras.Model") -> Callable[[], None]:
    """Return what brings the model back to its present state: weights and random seeds."""
    kept = [(variable, np.array(variable)) for variable in model.variables]

    def restore() -> None:
        for variable, value in kept:
            variable.assign(value)

    return restore


def compiled(model: "keras.Model") -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Return the model as one traced graph that takes any number of images."""
    import tensorflow as tf

    spec = tf.TensorSpec(model.input_shape, model.inputs[0].dtype)
    graph = tf.function(lambda x: model(x, training=False), input_signature=[spec], autograph=False)
    return lambda x: np.asarray(graph(tf.constant(x)))


def _chunk(
    buffer: NDArray[np.uint8], items: Sequence[ItemT], read: Sequence[ImageFacts | Skipped]
) -> Chunk[ItemT]:
    good = [slot for slot, result in enumerate(read) if isinstance(result, ImageFacts)]
    return Chunk(
        buffer[good],
        tuple(items[slot] for slot in good),
        tuple(result for result in read if isinstance(result, ImageFacts)),
        tuple(result for result in read if isinstance(result, Skipped)),
    )


def _decode(
    item: Labelled, geometry: Geometry, limits: DecodeLimits, out: NDArray[np.uint8]
) -> ImageFacts | Skipped:
    from daemon.images.decode import decode

    try:
        data = _read(item.path, limits.max_bytes)
        if hashlib.sha256(data).hexdigest() != item.sha256:
            return Skipped(item.path, "changed since it was first read", item.label)
        return decode(data, item.sha256, geometry, limits, out)
    except ImageError as error:
        return Skipped(item.path, str(error), item.label)
    except OSError as error:
        return Skipped(item.path, f"cannot be read: {error.strerror}", item.label)


def _read(path: Path, max_bytes: int) -> bytes:
    if path.stat().st_size > max_bytes:
        raise ImageError(f"larger than decode.max_bytes ({max_bytes} bytes)")
    return path.read_bytes()
