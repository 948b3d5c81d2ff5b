"""Steps three and four: images decoded as in serving, through the frozen backbone, once."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daemon.classifier import features_model, head_of
from daemon.contracts import DecodeLimits
from daemon.domain import ImageFacts
from daemon.errors import ImageError
from daemon.preprocessing import Geometry
from daemon.training.collect import Item, Progress, Skipped

if TYPE_CHECKING:
    import keras

CHUNK = 32
_HALF = np.finfo(np.float16)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A few decoded images, `uint8[n, H, W, 3]`, and what could not be decoded between them."""

    images: NDArray[np.uint8]
    items: tuple[Item, ...]
    facts: tuple[ImageFacts, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class Features:
    """`rows` is `float16[N, …]`, one for each of `items`; larger than memory if need be."""

    rows: NDArray[np.float16]
    items: tuple[Item, ...]
    facts: tuple[ImageFacts, ...]
    skipped: tuple[Skipped, ...]

    def rows_of(self, items: Iterable[Item]) -> NDArray[np.int64]:
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


def extract_features(
    front: "keras.Model",
    items: Sequence[Item],
    geometry: Geometry,
    limits: DecodeLimits,
    scratch: Path,
    progress: Progress,
) -> Features:
    """Decode the items and compute each one's features, once.

    What cannot be decoded is left out and reported. The rows lie in a nameless file in the
    folder `scratch`, which is gone when the process is. Raises `OSError` when the disk is full.
    """
    rows = _on_disk(scratch, (len(items), *front.output_shape[1:]))
    run = compiled(front)
    done: list[Chunk] = []
    count = 0
    for chunk in read_pixels(items, geometry, limits):
        end = count + len(chunk.items)
        if chunk.items:
            rows[count:end] = np.clip(run(chunk.images), _HALF.min, _HALF.max)
        count = end
        done.append(_without_pixels(chunk))
        progress("features", min(len(done) * CHUNK, len(items)), len(items))
    return Features(
        rows[:count],
        tuple(item for chunk in done for item in chunk.items),
        tuple(facts for chunk in done for facts in chunk.facts),
        tuple(skipped for chunk in done for skipped in chunk.skipped),
    )


def read_pixels(items: Sequence[Item], geometry: Geometry, limits: DecodeLimits) -> Iterator[Chunk]:
    """Decode the items in chunks, `limits.threads` at a time."""
    buffer = np.empty((CHUNK, geometry.height, geometry.width, 3), np.uint8)

    def decode_into(slot: int, item: Item) -> ImageFacts | Skipped:
        return _decode(item, geometry, limits, buffer[slot])

    with ThreadPoolExecutor(limits.threads) as pool:
        for start in range(0, len(items), CHUNK):
            part = items[start : start + CHUNK]
            yield _chunk(buffer, part, list(pool.map(decode_into, range(len(part)), part)))


def compiled(model: "keras.Model") -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Return the model as one traced graph that takes any number of images."""
    import tensorflow as tf

    spec = tf.TensorSpec(model.input_shape, model.inputs[0].dtype)
    graph = tf.function(lambda x: model(x, training=False), input_signature=[spec], autograph=False)
    return lambda x: np.asarray(graph(tf.constant(x)))


def _chunk(
    buffer: NDArray[np.uint8], items: Sequence[Item], read: Sequence[ImageFacts | Skipped]
) -> Chunk:
    good = [slot for slot, result in enumerate(read) if isinstance(result, ImageFacts)]
    return Chunk(
        buffer[good],
        tuple(items[slot] for slot in good),
        tuple(result for result in read if isinstance(result, ImageFacts)),
        tuple(result for result in read if isinstance(result, Skipped)),
    )


def _without_pixels(chunk: Chunk) -> Chunk:
    return Chunk(chunk.images[:0].copy(), chunk.items, chunk.facts, chunk.skipped)


def _decode(
    item: Item, geometry: Geometry, limits: DecodeLimits, out: NDArray[np.uint8]
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


def _on_disk(scratch: Path, shape: tuple[int, ...]) -> NDArray[np.float16]:
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        # Claimed now, because running out of disk inside a mapping kills the process.
        os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)) * 2)
        return np.memmap(file, np.float16, "r+", shape=shape)
