"""`compact`: the project's own small network, whose weights ship in the wheel.

A residual network (He et al., "Deep Residual Learning for Image Recognition", 2016) cut down for
small images on plain processors: a stride-2 stem, so that 64 px cost what 32 px cost a network
made for CIFAR, then three stages of residual blocks, each halving the map and doubling the
filters, and a last 1x1 convolution. The shortcut of a halving block averages 2x2
pixels before its 1x1 convolution, so that it throws no activation away ("ResNet-D", He et al.,
"Bag of Tricks for Image Classification", 2019). Its features are those of every level, averaged
to the last map's size and brought to mean 0 and deviation 1: what another task needs is often
found before the last layer (Evci et al., "Head2Toe", 2022).

| part     | map at 64 px | filters | blocks of two 3x3 convolutions |
| -------- | ------------ | ------- | ------------------------------ |
| stem     | 32 x 32      | 32      | one 3x3 / 2                    |
| stage 1  | 16 x 16      | 64      | 2                              |
| stage 2  | 8 x 8        | 128     | 2                              |
| stage 3  | 4 x 4        | 256     | 1                              |
| last     | 4 x 4        | 512     | one 1x1                        |
| features | 4 x 4        | 992     | none: all of the above         |

1.7 million parameters, 85 million multiplications an image.
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
STAGES = ((64, 2), (128, 2), (256, 1))  # filters, blocks
LAST_FILTERS = 512
BUNDLE = Path(__file__).parents[1] / "bundled" / "cifar10"


class Compact:
    """The small network; takes any size from 48 px up, made for 64."""

    name = "compact"
    default_size = 64
    minimum_size = 48
    scaling = Scaling.TF
    weights_choices: Sequence[str] = ("bundled", "none")

    def build(self, height: int, width: int, weights: str) -> "keras.Model":
        """Return the feature model: `float32[N, H, W, 3]` in -1..1 to `[N, H/16, W/16, 992]`.

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
    x = keras.layers.ReLU()(_convolved(image, STEM_FILTERS, 3, "stem", strides=2))
    levels = [_averaged(x, 2 ** len(STAGES))]
    for stage, (filters, blocks) in enumerate(STAGES, start=1):
        for number in range(1, blocks + 1):
            x = _block(x, filters, f"stage{stage}_block{number}", strides=2 if number == 1 else 1)
        levels.append(_averaged(x, 2 ** (len(STAGES) - stage)))
    levels.append(keras.layers.ReLU()(_convolved(x, LAST_FILTERS, 1, "last")))
    joined = keras.layers.Concatenate(name="levels")(levels)
    norm = keras.layers.BatchNormalization(center=False, scale=False, epsilon=1e-5, name="features")
    return keras.Model(image, norm(joined), name="compact")


def _averaged(x: "keras.KerasTensor", times: int) -> "keras.KerasTensor":
    """Return the map at one so many times smaller."""
    import keras

    return keras.layers.AveragePooling2D(times, padding="same")(x) if times > 1 else x


def _block(x: "keras.KerasTensor", filters: int, name: str, strides: int) -> "keras.KerasTensor":
    import keras

    shortcut = x
    if strides == 2:
        shortcut = keras.layers.AveragePooling2D(2, padding="same")(x)
        shortcut = _convolved(shortcut, filters, 1, f"{name}_shortcut")
    x = keras.layers.ReLU()(_convolved(x, filters, 3, f"{name}_first", strides))
    x = _convolved(x, filters, 3, f"{name}_second")
    return keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))


def _convolved(
    x: "keras.KerasTensor", filters: int, kernel: int, name: str, strides: int = 1
) -> "keras.KerasTensor":
    import keras

    if kernel > 1:  # the same on every side at every size, which "same" is not
        x = keras.layers.ZeroPadding2D(kernel // 2)(x)
    x = keras.layers.Conv2D(
        filters,
        kernel,
        strides,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return keras.layers.BatchNormalization(epsilon=1e-5, name=f"{name}_norm")(x)


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
