"""What the teacher sees: pooled features of MobileNetV2 (ImageNet) for the images of the training.

    KERAS_HOME=../shared/data/keras python -m bench.compact.teacher ../shared/data

Writes `views.npz` (crops of the photographs, as the student sees them, with the teacher's
features of the same crops at its own size) and `cifar.npz` (its features of the CIFAR-10
training images and of their mirror images) to `bench/out/compact`.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import keras
import numpy as np
import openvino
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from bench.compact.data import OUT, load

SEED = 20261125
ALPHA = 0.35
VIEWS = 240  # crops of each photograph
STUDENT, TEACHER = 64, 224  # pixels
CIFAR = 128  # pixels at which the teacher sees a CIFAR-10 image: more only adds blur
AREA = 0.12, 1.0  # share of a photograph in a crop
RATIO = 3 / 4, 4 / 3  # width to height
BATCH = 64

Pixels = NDArray[np.uint8]
Features = NDArray[np.float16]


class Teacher:
    """MobileNetV2 0.35 with ImageNet weights and average pooling, at one input size."""

    def __init__(self, size: int, folder: Path) -> None:
        trained = keras.applications.MobileNetV2(
            (224, 224, 3), alpha=ALPHA, include_top=False, pooling="avg", weights="imagenet"
        )
        net = keras.applications.MobileNetV2(
            (size, size, 3), alpha=ALPHA, include_top=False, pooling="avg", weights=None
        )
        net.set_weights(trained.get_weights())
        net.export(str(folder / f"teacher-{size}"), verbose=False)
        model = openvino.convert_model(folder / f"teacher-{size}")
        self._run = openvino.Core().compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
        )

    def features(self, pixels: Pixels) -> Features:
        """Return `float16[N, 1280]` for `uint8[N, H, W, 3]`."""
        parts = [pixels[at : at + BATCH] for at in range(0, len(pixels), BATCH)]
        return np.concatenate([self._run(p / np.float32(127.5) - 1)[0] for p in parts]).astype(
            np.float16
        )


def views(path: Path, count: int) -> tuple[Pixels, Pixels]:
    """Return random crops of a photograph at the student's and at the teacher's size."""
    rng = np.random.default_rng([SEED, *path.name.encode()])
    with Image.open(path) as file:
        photo = file.convert("RGB")
    pairs = [_view(photo, rng) for _ in range(count)]
    return np.stack([small for small, _ in pairs]), np.stack([large for _, large in pairs])


def _view(photo: Image.Image, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    box = _box(photo.width, photo.height, rng)
    large = photo.resize((TEACHER, TEACHER), Image.Resampling.BILINEAR, box)
    small = photo.resize((STUDENT, STUDENT), Image.Resampling.BILINEAR, box)
    factors = rng.uniform(0.6, 1.4, 3)
    mirrored = rng.random() < 0.5
    return _changed(small, factors, mirrored), _changed(large, factors, mirrored)


def _box(width: int, height: int, rng: np.random.Generator) -> tuple[float, ...]:
    area = rng.uniform(*AREA) * width * height
    ratio = np.exp(rng.uniform(*np.log(RATIO)))
    w, h = min(width, np.sqrt(area * ratio)), min(height, np.sqrt(area / ratio))
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return left, top, left + w, top + h


def _changed(image: Image.Image, factors: NDArray[np.float64], mirrored: bool) -> Pixels:
    """Return the pixels with other brightness, contrast and saturation, mirrored or not."""
    image = ImageEnhance.Brightness(image).enhance(factors[0])
    image = ImageEnhance.Contrast(image).enhance(factors[1])
    image = ImageEnhance.Color(image).enhance(factors[2])
    pixels = np.asarray(image)
    return pixels[:, ::-1] if mirrored else pixels


def see_photographs(data: Path) -> None:
    """Write `views.npz`: `pixels` `uint8[N, 64, 64, 3]` and `features` `float16[N, 1280]`."""
    teacher = Teacher(TEACHER, OUT)
    pixels: list[Pixels] = []
    features: list[Features] = []
    with ProcessPoolExecutor(1) as pool:
        paths = sorted((data / "photos").glob("*.JPEG"))
        for small, large in pool.map(partial(views, count=VIEWS), paths):
            pixels.append(small)
            features.append(teacher.features(large))
    np.savez(OUT / "views.npz", pixels=np.concatenate(pixels), features=np.concatenate(features))


def see_cifar(data: Path) -> None:
    """Write `cifar.npz`: `plain` and `mirrored`, each `float16[50000, 1280]`."""
    teacher = Teacher(CIFAR, OUT)
    pixels, _, _ = load(data / "cifar10" / "train.zip", CIFAR)
    plain = teacher.features(pixels)
    np.savez(OUT / "cifar.npz", plain=plain, mirrored=teacher.features(pixels[:, :, ::-1]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder that holds `photos` and `cifar10`")
    root = parser.parse_args().data
    see_photographs(root)
    see_cifar(root)
