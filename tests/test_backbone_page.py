"""The page on writing a backbone: its files load, train and come back from disk as it says."""

import importlib
import runpy
import sys

import numpy as np
import pytest
from pages import typed

from daemon.classifier import build_classifier, layer_modules, load_model
from daemon.errors import WeightsError
from daemon.loader import load_plugins
from daemon.preprocessing import Geometry
from plugins.heads.softmax import SoftmaxHead, SoftmaxOptions

# Keras 3.15 with NumPy 2 warns whenever it copies a variable out of TensorFlow.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def page(tmp_path):
    """The folder with the files of the how-to, as if its reader had typed them."""
    with typed("how-to/write-a-backbone.md", tmp_path) as folder:
        yield folder


def registered_by(*extra):
    loaded = load_plugins((), extra)
    assert not loaded.broken
    (factory,) = loaded.manager.hook.register_backbones()[0]
    return factory


def test_the_pages_backbone_loads_from_its_file_and_trains_on_its_own_weights(page):
    factory = registered_by(str(page / "tiny.py"))
    runpy.run_path("save_weights.py")
    backbone = factory.build(factory.options(filters=24))
    net = backbone.build(32, 32, "tiny.weights.h5")
    again = backbone.build(64, 64, "tiny.weights.h5")
    for one, other in zip(net.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(WeightsError, match="do not fit 'tiny'"):
        factory.build(factory.options(filters=8)).build(32, 32, "tiny.weights.h5")


def test_the_pages_own_test_passes(page):
    importlib.import_module("test_tiny").test_tiny_survives_the_disk(page)


def test_the_pages_package_with_a_layer_of_its_own_comes_back_from_disk(page):
    factory = registered_by("lighting")
    assert "lighting.layers" not in sys.modules
    backbone = factory.build(factory.options())
    head = SoftmaxHead(SoftmaxOptions())
    model = build_classifier(backbone, head, ["a", "b"], Geometry(16, 16))
    model.save(page / "model.keras")
    assert layer_modules(model) == ("lighting.layers",)
    loaded = load_model(page / "model.keras", layer_modules(model))
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model(images), loaded(images))
