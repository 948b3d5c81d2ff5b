"""GoogLeNet (Inception v1), from Szegedy et al.: "Going Deeper with Convolutions", 2014, without
the two auxiliary classifiers, which the paper drops after training.

| layer | kernel, stride | output (224 px in) | 1x1 | 3x3 | 5x5 | pool proj | parameters |
| --- | --- | --- | --- | --- | --- | --- | --- |
| conv1 | 7x7, 2 | 112x112x64 | | | | | 9,472 |
| max pool, LRN | 3x3, 2 | 56x56x64 | | | | | |
| conv2 (1x1, then 3x3), LRN | 3x3, 1 | 56x56x192 | | 192 (64) | | | 114,944 |
| max pool | 3x3, 2 | 28x28x192 | | | | | |
| inception 3a | | 28x28x256 | 64 | 128 (96) | 32 (16) | 32 | 163,696 |
| inception 3b | | 28x28x480 | 128 | 192 (128) | 96 (32) | 64 | 388,736 |
| max pool | 3x3, 2 | 14x14x480 | | | | | |
| inception 4a | | 14x14x512 | 192 | 208 (96) | 48 (16) | 64 | 376,176 |
| inception 4b | | 14x14x512 | 160 | 224 (112) | 64 (24) | 64 | 449,160 |
| inception 4c | | 14x14x512 | 128 | 256 (128) | 64 (24) | 64 | 510,104 |
| inception 4d | | 14x14x528 | 112 | 288 (144) | 64 (32) | 64 | 605,376 |
| inception 4e | | 14x14x832 | 256 | 320 (160) | 128 (32) | 128 | 868,352 |
| max pool | 3x3, 2 | 7x7x832 | | | | | |
| inception 5a | | 7x7x832 | 256 | 320 (160) | 128 (32) | 128 | 1,043,456 |
| inception 5b | | 7x7x1024 | 384 | 384 (192) | 128 (48) | 128 | 1,444,080 |
| average pool, dropout 0.4 | 7x7 | 1024 | | | | | |
| linear, softmax | | 1000 | | | | | 1,025,000 |
| all | | | | | | | 6,998,552 |

In parentheses: the 1x1 reduction before the 3x3 or 5x5 convolution. All convolutions carry a
bias and end in ReLU.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from daemon.classifier import load_weights
from daemon.contracts import Backbone, Factory, Options
from daemon.hookspecs import hookimpl
from daemon.preprocessing import Scaling

if TYPE_CHECKING:
    import keras

SIZE = 224

# Each block: 1x1, reduction before 3x3, 3x3, reduction before 5x5, 5x5, projection after pooling.
_BLOCKS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
_POOLED_AFTER = frozenset({"3b", "4e"})


class GoogLeNet:
    """The convolutional layers up to inception 5b; `weights` is `none` or a file of them or of
    the complete network."""

    name = "googlenet"
    default_size = SIZE
    minimum_size = 32
    scaling = Scaling.CAFFE
    weights_choices: Sequence[str] = ("none",)

    def __init__(self, options: Options) -> None:
        pass

    def build(self, height: int, width: int, weights: str) -> "keras.Model":
        """Return the feature model, to a map `[N, 7, 7, 1024]` at 224 px."""
        net = _features(height, width)
        if weights != "none":
            load_weights(net, weights)
        return net


def googlenet(classes: int = 1000) -> "keras.Model":
    """Return the complete network: scaled `float32[N, 224, 224, 3]` to probabilities."""
    import keras
    from keras import layers

    front = _features(SIZE, SIZE)
    x = layers.GlobalAveragePooling2D(name="pool5")(front.output)
    x = layers.Dropout(0.4, name="drop5")(x)
    scores = layers.Dense(classes, "softmax", name="linear")(x)
    return keras.Model(front.input, scores, name="googlenet")


def _features(height: int, width: int) -> "keras.Model":
    import keras

    image = keras.Input((height, width, 3))
    x = _stem(image)
    for name, sizes in _BLOCKS.items():
        x = _inception(x, name, sizes)
        if name in _POOLED_AFTER:
            x = _pool(x, f"pool_{name}")
    return keras.Model(image, x, name="googlenet")


def _stem(image: "keras.KerasTensor") -> "keras.KerasTensor":
    from plugins.backbones.layers import LocalResponseNormalization

    x = _pool(_conv(image, "conv1", 64, 7, strides=2), "pool1")
    x = LocalResponseNormalization(name="norm1")(x)
    x = _conv(_conv(x, "conv2_reduce", 64, 1), "conv2", 192, 3)
    return _pool(LocalResponseNormalization(name="norm2")(x), "pool2")


def _inception(
    x: "keras.KerasTensor", name: str, sizes: tuple[int, int, int, int, int, int]
) -> "keras.KerasTensor":
    from keras import layers

    one, reduce3, three, reduce5, five, projection = sizes
    name = f"inception_{name}"
    branches = [
        _conv(x, f"{name}_1x1", one, 1),
        _conv(_conv(x, f"{name}_3x3_reduce", reduce3, 1), f"{name}_3x3", three, 3),
        _conv(_conv(x, f"{name}_5x5_reduce", reduce5, 1), f"{name}_5x5", five, 5),
        _conv(_pool(x, f"{name}_pool", 1), f"{name}_pool_proj", projection, 1),
    ]
    return layers.Concatenate(name=name)(branches)


def _conv(
    x: "keras.KerasTensor", name: str, filters: int, kernel: int, strides: int = 1
) -> "keras.KerasTensor":
    from keras import layers

    return layers.Conv2D(filters, kernel, strides, "same", activation="relu", name=name)(x)


def _pool(x: "keras.KerasTensor", name: str, strides: int = 2) -> "keras.KerasTensor":
    from keras import layers

    return layers.MaxPooling2D(3, strides, "same", name=name)(x)


@hookimpl
def register_backbones() -> "Iterable[Factory[Backbone]]":
    """Offer GoogLeNet under its name."""
    return [Factory("googlenet", GoogLeNet, summary="Inception v1 (2014), without weights")]
