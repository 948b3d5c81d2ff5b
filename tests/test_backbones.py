"""Every registered backbone keeps the contract; the two from papers are what the papers say."""

import errno
import itertools
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import plugins
from daemon.classifier import build_classifier, features_model, layer_modules, load_model
from daemon.contracts import Backbone, Options
from daemon.errors import WeightsError
from daemon.loader import load_plugins
from daemon.preprocessing import Geometry, Scaling
from plugins.backbones.alexnet import AlexNet, alexnet
from plugins.backbones.applications import NETWORKS, Application, WidthOptions
from plugins.backbones.googlenet import GoogLeNet, googlenet
from plugins.heads.softmax import SoftmaxHead, SoftmaxOptions

# Keras 3.15 with NumPy 2 warns whenever it copies a variable out of TensorFlow.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DATA = Path(__file__).parents[1].parent / "shared" / "data"
MODULES = [name for name in plugins.BUILTIN if ".backbones." in name]
REGISTERED = [
    factory
    for factories in load_plugins(MODULES, ()).manager.hook.register_backbones()
    for factory in factories
]
NAMES = [factory.name for factory in REGISTERED]
REPRESENTATIVE = {"alexnet", "googlenet", "vgg16", "mobilenet_v2", "compact"}


def made(name, **options):
    (factory,) = (each for each in REGISTERED if each.name == name)
    return factory.build(factory.options(**options))


def by_cost(name):
    return name if name in REPRESENTATIVE else pytest.param(name, marks=pytest.mark.slow)


def random_images(size, count=2):
    return np.random.default_rng(3).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_registering_imports_no_keras_numpy_or_pillow():
    code = (
        f"import importlib, sys\n"
        f"for name in {MODULES}:\n"
        f"    list(importlib.import_module(name).register_backbones())\n"
        f"print(sorted({{'keras', 'tensorflow', 'numpy', 'PIL'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_all_that_were_promised_are_there():
    promised = (
        "alexnet googlenet compact vgg16 vgg19 resnet50 resnet101 resnet152 resnet50_v2 "
        "inception_v3 xception densenet121 mobilenet mobilenet_v2 mobilenet_v3_small "
        "mobilenet_v3_large nasnet_mobile efficientnet_v2_b0 efficientnet_v2_b1 "
        "efficientnet_v2_b2 efficientnet_v2_b3 efficientnet_v2_s convnext_tiny"
    )
    assert sorted(NAMES) == sorted(promised.split())


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_is(name):
    backbone = made(name)
    assert isinstance(backbone, Backbone)
    assert backbone.name == name
    assert 0 < backbone.minimum_size <= backbone.default_size
    assert isinstance(backbone.scaling, Scaling)
    assert "none" in backbone.weights_choices
    assert set(backbone.weights_choices) <= {"bundled", "imagenet", "none"}


@pytest.mark.parametrize("name", [by_cost(name) for name in NAMES])
def test_keeps_the_contract_at_its_smallest_size(name, tmp_path):
    backbone = made(name)
    size = backbone.minimum_size
    head = SoftmaxHead(SoftmaxOptions())
    model = build_classifier(backbone, head, ["a", "b"], Geometry(size, size), "none")
    features = features_model(model)(random_images(size)).numpy()
    assert features.ndim == 4
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras", layer_modules(model))
    np.testing.assert_array_equal(model(random_images(size)), loaded(random_images(size)))


@pytest.mark.parametrize(("build", "parameters"), [(alexnet, 60_965_224), (googlenet, 6_998_552)])
def test_complete_networks_have_the_papers_parameters_layer_by_layer(build, parameters):
    net = build()
    assert net.output.shape == (None, 1000)
    assert net.count_params() == parameters
    told = layer_table(sys.modules[build.__module__].__doc__)
    assert told.pop("all") == parameters == sum(told.values())
    for label, own in told.items():
        prefix = re.split(r"[, ]", label.replace("inception ", "inception_"))[0]
        layers = [each for each in net.layers if each.name.startswith(prefix)]
        assert sum(each.count_params() for each in layers) == own, label


def layer_table(docstring):
    """Parameters by layer, from the last column of the table in a module's docstring."""
    lines = [line for line in docstring.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: int(row[-1].replace(",", "")) for row in rows if row[-1][:1].isdigit()}


def test_feature_maps_have_the_papers_shapes():
    assert AlexNet(Options()).build(227, 227, "none").output.shape == (None, 6, 6, 256)
    assert GoogLeNet(Options()).build(224, 224, "none").output.shape == (None, 7, 7, 1024)


def test_alexnet_halves_do_not_see_each_other_in_conv2():
    import keras

    net = AlexNet(Options()).build(67, 67, "none")
    conv2 = keras.Model(net.get_layer("pool1").output, net.get_layer("conv2").output)
    maps = np.random.default_rng(0).random((1, 7, 7, 96), dtype=np.float32)
    changed = maps.copy()
    changed[..., 48:] += 1
    before, after = conv2(maps).numpy(), conv2(changed).numpy()
    np.testing.assert_array_equal(before[..., :128], after[..., :128])
    assert not np.array_equal(before[..., 128:], after[..., 128:])


def test_local_response_normalisation_is_the_papers_formula():
    from plugins.backbones.layers import LocalResponseNormalization

    a = np.random.default_rng(1).normal(0, 100, (1, 2, 3, 9)).astype("float32")
    expected = np.empty_like(a)
    for i in range(9):
        energy = (a[..., max(0, i - 2) : i + 3] ** 2).sum(axis=-1)
        expected[..., i] = a[..., i] / (2 + 1e-4 * energy) ** 0.75
    np.testing.assert_allclose(LocalResponseNormalization()(a), expected, rtol=1e-4)


def test_weights_of_the_complete_network_fit_the_backbone(tmp_path):
    whole = googlenet()
    whole.save_weights(tmp_path / "whole.weights.h5")
    net = GoogLeNet(Options()).build(64, 64, str(tmp_path / "whole.weights.h5"))
    for name in ("conv1", "inception_5b_1x1"):
        ours, theirs = net.get_layer(name).get_weights(), whole.get_layer(name).get_weights()
        np.testing.assert_array_equal(ours[0], theirs[0])


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_pixels_reach_each_network_as_keras_prepares_them(network):
    import keras

    class Pixels(Application):
        def _construct(self, height, width, weights):
            image = keras.Input((height, width, 3))
            return keras.Model(image, keras.layers.Activation("linear")(image))

    size = network.minimum_size
    head = SoftmaxHead(SoftmaxOptions())
    pixels = Pixels(network, Options())
    model = build_classifier(pixels, head, ["a", "b"], Geometry(size, size), "none")
    constructor = getattr(keras.applications, network.constructor)
    prepare = sys.modules[constructor.__module__].preprocess_input
    expected = prepare(random_images(size).astype("float32"))
    actual = features_model(model)(random_images(size))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An empty Keras home and no name resolution; returns the home."""
    import keras.src.backend.config as keras_config

    def unresolved(*args, **kwargs):
        raise socket.gaierror(errno.ENOENT, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    monkeypatch.setattr(keras_config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("network", "options", "file"),
    [
        ("vgg16", {}, "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("mobilenet", {"alpha": 0.25}, "mobilenet_2_5_128_tf_no_top.h5"),
    ],
)
def test_offline_the_error_names_file_folder_and_way_out(offline, capsys, network, options, file):
    with pytest.raises(WeightsError) as caught:
        made(network, **options).build(128, 128, "imagenet")
    message = str(caught.value)
    assert f"the file {file} into {offline / 'models'}," in message
    assert "Name or service not known" in message
    assert "`backbone: compact` and `weights: bundled`" in message
    assert capsys.readouterr().out == ""
    assert socket.getdefaulttimeout() is None


def test_a_cut_off_download_is_told_from_a_missing_one(offline):
    (offline / "models").mkdir()
    file = offline / "models" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(WeightsError, match=f"{file.name}.*delete it and it is fetched again"):
        made("vgg16").build(32, 32, "imagenet")


def test_a_width_without_imagenet_weights_names_those_that_have_them():
    with pytest.raises(
        WeightsError, match=r"alpha 0\.3 has no ImageNet weights: choose alpha 0\.35"
    ):
        made("mobilenet_v2", alpha=0.3).build(96, 96, "imagenet")


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_table_has_the_names_under_which_keras_keeps_weights(network, offline, monkeypatch):
    from keras.src.utils import file_utils

    wanted = []

    def get_file(fname, *args, **kwargs):
        wanted.append(fname)
        raise OSError("no network in this test")

    monkeypatch.setattr(file_utils, "get_file", get_file)
    for alpha, size in itertools.product(network.alphas or (None,), network.sizes or (128,)):
        file = network.weights_file(size, size, alpha)
        options = Options() if alpha is None else WidthOptions(alpha=alpha)
        with pytest.raises(WeightsError, match=re.escape(file)):
            Application(network, options).build(size, size, "imagenet")
        assert wanted[-1] == file


@pytest.mark.parametrize("size", [224, 100])
def test_real_imagenet_weights_give_the_features_that_keras_gives(monkeypatch, size):
    import keras
    from PIL import Image

    home, photo = DATA / "keras", DATA / "photos" / "n01443537_goldfish.JPEG"
    file = home / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    if not (file.is_file() and photo.is_file()):
        pytest.skip(f"no ImageNet weights in {home}")
    monkeypatch.setenv("KERAS_HOME", os.fspath(home))
    backbone = made("mobilenet_v2", alpha=0.35)
    model = build_classifier(
        backbone, SoftmaxHead(SoftmaxOptions()), ["a", "b"], Geometry(size, size), "imagenet"
    )
    with Image.open(photo) as image:
        pixels = np.asarray(image.convert("RGB").resize((size, size)))[None]
    direct = keras.applications.MobileNetV2(
        alpha=0.35, include_top=False, weights=os.fspath(file), input_shape=(size, size, 3)
    )
    prepared = keras.applications.mobilenet_v2.preprocess_input(pixels.astype("float32"))
    ours, theirs = features_model(model)(pixels).numpy(), direct(prepared).numpy()
    assert ours.std() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
