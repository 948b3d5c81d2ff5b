"""Every registered head keeps the contract and learns what it is for."""

import importlib
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
from pages import typed
from pydantic import ValidationError

import plugins
from daemon.errors import TrainingError
from daemon.loader import load_plugins
from plugins.heads.binary import BinaryHead, BinaryOptions
from plugins.heads.multilabel import MultilabelHead, MultilabelOptions
from plugins.heads.softmax import SoftmaxHead, SoftmaxOptions

# Keras 3.15 with NumPy 2 warns whenever it copies a variable out of TensorFlow.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MODULES = [name for name in plugins.BUILTIN if ".heads." in name]
REGISTERED = [
    factory
    for factories in load_plugins(MODULES, ()).manager.hook.register_heads()
    for factory in factories
]
CLASSES = ("cat", "dog")


def over_features(head, classes=2, shape=(2, 3, 5)):
    import keras

    keras.utils.set_random_seed(5)
    features = keras.Input(shape)
    return keras.Model(features, head.attach(features, classes))


def separable(count=64):
    """Feature maps `[N, 2, 3, 5]` of two classes that differ in the first channel."""
    rng = np.random.default_rng(2)
    indices = np.arange(count) % 2
    maps = rng.normal(0, 0.3, (count, 2, 3, 5)).astype("float32")
    maps[..., 0] += 2 * indices[:, None, None]
    return maps, indices


def test_registering_imports_no_keras_or_numpy():
    code = (
        f"import importlib, sys\n"
        f"for name in {MODULES}:\n"
        f"    list(importlib.import_module(name).register_heads())\n"
        f"print(sorted({{'keras', 'tensorflow', 'numpy', 'PIL'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("factory", REGISTERED, ids=lambda factory: factory.name)
def test_keeps_the_contract_and_learns(factory):
    head = factory.build(factory.options())
    assert head.name == factory.name
    head.check(CLASSES)
    model = over_features(head)
    assert model.layers[-1].name == "head_scores"
    assert all(layer.name.startswith("head_") for layer in model.layers[1:])
    maps, indices = separable()
    maps[..., 2] += 2 * (1 - indices)[:, None, None]
    targets = head.targets(indices, 2)
    assert targets.dtype == np.float32
    assert targets.shape == model(maps).shape
    assert model.output.dtype == "float32"
    model.compile("adam", head.loss(), metrics=[head.metric()])
    model.optimizer.learning_rate = 0.1
    model.fit(maps, targets, epochs=15, verbose=0)
    _, accuracy = model.evaluate(maps, targets, verbose=0)
    assert accuracy > 0.95


def test_readings_cover_how_scores_are_read():
    readings = {factory.name: factory.build(factory.options()).reading for factory in REGISTERED}
    assert readings == {
        "softmax": "probabilities",
        "binary": "binary",
        "multilabel": "independent",
        "linear_svm": "margins",
        "prototype": "probabilities",
    }


def test_softmax_scores_sum_to_one():
    head = SoftmaxHead(SoftmaxOptions(hidden=7, dropout=0))
    scores = over_features(head, classes=4)(separable()[0]).numpy()
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(("pooling", "inputs"), [("average", 5), ("max", 5), ("flatten", 30)])
def test_softmax_pooling(pooling, inputs):
    model = over_features(SoftmaxHead(SoftmaxOptions(pooling=pooling)), classes=4)
    assert model.get_layer("head_scores").kernel.shape == (inputs, 4)


def test_label_smoothing_moves_the_best_answer_away_from_certainty():
    target = np.array([[0.0, 1.0]], np.float32)
    sure, doubtful = np.array([[0.001, 0.999]]), np.array([[0.05, 0.95]])
    plain = SoftmaxHead(SoftmaxOptions()).loss()
    smooth = SoftmaxHead(SoftmaxOptions(label_smoothing=0.1)).loss()
    assert float(plain(target, sure)) < float(plain(target, doubtful))
    assert float(smooth(target, sure)) > float(smooth(target, doubtful))


def test_binary_is_flatten_dense_256_relu_dense_1_sigmoid():
    model = over_features(BinaryHead(BinaryOptions()))
    assert [type(layer).__name__ for layer in model.layers[1:]] == ["Flatten", "Dense", "Dense"]
    hidden, last = model.layers[2:]
    assert (hidden.units, hidden.activation.__name__) == (256, "relu")
    assert (last.units, last.activation.__name__) == (1, "sigmoid")


def test_binary_calls_the_second_class_one():
    head = BinaryHead(BinaryOptions())
    np.testing.assert_array_equal(head.targets(np.array([0, 1, 1]), 2), [[0], [1], [1]])


@pytest.mark.parametrize("classes", [(), ("cat",), ("cat", "dog", "owl")])
def test_binary_refuses_any_number_of_classes_but_two(classes):
    with pytest.raises(TrainingError, match=f"exactly two classes apart, got {len(classes)}"):
        BinaryHead(BinaryOptions()).check(classes)


def test_softmax_refuses_a_single_class():
    with pytest.raises(TrainingError, match=r"at least two classes, got 1 \(cat\)"):
        SoftmaxHead(SoftmaxOptions()).check(("cat",))


def test_multilabel_takes_class_numbers_or_a_row_of_yes_and_no():
    head = MultilabelHead(MultilabelOptions())
    np.testing.assert_array_equal(head.targets(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    both = np.array([[1, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(head.targets(both, 3), both)
    with pytest.raises(TrainingError, match="has 4 classes, but its targets have 3 columns"):
        head.targets(both, 4)


def test_multilabel_learns_two_classes_at_once():
    head = MultilabelHead(MultilabelOptions(dropout=0))
    maps, indices = separable()
    maps[::3, ..., 1] += 3
    targets = head.targets(np.stack([indices, np.arange(64) % 3 == 0], axis=1), 2)
    model = over_features(head)
    model.compile("adam", head.loss())
    model.optimizer.learning_rate = 0.1
    model.fit(maps, targets, epochs=15, verbose=0)
    np.testing.assert_array_equal(model(maps).numpy() > 0.5, targets > 0.5)


def test_options_out_of_range_are_refused():
    for wrong in ({"dropout": 1.0}, {"hidden": -1}, {"pooling": "median"}, {"units": 3}):
        with pytest.raises(ValidationError):
            SoftmaxOptions(**wrong)


def test_the_pages_head_loads_from_its_file_and_its_own_test_passes(tmp_path):
    with typed("how-to/write-a-head.md", tmp_path):
        loaded = load_plugins((), [str(tmp_path / "cosine.py")])
        ((factory,),) = loaded.manager.hook.register_heads()
        assert factory.build(factory.options(sharpness=20)).name == "cosine"
        importlib.import_module("test_cosine").test_cosine_learns_and_its_scores_sum_to_one()


def test_the_methods_numbers_are_right(tmp_path, capsys):
    with typed("explanation/method.md", tmp_path):
        told = re.findall(r"^print.*# (.*)$", (tmp_path / "step.py").read_text(), re.MULTILINE)
        runpy.run_path("step.py")
    assert capsys.readouterr().out.splitlines() == told
    assert len(told) == 2
