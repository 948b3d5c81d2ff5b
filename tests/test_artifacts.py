"""Bundles: atomic, verified, and refused by name when something does not fit."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import make_manifest

from daemon import artifacts
from daemon.classifier import load_model
from daemon.durable import clean_leftovers
from daemon.errors import BundleError
from daemon.preprocessing import Geometry
from daemon.testing import stub_bundle

# Keras 3.15 with NumPy 2 warns whenever it copies a variable out of TensorFlow.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    import keras

    inputs = keras.Input((8, 8, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(inputs)
    pooled = keras.layers.GlobalAveragePooling2D()(scaled)
    outputs = keras.layers.Dense(2, activation="softmax")(pooled)
    model = keras.Model(inputs, outputs)
    return artifacts.write_bundle(model, make_manifest(), tmp_path_factory.mktemp("models"))


@pytest.fixture
def copy(bundle, tmp_path):
    return artifacts.install_bundle(bundle, tmp_path / "models")


def rewrite(bundle, **changes):
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_written_bundle_reads_back_whole_and_leaves_nothing_else(bundle):
    manifest = artifacts.read_manifest(bundle)
    assert manifest.classes == ("cat", "dog")
    assert manifest.head.options == {"dropout": 0.2}
    assert manifest.geometry == Geometry(8, 8)
    assert set(manifest.versions) == {"keras", "tensorflow"}
    assert bundle.name == f"tiny-{artifacts.digest(bundle)[:12]}"
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_the_model_of_a_bundle_loads(bundle):
    model = load_model(bundle / artifacts.MODEL_FILE, artifacts.read_manifest(bundle).modules)
    assert model.input_shape == (None, 8, 8, 3)
    assert model.output_shape == (None, 2)


def test_installing_twice_is_one_directory(bundle, tmp_path):
    first = artifacts.install_bundle(bundle, tmp_path / "models")
    assert artifacts.install_bundle(bundle, tmp_path / "models") == first
    assert artifacts.digest(first) == artifacts.digest(bundle)
    assert list((tmp_path / "models").iterdir()) == [first]


def test_an_altered_model_is_refused_and_not_installed(copy, tmp_path):
    with (copy / "model.keras").open("ab") as file:
        file.write(b"!")
    with pytest.raises(BundleError, match=r"model\.keras was altered") as caught:
        artifacts.install_bundle(copy, tmp_path / "elsewhere")
    assert str(copy) in str(caught.value)
    assert not (tmp_path / "elsewhere").exists()
    assert artifacts.read_manifest(copy, verify=False).name == "tiny"


def test_a_missing_model_is_refused(copy):
    (copy / "model.keras").unlink()
    with pytest.raises(BundleError, match=r"model\.keras is missing"):
        artifacts.read_manifest(copy)


def test_a_directory_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"there is no manifest\.json"):
        artifacts.read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format 99 was made by a newer classifyd"),
        ({"format": None}, "no format number"),
        ({"classes": []}, "classes: .*at least 1"),
        ({"classes": ["cat", "cat"]}, "classes: 'cat' is listed more than once"),
        (
            {"geometry": {"height": 8, "width": 8, "fit": "crop", "kernel": "lanczos"}},
            "resize kernel 'lanczos' is not one of: bilinear-antialias",
        ),
        ({"files": {}}, r"lists no model\.keras"),
        ({"files": {"../../etc/passwd": {"sha256": "0" * 64, "size": 1}}}, "files"),
        ({"reading": "guess"}, "reading: "),
        ({"temperature": 0.0}, "temperature: "),
        ({"surprise": 1}, "surprise: "),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_by_name(copy, changes, message):
    rewrite(copy, **changes)
    with pytest.raises(BundleError, match=message) as caught:
        artifacts.read_manifest(copy)
    assert str(copy) in str(caught.value)


def test_a_damaged_manifest_is_refused(copy):
    (copy / "manifest.json").write_bytes(b'{"format": 1, "na')
    with pytest.raises(BundleError, match="is no JSON"):
        artifacts.read_manifest(copy)


def test_a_failing_writer_leaves_nothing(tmp_path):
    class Broken:
        def save(self, path: Path) -> None:
            path.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        artifacts.write_bundle(Broken(), make_manifest(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_writer_are_cleaned_and_a_living_ones_are_not(tmp_path):
    killed = (
        "import os, sys; from pathlib import Path; from daemon import artifacts\n"
        "class M:\n"
        "    def save(self, path): path.write_bytes(b'x'); os._exit(9)\n"
        "from tests.bundles import make_manifest\n"
        "artifacts.write_bundle(M(), make_manifest(), Path(sys.argv[1]))\n"
    )
    folder = tmp_path / "models"
    subprocess.run([sys.executable, "-c", killed, folder], cwd=Path(__file__).parents[1])
    (leftover,) = folder.iterdir()
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    assert clean_leftovers(folder) == []
    os.close(handle)
    assert clean_leftovers(folder) == [leftover]
    assert list(folder.iterdir()) == []


def test_a_bundle_that_a_killed_process_did_not_register_is_taken_up(copy, caplog):
    folder = copy.parent
    damaged = artifacts.install_bundle(stub_bundle(folder.parent / "stubs"), folder)
    (damaged / "model.keras").write_bytes(b"half")
    (folder / ".bundle-x.part").mkdir()
    taken = []

    def register(bundle):
        artifacts.read_manifest(bundle)
        taken.append(bundle)

    with artifacts.registering(folder):  # somebody is between writing and registering
        artifacts.adopt(folder, frozenset, register)
    assert taken == []
    artifacts.adopt(folder, lambda: {copy.name}, register)
    assert taken == [] and "belongs to no model version" in caplog.text and damaged.is_dir()
    artifacts.adopt(folder, frozenset, register)
    assert taken == [copy]


def test_reading_a_manifest_loads_neither_keras_nor_numpy(bundle):
    code = (
        "import sys; from pathlib import Path; from daemon import artifacts\n"
        f"artifacts.read_manifest(Path({str(bundle)!r}))\n"
        "print(sorted({'keras', 'tensorflow', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
