"""One Keras model out of three parts: preprocessing, backbone, head.

A classifier has four layers: the input `image` and three nested models named `preprocessing`,
`backbone` and `head`; one that tells what is unlike anything seen has a fourth, `novelty`, and
gives its result as one more column. Scaling is part of the graph, so that what is trained is what
serves.

Layers of a plugin's own: a backbone or head may use Keras layers that Keras does not ship. Such
a class stands at the top level of a module in the plugin's package (or of the plugin itself),
is decorated with `keras.saving.register_keras_serializable(package="classifyd")`, and is
imported inside `build`, so that registering a plugin does not import Keras. Whoever saves a
classifier records `layer_modules(model)` in the manifest; `load_model` imports those modules
before it reads the file, and refuses any that belongs to no loaded plugin, so that a foreign
bundle cannot name code to run. Everything is loaded in Keras' safe mode.
"""

import importlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from daemon.config.problems import nearest
from daemon.contracts import Backbone, Head
from daemon.errors import BundleError, ConfigError, WeightsError
from daemon.hookspecs import PROJECT
from daemon.preprocessing import Geometry, Scaling
from daemon.text import first_line

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

NEIGHBOURS = 5
"""Training images that an image is compared with to tell how novel it is."""

# ImageNet's statistics by channel, as keras.applications has them.
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_DEVIATION = (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)

# What Keras and the readers below it raise for a damaged or foreign file.
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, BadZipFile, UserWarning)


def build_classifier(
    backbone: Backbone,
    head: Head,
    classes: Sequence[str],
    geometry: Geometry,
    weights: str = "auto",
) -> "keras.Model":
    """Join the parts: `uint8[N, H, W, 3]` (RGB) in, raw scores `float32[N, C]` out.

    C is the number of classes, or 1 for a head that reads `binary`. The backbone is frozen and
    always runs as in serving (no dropout, no batch statistics); only the head will learn.
    `weights` is understood as in `resolve_weights`. Raises `ConfigError` for an image size
    below the backbone's minimum, `WeightsError` and `TrainingError`.
    """
    import keras

    head.check(classes)
    if problem := size_problem(backbone, geometry.height, geometry.width):
        raise ConfigError(f"model.image_size: {problem}")
    net = backbone.build(geometry.height, geometry.width, resolve_weights(backbone, weights))
    frozen = keras.Model(net.inputs[0], net.outputs[0], name="backbone")
    frozen.trainable = False
    features = keras.Input(frozen.output.shape[1:], name="features")
    scores = keras.Model(features, head.attach(features, len(classes)), name="head")
    image = keras.Input((geometry.height, geometry.width, 3), dtype="uint8", name="image")
    scaled = _preprocessing(geometry, backbone.scaling)(image)
    return keras.Model(image, scores(frozen(scaled, training=False)), name="classifier")


def backbone_of(model: "keras.Model") -> "keras.Model":
    """Return the classifier's backbone: scaled `float32[N, H, W, 3]` to a map `[N, h, w, F]`."""
    return model.get_layer("backbone")


def head_of(model: "keras.Model") -> "keras.Model":
    """Return the classifier's head, map `[N, h, w, F]` to scores `[N, C]`; weights are shared.

    Fitting it on features that were computed once is the same as fitting the whole classifier
    with a frozen backbone, and much faster.
    """
    return model.get_layer("head")


def features_model(model: "keras.Model") -> "keras.Model":
    """Return preprocessing and backbone: `uint8[N, H, W, 3]` to a map `[N, h, w, F]`."""
    import keras

    image = keras.Input(model.input_shape[1:], dtype="uint8", name="image")
    scaled = model.get_layer("preprocessing")(image)
    return keras.Model(image, backbone_of(model)(scaled, training=False), name="features")


def with_novelty(model: "keras.Model", references: "NDArray[np.float32]") -> "keras.Model":
    """Return a classifier that also tells how far an image is from all of `references`.

    `references` are pooled features `float32[M, F]` of training images. The last column of its
    output, after the raw scores, is 1 less the mean cosine to the `NEIGHBOURS` nearest of them
    (after Sun et al., "Out-of-distribution detection with deep nearest neighbors", 2022): 0 for
    what was seen, 1 for what has nothing in common with it. The other layers are shared.
    """
    import keras

    image = keras.Input(model.input_shape[1:], dtype="uint8", name="image")
    scaled = model.get_layer("preprocessing")(image)
    features = backbone_of(model)(scaled, training=False)
    parts = [head_of(model)(features), _novelty(features.shape[1:], references)(features)]
    scores = keras.layers.Concatenate(name="scores_and_novelty")(parts)
    return keras.Model(image, scores, name="classifier")


def _novelty(shape: tuple[int, ...], references: "NDArray[np.float32]") -> "keras.Model":
    import keras
    import numpy as np
    from keras import layers, ops

    near = min(NEIGHBOURS, len(references))
    lengths = np.maximum(np.linalg.norm(references, axis=1, keepdims=True), 1e-12)
    features = keras.Input(shape, name="features")
    x = layers.GlobalAveragePooling2D()(features)
    x = layers.UnitNormalization()(x)
    cosines = layers.Dense(len(references), use_bias=False, dtype="float32", name="references")
    nearest = ops.top_k(cosines(x), near)[0]
    novelty = keras.Model(
        features, 1.0 - ops.mean(nearest, axis=1, keepdims=True), name="novelty", trainable=False
    )
    cosines.set_weights([(references / lengths).T])
    return novelty


def resolve_weights(backbone: Backbone, weights: str) -> str:
    """Return what `Backbone.build` is to load: one of its choices, or the path of a file.

    `auto` is the backbone's first choice. Raises `WeightsError`, with the choices, when
    `weights` is neither a choice nor a file.
    """
    if problem := weights_problem(backbone, weights):
        raise WeightsError(f"model.weights: {problem}")
    return backbone.weights_choices[0] if weights == "auto" else weights


def weights_problem(backbone: Backbone, weights: str) -> str | None:
    """Say what such weights must be, None where they are one of these; loads nothing."""
    choices = ("auto", *backbone.weights_choices)
    if weights in choices or Path(weights).expanduser().is_file():
        return None
    remedy = "; there is no such file: put it there, or mend the path" if "/" in weights else ""
    return (
        f"must be {', '.join(choices)} (all that backbone {backbone.name!r} offers) or the path of "
        f'an existing file, got "{weights}"{nearest(Path(weights).name, choices) or remedy}'
    )


def size_problem(backbone: Backbone, height: int, width: int) -> str | None:
    """Say what an image size must be, None where the backbone can take this one."""
    if min(height, width) >= backbone.minimum_size:
        return None
    return (
        f"must be at least {backbone.minimum_size} pixels a side for backbone {backbone.name!r} "
        f"(its own size is {backbone.default_size}), got {height}x{width}"
    )


def load_weights(net: "keras.Model", path: str) -> None:
    """Load a weights file (`.weights.h5`, `.h5` or `.keras`) into a network of the same layers.

    For backbones that are given a file. Raises `WeightsError` when it is unreadable or made
    for other layers.
    """
    try:
        with warnings.catch_warnings():
            # Keras only warns when it leaves layers at their random start.
            warnings.simplefilter("error", UserWarning)
            net.load_weights(Path(path).expanduser())
    except _UNREADABLE as error:
        raise WeightsError(
            f"weights {path!r} do not fit {net.name!r} ({first_line(error)}): "
            "give a file that was saved from the same layers"
        ) from error


def layer_modules(model: "keras.Model") -> tuple[str, ...]:
    """Name the modules, other than Keras, that define this model's layers; for the manifest."""
    modules = {type(layer).__module__ for layer in _all_layers(model)}
    return tuple(sorted(name for name in modules if name.partition(".")[0] != "keras"))


def load_model(path: Path, modules: Sequence[str] = ()) -> "keras.Model":
    """Load a classifier from its `.keras` file in safe mode, not compiled.

    `modules` is what the manifest recorded from `layer_modules`; the plugins must be loaded
    before. Raises `BundleError` when a module belongs to no loaded plugin, cannot be imported,
    or the file does not load.
    """
    import keras

    for name in modules:
        _import_layers(path, name)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except _UNREADABLE as error:
        raise BundleError(f"{path} does not load: {first_line(error)}") from error


def _preprocessing(geometry: Geometry, scaling: Scaling) -> "keras.Model":
    import keras

    image = keras.Input((geometry.height, geometry.width, 3), dtype="uint8", name="pixels")
    return keras.Model(image, _scaled(image, scaling), name="preprocessing")


def _scaled(image: "keras.KerasTensor", scaling: Scaling) -> "keras.KerasTensor":
    from keras import layers, ops

    match scaling:
        case Scaling.NONE:
            return layers.Rescaling(1.0)(image)
        case Scaling.UNIT:
            return layers.Rescaling(1 / 255)(image)
        case Scaling.TF:
            return layers.Rescaling(1 / 127.5, -1.0)(image)
        case Scaling.TORCH:
            factors = [1 / (255 * deviation) for deviation in _TORCH_DEVIATION]
            ratios = zip(_TORCH_MEAN, _TORCH_DEVIATION, strict=True)
            return layers.Rescaling(factors, [-mean / dev for mean, dev in ratios])(image)
        case Scaling.CAFFE:
            bgr = ops.flip(layers.Rescaling(1.0)(image), axis=-1)
            return layers.Rescaling(1.0, [-mean for mean in _CAFFE_MEAN_BGR])(bgr)


def _all_layers(model: "keras.Model") -> "list[keras.Layer]":
    return list(model._flatten_layers())


def _import_layers(path: Path, name: str) -> None:
    if not _belongs_to_plugin(name):
        raise BundleError(
            f"{path} needs the module {name!r}, which belongs to no loaded plugin: "
            "add the plugin that made it to `plugins` in the configuration"
        )
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise BundleError(f"{path} needs the module {name!r}: {error}") from error


def _belongs_to_plugin(name: str) -> bool:
    """Tell whether the module is a loaded plugin, or lies in or next to one in its package."""
    package = name.rpartition(".")[0]
    loaded = tuple(sys.modules.items())
    near = [
        module
        for other, module in loaded
        if other == name or (package and package in (other, other.rpartition(".")[0]))
    ]
    return any(_is_plugin(module) for module in near)


def _is_plugin(module: ModuleType) -> bool:
    return any(hasattr(value, f"{PROJECT}_impl") for value in vars(module).values())
