"""AlexNet, from Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional
Neural Networks", 2012.

The paper spreads the network over two GPUs; here the halves are groups of one convolution.

| layer | kernel, stride | groups | output (227 px in) | parameters |
| --- | --- | --- | --- | --- |
| conv1, ReLU, LRN | 11x11, 4 | 1 | 55x55x96 | 34,944 |
| pool1 (max) | 3x3, 2 | | 27x27x96 | |
| conv2, ReLU, LRN | 5x5, 1 | 2 | 27x27x256 | 307,456 |
| pool2 (max) | 3x3, 2 | | 13x13x256 | |
| conv3, ReLU | 3x3, 1 | 1 | 13x13x384 | 885,120 |
| conv4, ReLU | 3x3, 1 | 2 | 13x13x384 | 663,936 |
| conv5, ReLU | 3x3, 1 | 2 | 13x13x256 | 442,624 |
| pool5 (max) | 3x3, 2 | | 6x6x256 | |
| fc6, ReLU, dropout 0.5 | | | 4096 | 37,752,832 |
| fc7, ReLU, dropout 0.5 | | | 4096 | 16,781,312 |
| fc8, softmax | | | 1000 | 4,097,000 |
| all | | | | 60,965,224 |

The text of the paper says 224 px; 227 is the size from which an unpadded conv1 gives its 55x55.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from daemon.classifier import load_weights
from daemon.contracts import Backbone, Factory, Options
from daemon.hookspecs import hookimpl
from daemon.preprocessing import Scaling

if TYPE_CHECKING:
    import keras

SIZE = 227


class AlexNet:
    """The convolutional layers, conv1 to pool5; `weights` is `none` or a file of them or of the
    complete network."""

    name = "alexnet"
    default_size = SIZE
    minimum_size = 67
    scaling = Scaling.CAFFE
    weights_choices: Sequence[str] = ("none",)

    def __init__(self, options: Options) -> None:
        pass

    def build(self, height: int, width: int, weights: str) -> "keras.Model":
        """Return the feature model, to a map `[N, 6, 6, 256]` at 227 px."""
        net = _features(height, width)
        if weights != "none":
            load_weights(net, weights)
        return net


def alexnet(classes: int = 1000) -> "keras.Model":
    """Return the complete network: scaled `float32[N, 227, 227, 3]` to probabilities."""
    import keras
    from keras import layers

    front = _features(SIZE, SIZE)
    x = layers.Flatten()(front.output)
    for name in ("fc6", "fc7"):
        x = layers.Dense(4096, "relu", bias_initializer="ones", name=name, **_initial())(x)
        x = layers.Dropout(0.5, name=f"drop_{name}")(x)
    scores = layers.Dense(classes, "softmax", name="fc8", **_initial())(x)
    return keras.Model(front.input, scores, name="alexnet")


def _features(height: int, width: int) -> "keras.Model":
    import keras
    from keras import layers

    from plugins.backbones.layers import LocalResponseNormalization

    image = keras.Input((height, width, 3))
    x = _conv(image, "conv1", 96, 11, strides=4, padding="valid")
    x = LocalResponseNormalization(name="norm1")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = _conv(x, "conv2", 256, 5, groups=2, bias_initializer="ones")
    x = LocalResponseNormalization(name="norm2")(x)
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = _conv(x, "conv3", 384, 3)
    x = _conv(x, "conv4", 384, 3, groups=2, bias_initializer="ones")
    x = _conv(x, "conv5", 256, 3, groups=2, bias_initializer="ones")
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    return keras.Model(image, x, name="alexnet")


def _conv(
    x: "keras.KerasTensor",
    name: str,
    filters: int,
    kernel: int,
    padding: str = "same",
    **options: int | str,
) -> "keras.KerasTensor":
    from keras import layers

    options = {"padding": padding, "activation": "relu", "name": name, **options}
    return layers.Conv2D(filters, kernel, **options, **_initial())(x)


def _initial() -> "dict[str, keras.initializers.Initializer]":
    """The paper's start: weights from a normal distribution of deviation 0.01."""
    from keras import initializers

    return {"kernel_initializer": initializers.RandomNormal(stddev=0.01)}


@hookimpl
def register_backbones() -> "Iterable[Factory[Backbone]]":
    """Offer AlexNet under its name."""
    return [Factory("alexnet", AlexNet, summary="AlexNet in two groups (2012), without weights")]
