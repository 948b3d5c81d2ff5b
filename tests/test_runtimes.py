"""Runtimes: any number of images in, Keras' own scores out, memory flat."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from bundles import make_manifest

import plugins
from daemon import artifacts
from daemon.catalogue import Catalogue
from daemon.config import Selection
from daemon.contracts import CompiledRuntime
from daemon.errors import BundleError, RuntimeLoadError
from daemon.frozen import batch_sizes, freeze
from daemon.loader import load_plugins
from daemon.preprocessing import Geometry
from plugins.runtimes.keras_runtime import KerasOptions, KerasRuntime

# Keras 3.15 with NumPy 2 warns whenever it copies a variable out of TensorFlow.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MAX_BATCH = 6
REGISTERED = Catalogue(load_plugins(plugins.BUILTIN, ())).runtimes


@pytest.fixture(scope="module")
def model():
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    return artifacts.write_bundle(model, make_manifest(), tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def executable(bundle):
    return KerasRuntime(KerasOptions()).load(bundle, MAX_BATCH)


@pytest.fixture(scope="module", params=sorted(REGISTERED.entries))
def any_executable(request, model, bundle, tmp_path_factory):
    """The bundle as each registered runtime executes it."""
    runtime = REGISTERED.build(Selection(request.param), Path())
    if not isinstance(runtime, CompiledRuntime):
        return runtime.load(bundle, MAX_BATCH)
    try:
        assert runtime.key()
    except RuntimeLoadError as error:
        pytest.skip(str(error))
    with pytest.raises(RuntimeLoadError, match="models compile"):
        runtime.load(bundle, MAX_BATCH)
    folder = tmp_path_factory.mktemp("compiled")
    runtime.compile(freeze(model), folder)
    return runtime.open(folder, MAX_BATCH)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 3, 5, 6, 7, 40])
def test_scores_are_those_of_keras_for_any_number_of_images(model, any_executable, images, count):
    scores = any_executable(images[:count])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, model(images[:count]).numpy(), atol=1e-5)


def test_an_image_has_the_same_scores_in_any_batch(any_executable, images):
    together = any_executable(images)
    alone = np.concatenate([any_executable(image[None]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_few_batch_sizes_reach_the_graph():
    assert batch_sizes(1) == [1]
    assert batch_sizes(6) == [1, 2, 4, 6]
    assert batch_sizes(32) == [1, 2, 4, 8, 16, 32]


def test_memory_stays_flat_over_thousands_of_odd_batches(any_executable, images):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def run(calls):
        counts = np.random.default_rng(calls).integers(1, 3 * MAX_BATCH, calls)
        for count in counts:
            any_executable(images[:count])

    run(200)
    before = resident()
    run(1000)
    assert resident() - before < 8 * 2**20


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ("a", "b", "c")},
        {"reading": "binary"},
        {"geometry": Geometry(16, 16)},
    ],
)
def test_a_model_that_does_not_fit_its_manifest_is_refused(model, tmp_path, changes):
    bundle = artifacts.write_bundle(model, make_manifest(**changes), tmp_path)
    with pytest.raises(BundleError, match="its manifest says") as caught:
        KerasRuntime(KerasOptions()).load(bundle, MAX_BATCH)
    assert str(bundle) in str(caught.value)


def test_threads_cannot_change_once_tensorflow_runs(bundle, executable):
    with pytest.raises(RuntimeLoadError, match="intra_threads 3"):
        KerasRuntime(KerasOptions(intra_threads=3)).load(bundle, MAX_BATCH)


def test_a_second_model_loads_beside_the_first(bundle, executable, images):
    second = KerasRuntime(KerasOptions()).load(bundle, MAX_BATCH)
    np.testing.assert_array_equal(second(images), executable(images))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("openvino", "openvino"), ("litert", "classifyd[litert]"), ("onnx", "classifyd[onnx]")],
)
def test_a_library_that_is_missing_is_named_with_the_way_to_install_it(name, remedy, monkeypatch):
    def version(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(RuntimeLoadError) as caught:
        REGISTERED.build(Selection(name), Path()).key()
    assert f"pip install '{remedy}'" in str(caught.value)


def test_registering_loads_nothing_heavy():
    code = (
        "import sys; from plugins.runtimes import litert_runtime, onnx_runtime, openvino_runtime\n"
        "parts = litert_runtime, onnx_runtime, openvino_runtime\n"
        "for factory in (factory for part in parts for factory in part.register_runtimes()):\n"
        "    factory.build(factory.options()).variants()\n"
        "print(sorted({'keras', 'tensorflow', 'numpy', 'PIL', 'openvino', 'ai_edge_litert',"
        " 'onnxruntime', 'tf2onnx'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_onnx_runtime_writes_nothing_of_its_own_and_tells_nobody(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from plugins.runtimes.onnx_runtime import OnnxOptions, OnnxRuntime\n"
        "try:\n    OnnxRuntime(OnnxOptions()).open(Path('/nowhere'), 1)\n"
        "except Exception:\n    print('onnxruntime' in sys.modules)"
    )
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=environment | places,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), list(tmp_path.iterdir())) == ("True", [])
