"""The networks of `keras.applications` as backbones, described in one table.

`weights: imagenet` uses the files that Keras keeps in the `models` folder of its home
(`KERAS_HOME`) and fetches what is missing there; `none` starts from random weights; a path loads
a file, for instance ImageNet weights of another size or width.
"""

import contextlib
import os
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from daemon.classifier import load_weights
from daemon.contracts import Backbone, Factory, Options
from daemon.errors import WeightsError
from daemon.hookspecs import hookimpl
from daemon.preprocessing import Scaling
from daemon.progress import borrowed_bar

if TYPE_CHECKING:
    import keras

# A server that says nothing for this long has failed: without it, a network that swallows
# packets would hang the command for many minutes.
_SILENCE_S = 10.0


class WidthOptions(Options):
    """Options of the networks that come in several widths."""

    alpha: float = Field(
        1.0, gt=0, description="width: the number of filters of each layer is multiplied by it"
    )


@dataclass(frozen=True, slots=True)
class Network:
    """One row: what `keras.applications` calls it, and what its weights were made for.

    Where `scaling` is `none` the network scales pixels itself. `file` is the name under which
    Keras keeps the ImageNet weights, with the fields `alpha` and `size` where there are several:
    `alphas` are the widths that have weights (and how the name writes them), `sizes` the square
    image sizes that have weights of their own; any other size takes those of `default_size`.
    """

    name: str
    constructor: str
    default_size: int
    scaling: Scaling
    file: str
    minimum_size: int = 32
    alphas: Mapping[float, str] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()

    def weights_file(self, height: int, width: int, alpha: float | None) -> str:
        """Return the file name of the ImageNet weights; raises `WeightsError` for an `alpha`
        that has none."""
        if alpha is not None and alpha not in self.alphas:
            raise WeightsError(
                f"backbone {self.name!r} with alpha {alpha} has no ImageNet weights: "
                f"choose alpha {', '.join(map(str, self.alphas))}, or weights 'none' or a file"
            )
        own = height == width and height in self.sizes
        size = height if own else self.default_size
        return self.file.format(size=size, alpha=self.alphas.get(alpha or 1.0))


def _plain(name: str) -> str:
    return f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"


_V1_ALPHAS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}
_V2_ALPHAS = {alpha: str(alpha) for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)}
_V3_ALPHAS = {alpha: str(alpha) for alpha in (0.75, 1.0)}
_V1_FILE = "mobilenet_{alpha}_{size}_tf_no_top.h5"
_V2_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}_no_top.h5"
_V3_FILE = "weights_mobilenet_v3_%s_224_{alpha}_float_no_top_v2.h5"

# fmt: off
NETWORKS = (
    Network("vgg16", "VGG16", 224, Scaling.CAFFE, _plain("vgg16")),
    Network("vgg19", "VGG19", 224, Scaling.CAFFE, _plain("vgg19")),
    Network("resnet50", "ResNet50", 224, Scaling.CAFFE, _plain("resnet50")),
    Network("resnet101", "ResNet101", 224, Scaling.CAFFE, _plain("resnet101")),
    Network("resnet152", "ResNet152", 224, Scaling.CAFFE, _plain("resnet152")),
    Network("resnet50_v2", "ResNet50V2", 224, Scaling.TF, _plain("resnet50v2")),
    Network("inception_v3", "InceptionV3", 299, Scaling.TF, _plain("inception_v3"), 75),
    Network("xception", "Xception", 299, Scaling.TF, _plain("xception"), 71),
    Network("densenet121", "DenseNet121", 224, Scaling.TORCH, _plain("densenet121")),
    Network("mobilenet", "MobileNet", 224, Scaling.TF, _V1_FILE,
            alphas=_V1_ALPHAS, sizes=(128, 160, 192, 224)),
    Network("mobilenet_v2", "MobileNetV2", 224, Scaling.TF, _V2_FILE,
            alphas=_V2_ALPHAS, sizes=(96, 128, 160, 192, 224)),
    Network("mobilenet_v3_small", "MobileNetV3Small", 224, Scaling.NONE, _V3_FILE % "small",
            alphas=_V3_ALPHAS),
    Network("mobilenet_v3_large", "MobileNetV3Large", 224, Scaling.NONE, _V3_FILE % "large",
            alphas=_V3_ALPHAS),
    Network("nasnet_mobile", "NASNetMobile", 224, Scaling.TF, "nasnet_mobile_no_top.h5"),
    Network("efficientnet_v2_b0", "EfficientNetV2B0", 224, Scaling.NONE,
            "efficientnetv2-b0_notop.h5"),
    Network("efficientnet_v2_b1", "EfficientNetV2B1", 240, Scaling.NONE,
            "efficientnetv2-b1_notop.h5"),
    Network("efficientnet_v2_b2", "EfficientNetV2B2", 260, Scaling.NONE,
            "efficientnetv2-b2_notop.h5"),
    Network("efficientnet_v2_b3", "EfficientNetV2B3", 300, Scaling.NONE,
            "efficientnetv2-b3_notop.h5"),
    Network("efficientnet_v2_s", "EfficientNetV2S", 384, Scaling.NONE,
            "efficientnetv2-s_notop.h5"),
    Network("convnext_tiny", "ConvNeXtTiny", 224, Scaling.NONE, "convnext_tiny_notop.h5"),
)
# fmt: on


class Application:
    """One network of the table, without its classifier."""

    weights_choices: Sequence[str] = ("imagenet", "none")

    def __init__(self, network: Network, options: Options) -> None:
        self._network = network
        self._arguments = options.model_dump()
        self.name = network.name
        self.default_size = network.default_size
        self.minimum_size = network.minimum_size
        self.scaling = network.scaling

    def build(self, height: int, width: int, weights: str) -> "keras.Model":
        """Return the feature model; raises `WeightsError` when the weights are not at hand."""
        if weights == "imagenet":
            return self._pretrained(height, width)
        net = self._construct(height, width, None)
        if weights != "none":
            load_weights(net, weights)
        return net

    def check_weights(self, weights: str) -> None:
        """Raise `WeightsError` for ImageNet weights of a width that has none."""
        if weights == "imagenet":
            size = self.default_size
            self._network.weights_file(size, size, self._arguments.get("alpha"))

    def at_hand(self, height: int, width: int) -> Sequence[Mapping[str, Any]]:
        """Return the widths (no options where there is one only) whose ImageNet weights for
        images of this size lie in Keras' folder."""
        folder, network = _models_folder(), self._network
        return [
            {} if alpha is None else {"alpha": alpha}
            for alpha in network.alphas or (None,)
            if (folder / network.weights_file(height, width, alpha)).is_file()
        ]

    def _construct(self, height: int, width: int, weights: str | None) -> "keras.Model":
        import keras

        constructor = getattr(keras.applications, self._network.constructor)
        shape = (height, width, 3)
        return constructor(include_top=False, weights=weights, input_shape=shape, **self._arguments)

    def _pretrained(self, height: int, width: int) -> "keras.Model":
        """Load the cached file ourselves: Keras would not look into a folder it cannot write."""
        alpha = self._arguments.get("alpha")
        file = _models_folder() / self._network.weights_file(height, width, alpha)
        if file.is_file():
            return self._cached(height, width, file)
        try:
            with _quiet_download():
                return self._construct(height, width, "imagenet")
        except Exception as error:  # Keras raises a bare Exception when a download fails
            raise WeightsError(self._way_out(file, error)) from error

    def _cached(self, height: int, width: int, file: Path) -> "keras.Model":
        try:
            return self.build(height, width, str(file))
        except WeightsError as error:
            raise WeightsError(
                f"{error}; if its download was cut off, delete it and it is fetched again"
            ) from error

    def _way_out(self, file: Path, error: Exception) -> str:
        reason = (str(error) or type(error).__name__).rpartition(" -- ")[2]
        return (
            f"backbone {self.name!r}: its ImageNet weights are not at hand and could not be "
            f"downloaded ({reason}). Put the file {file.name} into {file.parent}, "
            "or work offline with `backbone: compact` and `weights: bundled`"
        )


def _models_folder() -> Path:
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser().absolute() / "models"


@contextlib.contextmanager
def _quiet_download() -> Iterator[None]:
    """Keep standard output for results, give up on a silent network, and take the 224 px weights
    for a size that has none of its own without the warning."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_S)
    try:
        with warnings.catch_warnings(), borrowed_bar():
            warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
            yield
    finally:
        socket.setdefaulttimeout(before)


@hookimpl
def register_backbones() -> "Iterable[Factory[Backbone]]":
    """Offer every network of the table under its name."""
    return [
        Factory(
            network.name,
            partial(Application, network),
            options=WidthOptions if network.alphas else Options,
            summary=f"{network.constructor} of keras.applications, {network.default_size} px",
        )
        for network in NETWORKS
    ]
