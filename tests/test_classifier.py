"""The three parts joined: shapes, scaling, freezing, saving, and what is refused."""

import sys
from types import ModuleType

import numpy as np
import pytest

from daemon.classifier import (
    backbone_of,
    build_classifier,
    features_model,
    head_of,
    layer_modules,
    load_model,
    load_weights,
    resolve_weights,
)
from daemon.errors import BundleError, ConfigError, WeightsError
from daemon.hookspecs import hookimpl
from daemon.preprocessing import Geometry, Scaling
from plugins.backbones import alexnet  # noqa: F401 (a loaded plugin, for its layers)
from plugins.heads.binary import BinaryHead, BinaryOptions
from plugins.heads.softmax import SoftmaxHead, SoftmaxOptions

# Keras 3.15 with NumPy 2 warns whenever it copies a variable out of TensorFlow.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

GEOMETRY = Geometry(20, 24)
CLASSES = ("cat", "dog", "owl")


class SmallBackbone:
    """Convolution, batch normalisation and our own normalisation layer."""

    name = "small"
    default_size = 32
    minimum_size = 16
    weights_choices = ("none", "imagenet")

    def __init__(self, scaling=Scaling.UNIT):
        self.scaling = scaling

    def build(self, height, width, weights):
        import keras

        from plugins.backbones.layers import LocalResponseNormalization

        image = keras.Input((height, width, 3))
        x = keras.layers.Conv2D(4, 3, strides=2, name="conv")(image)
        x = keras.layers.BatchNormalization()(x)
        x = LocalResponseNormalization()(x)
        return keras.Model(image, x, name="small")


class Pixels(SmallBackbone):
    """Hands the scaled pixels through."""

    def build(self, height, width, weights):
        import keras

        image = keras.Input((height, width, 3))
        return keras.Model(image, keras.layers.Activation("linear")(image))


def softmax(**options):
    return SoftmaxHead(SoftmaxOptions(**options))


def images(count=6):
    return np.random.default_rng(7).integers(0, 256, (count, 20, 24, 3), dtype=np.uint8)


@pytest.fixture
def model():
    return build_classifier(SmallBackbone(), softmax(), CLASSES, GEOMETRY)


def test_takes_bytes_and_returns_one_score_a_class(model):
    assert model.input.name == "image"
    assert model.input.dtype == "uint8"
    assert model.input.shape == (None, 20, 24, 3)
    scores = model(images()).numpy()
    assert scores.dtype == np.float32
    assert scores.shape == (6, 3)


def test_binary_head_returns_one_score():
    head = BinaryHead(BinaryOptions(hidden=4))
    model = build_classifier(SmallBackbone(), head, CLASSES[:2], GEOMETRY)
    assert model(images()).shape == (6, 1)


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_scaling_is_that_of_keras_applications(mode):
    import keras

    model = build_classifier(Pixels(Scaling(mode)), softmax(), CLASSES, GEOMETRY)
    expected = keras.applications.imagenet_utils.preprocess_input(
        images().astype("float32"), mode=mode
    )
    np.testing.assert_allclose(features_model(model)(images()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("scaling", "divisor"), [(Scaling.NONE, 1), (Scaling.UNIT, 255)])
def test_plain_scalings(scaling, divisor):
    model = build_classifier(Pixels(scaling), softmax(), CLASSES, GEOMETRY)
    expected = images().astype("float32") / divisor
    np.testing.assert_allclose(features_model(model)(images()), expected, rtol=1e-6)


@pytest.mark.parametrize("scaling", Scaling)
def test_loads_back_in_safe_mode_with_the_same_scores(scaling, tmp_path):
    model = build_classifier(SmallBackbone(scaling), softmax(hidden=3), CLASSES, GEOMETRY)
    model.save(tmp_path / "model.keras")
    assert layer_modules(model) == ("plugins.backbones.layers",)
    loaded = load_model(tmp_path / "model.keras", layer_modules(model))
    np.testing.assert_array_equal(model(images()), loaded(images()))
    assert not backbone_of(loaded).trainable_weights


def test_only_the_head_learns(model):
    keep = [weight.numpy() for weight in backbone_of(model).weights]
    before = [weight.numpy() for weight in head_of(model).weights]
    head = softmax()
    model.compile("sgd", head.loss(), metrics=[head.metric()])
    model.fit(images(), head.targets(np.arange(6) % 3, 3), epochs=2, verbose=0)
    for old, new in zip(keep, backbone_of(model).weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    assert all(
        not np.array_equal(old, new.numpy())
        for old, new in zip(before, head_of(model).weights, strict=True)
    )


def test_the_head_on_cached_features_is_the_classifier(model):
    features = features_model(model)(images())
    np.testing.assert_allclose(head_of(model)(features), model(images()), rtol=1e-6)
    head_of(model).set_weights([np.ones_like(w) for w in head_of(model).get_weights()])
    np.testing.assert_allclose(model(images()), 1 / 3, rtol=1e-6)


def test_an_image_size_below_the_minimum_is_refused():
    with pytest.raises(ConfigError, match=r"at least 16 pixels a side .* got 12x64"):
        build_classifier(SmallBackbone(), softmax(), CLASSES, Geometry(12, 64))


def test_weights_are_a_choice_a_file_or_an_error(tmp_path):
    file = tmp_path / "w.h5"
    file.touch()
    assert resolve_weights(SmallBackbone(), "auto") == "none"
    assert resolve_weights(SmallBackbone(), "imagenet") == "imagenet"
    assert resolve_weights(SmallBackbone(), str(file)) == str(file)
    with pytest.raises(WeightsError, match=r"auto, none, imagenet .*, got \"bundled\""):
        resolve_weights(SmallBackbone(), "bundled")


def test_weights_of_other_layers_are_refused(tmp_path):
    import keras

    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(WeightsError, match=r"other\.weights\.h5' do not fit 'small'"):
        load_weights(SmallBackbone().build(20, 24, "none"), str(tmp_path / "other.weights.h5"))


@pytest.mark.parametrize("name", ["cut.weights.h5", "cut.h5", "cut.keras", "cut.txt"])
def test_weights_that_cannot_be_read_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(WeightsError, match=f"{name}' do not fit 'small'"):
        load_weights(SmallBackbone().build(20, 24, "none"), str(tmp_path / name))


def test_a_bundle_cannot_name_code_that_is_no_plugin(model, tmp_path):
    model.save(tmp_path / "model.keras")
    for foreign in ("antigravity", "email.mime", "daemon.errors"):
        with pytest.raises(BundleError, match=f"{foreign}', which belongs to no loaded plugin"):
            load_model(tmp_path / "model.keras", (foreign,))
    assert "antigravity" not in sys.modules


def test_a_module_of_a_plugin_that_is_gone_is_named(model, tmp_path, monkeypatch):
    @hookimpl
    def register_backbones():
        return []

    plugin = ModuleType("a_plugin.main")
    plugin.register_backbones = register_backbones
    monkeypatch.setitem(sys.modules, "a_plugin.main", plugin)
    with pytest.raises(BundleError, match=r"needs the module 'a_plugin\.layers'"):
        load_model(tmp_path / "model.keras", ("a_plugin.layers",))


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK no zip")
    with pytest.raises(BundleError, match=r"model\.keras does not load"):
        load_model(tmp_path / "model.keras")
