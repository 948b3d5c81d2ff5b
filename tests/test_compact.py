"""The network of the package's own: what it is, and that its shipped weights are what they say."""

import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from daemon.artifacts import MODEL_FILE, read_manifest
from daemon.classifier import backbone_of, build_classifier, load_model
from daemon.contracts import DecodeLimits
from daemon.errors import ConfigError, WeightsError
from daemon.images.decode import decode
from daemon.preprocessing import Geometry
from plugins.backbones.compact import BUNDLE, Compact, register_backbones
from plugins.heads.softmax import SoftmaxHead, SoftmaxOptions

# Keras saves with an older NumPy protocol than NumPy 2 asks for.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TEST_ZIP = Path(__file__).parents[1].parent / "shared" / "data" / "cifar10" / "test.zip"
LIMITS = DecodeLimits(10**6, 10**6, 100, 20.0, 1, frozenset({"jpeg"}))


@pytest.fixture(scope="module")
def bundled():
    return load_model(BUNDLE / MODEL_FILE)


def test_the_network_is_the_documented_one():
    net = Compact().build(64, 64, "none")
    assert net.output_shape == (None, 4, 4, 992)
    assert net.count_params() == 1_715_872


def test_the_bundle_verifies_and_stays_small():
    manifest = read_manifest(BUNDLE)
    assert manifest.classes == tuple(sorted(manifest.classes))
    assert len(manifest.classes) == 10
    assert sum(file.size for file in manifest.files.values()) < 8_000_000


def test_the_bundle_scores_a_batch(bundled):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    scores = bundled(pixels).numpy()
    assert scores.shape == (3, 11), "ten classes, and how novel the image is"
    np.testing.assert_allclose(scores[:, :10].sum(axis=1), 1, atol=1e-5)


def test_the_bundle_takes_four_megabytes_of_the_wheel_at_most():
    packed = sum(len(zlib.compress(path.read_bytes(), 6)) for path in BUNDLE.iterdir())
    assert packed <= 4_000_000


@pytest.mark.parametrize("size", [48, 64, 96])
def test_bundled_weights_reach_a_new_classifier_of_any_size(bundled, size):
    head = SoftmaxHead(SoftmaxOptions())
    model = build_classifier(Compact(), head, ["a", "b"], Geometry(size, size))
    shipped = backbone_of(bundled).get_weights()
    for built, expected in zip(backbone_of(model).get_weights(), shipped, strict=True):
        np.testing.assert_array_equal(built, expected)


def test_weights_may_come_from_a_file(tmp_path):
    net = Compact().build(64, 64, "none")
    net.save_weights(tmp_path / "own.weights.h5")
    again = Compact().build(48, 48, str(tmp_path / "own.weights.h5"))
    np.testing.assert_array_equal(again.get_weights()[0], net.get_weights()[0])


def test_a_file_of_another_network_is_refused_by_name(tmp_path):
    import keras

    image = keras.Input((4,))
    keras.Model(image, keras.layers.Dense(1)(image)).save(tmp_path / "other.keras")
    with pytest.raises(WeightsError, match=r"other\.keras.*backbone 'compact'"):
        Compact().build(64, 64, str(tmp_path / "other.keras"))


def test_too_small_an_input_is_refused():
    with pytest.raises(ConfigError, match="at least 48"):
        build_classifier(Compact(), SoftmaxHead(SoftmaxOptions()), ["a", "b"], Geometry(32, 32))


def test_registering_needs_neither_keras_nor_numpy():
    code = (
        "import sys, plugins.backbones.compact as c; list(c.register_backbones());"
        "sys.exit(bool({'keras', 'tensorflow', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    assert [factory.name for factory in register_backbones()] == ["compact"]


@pytest.mark.slow
@pytest.mark.skipif(not TEST_ZIP.exists(), reason="needs the CIFAR-10 test images in shared/data")
def test_the_bundle_is_as_good_as_it_says(bundled):
    manifest = read_manifest(BUNDLE)
    with zipfile.ZipFile(TEST_ZIP) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        pixels = np.empty((len(names), 64, 64, 3), np.uint8)
        for name, out in zip(names, pixels, strict=True):
            decode(archive.read(name), "", manifest.geometry, LIMITS, out)
    expected = [manifest.classes.index(name.split("/")[0]) for name in names]
    top1 = np.mean(bundled.predict(pixels, 250, verbose=0)[:, :10].argmax(axis=1) == expected)
    assert top1 >= 0.90
    assert top1 == pytest.approx(manifest.metrics["test_top1"], abs=0.002)
