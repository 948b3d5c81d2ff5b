"""`compact`: the project's own small network, whose weights ship in the wheel.

A residual network (He et al., "Deep Residual Learning for Image Recognition", 2016) cut down for
small images on plain processors: a stride-2 stem, so that 64 px cost what 32 px cost a network
made for CIFAR, then three residual blocks, each halving the map and doubling the filters. A
shortcut averages 2x2 pixels before its 1x1 convolution, so that it throws no activation away
("ResNet-D", He et al., "Bag of Tricks for Image Classification", 2019).

| part    | map at 64 px | filters | convolutions        |
| ------- | ------------ | ------- | ------------------- |
| stem    | 32 x 32      | 32      | 3x3 / 2             |
| block 1 | 16 x 16      | 64      | 3x3 / 2, 3x3        |
| block 2 | 8 x 8        | 128     | 3x3 / 2, 3x3        |
| block 3 | 4 x 4        | 256     | 3x3 / 2, 3x3        |

1,210,592 parameters, 44 million multiplications an image.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.artifacts import MODEL_FILE
from daemon.classifier import backbone_of, load_model, load_weights
from daemon.contracts import Backbone, Factory, Options
from daemon.errors import BundleError, WeightsError
from daemon.hookspecs import hookimpl
from daemon.preprocessing import Scaling

if TYPE_CHECKING:
    import keras

STEM_FILTERS = 32
BLOCK_FILTERS = (64, 128, 256)
BUNDLE = Path(__file__).parents[1] / "bundled" / "cifar10"


class Compact:
    """The small network; takes any size from 48 px up, made for 64."""

    name = "compact"
    default_size = 64
    minimum_size = 48
    scaling = Scaling.TF
    weights_choices: Sequence[str] = ("bundled", "none")

    def build(self, height: int, width: int, weights: str) -> "keras.Model":
        """Return the feature model: `float32[N, H, W, 3]` in -1..1 to `[N, H/16, W/16, 256]`.

        `weights`: `bundled`, `none`, or the path of a classifier (`.keras`) that has this
        backbone, or of weights saved from it (`.weights.h5`). Raises
        `WeightsError` when they do not fit.
        """
        net = _network(height, width)
        if weights != "none":
            _load(net, BUNDLE / MODEL_FILE if weights == "bundled" else Path(weights).expanduser())
        return net


def _network(height: int, width: int) -> "keras.Model":
    import keras

    image = keras.Input((height, width, 3))
    x = keras.layers.ReLU()(_convolved(image, STEM_FILTERS, 3, strides=2))
    for filters in BLOCK_FILTERS:
        x = _halving_block(x, filters)
    return keras.Model(image, x, name="compact")


def _halving_block(x: "keras.KerasTensor", filters: int) -> "keras.KerasTensor":
    import keras

    shortcut = keras.layers.AveragePooling2D(2, padding="same")(x)
    shortcut = _convolved(shortcut, filters, 1)
    x = keras.layers.ReLU()(_convolved(x, filters, 3, strides=2))
    x = _convolved(x, filters, 3)
    return keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))


def _convolved(
    x: "keras.KerasTensor", filters: int, kernel: int, strides: int = 1
) -> "keras.KerasTensor":
    import keras

    x = keras.layers.Conv2D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    return keras.layers.BatchNormalization(epsilon=1e-5)(x)


def _load(net: "keras.Model", path: Path) -> None:
    if path.suffix != ".keras":
        load_weights(net, str(path))
        return
    try:
        net.set_weights(backbone_of(load_model(path)).get_weights())
    except (BundleError, ValueError) as error:
        raise WeightsError(
            f"weights {str(path)!r} are not of a classifier with the backbone 'compact' ({error}); "
            "use `weights: bundled`, `weights: none`, or a file that was made from it"
        ) from error


@hookimpl
def register_backbones() -> Iterable[Factory[Backbone]]:
    """Offer `compact`."""
    return [
        Factory(
            name=Compact.name,
            build=lambda options: Compact(),
            options=Options,
            summary="the project's own small network, weights in the package (48 to 96 px)",
        )
    ]
