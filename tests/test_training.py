"""Training from class folders: what is learned from, what is held out, what is left out."""

import shutil
from collections import Counter

import numpy as np
import pytest
from benches import (
    COLOURS,
    GEOMETRY,
    TinyBackbone,
    draw,
    make_bench,
    make_head,
    make_plan,
    make_retrainer,
    quiet,
)

from daemon import artifacts
from daemon.classifier import backbone_of, build_classifier
from daemon.errors import TrainingError
from daemon.training import Item, collect, cut, make_manifest, split_holdout, train

# Keras 3.15 with NumPy 2 warns whenever it copies a variable out of TensorFlow.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def folder(tmp_path):
    for name in COLOURS:
        draw(tmp_path / "images", name, 10)
    return tmp_path / "images"


def run(folder, tmp_path, bench=None, known=None, options=None):
    bench = bench or make_bench(tmp_path)
    plan = make_plan()
    retrainer = make_retrainer("probe", options or {})
    return train(collect(folder, quiet), retrainer, plan, bench, known)


def items(counts):
    return [
        Item(f"{label}/{number}", label, f"{label}{number}")
        for label, count in counts.items()
        for number in range(count)
    ]


def test_sub_folders_are_classes_in_order_and_files_below_them_images(folder):
    (folder / "red" / "deeper").mkdir()
    (folder / "red" / "001.png").rename(folder / "red" / "deeper" / "001.png")
    (folder / ".cache").mkdir()
    (folder / "red" / ".DS_Store").write_bytes(b"x")
    (folder / "notes.txt").write_text("not a class")
    collection = collect(folder, quiet)
    assert collection.classes == ("blue", "green", "red")
    assert Counter(item.label for item in collection.items) == dict.fromkeys(COLOURS, 10)
    assert collection.skipped == ()


def test_the_same_bytes_count_once_and_under_two_classes_not_at_all(folder):
    shutil.copy(folder / "red" / "001.png", folder / "red" / "copy.png")
    shutil.copy(folder / "red" / "002.png", folder / "blue" / "wrong.png")
    collection = collect(folder, quiet)
    reasons = {skipped.path.relative_to(folder): skipped.reason for skipped in collection.skipped}
    assert {str(path) for path in reasons} == {"red/copy.png", "red/002.png", "blue/wrong.png"}
    assert all(
        "blue and red" in reason for path, reason in reasons.items() if path.name != "copy.png"
    )
    assert len({item.sha256 for item in collection.items}) == len(collection.items) == 29


def test_too_little_to_train_on_is_refused_by_name(folder):
    for number in range(6):
        (folder / "green" / f"{number:03}.png").unlink()
    with pytest.raises(TrainingError, match="class 'green' has 4 usable images"):
        collect(folder, quiet)
    for number in range(6, 8):
        shutil.copy(folder / "green" / f"{number:03}.png", folder / "red" / f"green{number}.png")
    with pytest.raises(TrainingError) as refused:
        collect(folder, quiet)
    assert "class 'green' has 2 usable images" in str(refused.value)
    assert "; 2 were left out:\n" in str(refused.value)
    assert "green/006.png: the same image is under green and red" in str(refused.value)
    shutil.rmtree(folder / "green")
    shutil.rmtree(folder / "blue")
    with pytest.raises(TrainingError, match=r"has 1 class folders \(red\)"):
        collect(folder, quiet)
    with pytest.raises(TrainingError, match="No such file"):
        collect(folder / "nowhere", quiet)


def test_a_fifth_of_every_class_is_held_out_whatever_the_order():
    found = items({"a": 50, "b": 20, "c": 5})
    sides = split_holdout(found, seed=3)
    held_out = Counter(item.label for item in found if sides[item.sha256] == "holdout")
    assert held_out == {"a": 10, "b": 4, "c": 1}
    assert split_holdout(reversed(found), seed=3) == sides
    assert split_holdout(found, seed=4) != sides


def test_no_content_ever_changes_sides():
    first = split_holdout(items({"a": 20}), seed=1)
    grown = split_holdout(items({"a": 100}), seed=2, known=first)
    assert {sha256: grown[sha256] for sha256 in first} == first
    assert sum(side == "holdout" for side in grown.values()) == 20


def test_training_learns_and_judges_on_images_it_never_saw(folder, tmp_path):
    stages = {}

    def progress(stage, done, total):
        stages[stage] = done, total

    trained = run(folder, tmp_path, make_bench(tmp_path, progress=progress))
    assert trained.metrics["holdout_accuracy"] == 1.0
    assert trained.metrics["holdout_images"] == 6
    assert trained.metrics["training_images"] == 24
    assert trained.metrics["holdout_accuracy_by_class"] == dict.fromkeys(COLOURS, 1.0)
    assert Counter(image.side for image in trained.images) == {"train": 24, "holdout": 6}
    assert (trained.images[0].facts.width, trained.images[0].facts.height) == (24, 20)
    assert stages["features"] == (30, 30)
    assert stages["score"] == (24, 24)


def test_unreadable_files_are_reported_and_stop_nothing(folder, tmp_path):
    whole = (folder / "red" / "000.png").read_bytes()
    (folder / "red" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "blue" / "list.txt").write_text("sky, sea")
    trained = run(folder, tmp_path)
    assert {skipped.path.name for skipped in trained.skipped} == {"cut.png", "list.txt"}
    assert all(skipped.reason for skipped in trained.skipped)
    assert len(trained.images) == 30


def test_a_class_of_unreadable_files_is_refused(folder, tmp_path):
    for number in range(6):
        (folder / "red" / f"{number:03}.png").write_text(f"broken {number}")
    with pytest.raises(TrainingError, match="class 'red' has 4 usable images"):
        run(folder, tmp_path)


def test_the_backbone_stays_as_it_was_and_a_seed_repeats_a_run(folder, tmp_path):
    import keras

    keras.utils.set_random_seed(0)
    head = make_head("softmax", {}).head
    fresh = build_classifier(TinyBackbone(), head, tuple(COLOURS), GEOMETRY, "none")
    first, second = run(folder, tmp_path), run(folder, tmp_path)
    for before, after in zip(
        backbone_of(fresh).get_weights(), backbone_of(first.model).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    for one, other in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert first.images == second.images


def test_a_rare_class_is_recognised(tmp_path):
    draw(tmp_path / "images", "red", 60)
    draw(tmp_path / "images", "blue", 5)
    trained = run(tmp_path / "images", tmp_path)
    assert trained.metrics["holdout_accuracy_by_class"] == {"blue": 1.0, "red": 1.0}


@pytest.mark.parametrize(
    ("head", "options"),
    [
        pytest.param("binary", {"hidden": 8}, marks=pytest.mark.slow),
        ("linear_svm", {}),
        ("linear_svm", {"pooling": "max"}),
        ("multilabel", {}),
        pytest.param("multilabel", {"hidden": 8}, marks=pytest.mark.slow),
        ("prototype", {}),
        ("softmax", {"pooling": "flatten", "hidden": 8}),
        ("softmax", {"pooling": "max"}),
    ],
)
def test_every_head_learns(tmp_path, head, options):
    for name in ("blue", "red"):
        draw(tmp_path / "images", name, 10)
    bench = make_bench(tmp_path, head, head_options=options)
    trained = run(tmp_path / "images", tmp_path, bench, options={"strength": 1e-4, "folds": 1})
    assert trained.metrics["holdout_accuracy"] == 1.0


def test_what_was_trained_is_what_the_bundle_serves(folder, tmp_path):
    from daemon.scores import verdicts
    from plugins.runtimes.keras_runtime import KerasOptions, KerasRuntime

    trained = run(folder, tmp_path)
    challenger = trained.challenger
    manifest = make_manifest(challenger, trained.metrics, "colours", "2025-01-02T03:04:05Z")
    bundle = artifacts.write_bundle(trained.model, manifest, tmp_path / "models")
    served = KerasRuntime(KerasOptions()).load(bundle, 4)
    images = np.array([np.full((16, 16, 3), rgb) for rgb in COLOURS.values()], np.uint8)
    read = artifacts.read_manifest(bundle)
    assert read.metrics["holdout_accuracy"] == 1.0
    assert read.backbone.weights == "none"
    limits = challenger.limits
    told = verdicts(
        served(images),
        read.classes,
        read.reading,
        read.temperature,
        limits=limits,
        has_novelty=read.has_novelty,
    )
    assert [verdict.label for verdict in told] == list(COLOURS)
    assert read.unknown == challenger.unknown
    assert limits.novelty == read.unknown.novelty


def test_known_sides_are_kept(folder, tmp_path):
    found = collect(folder, quiet).items
    known = {item.sha256: "train" for item in found if item.label == "red"}
    trained = run(folder, tmp_path, known=known)
    assert {image.side for image in trained.images if image.label == "red"} == {"train"}
    with pytest.raises(TrainingError, match="every image of class 'red' is held out"):
        run(folder, tmp_path, known=dict.fromkeys(known, "holdout"))


def test_a_backbone_that_gives_no_numbers_is_refused(folder, tmp_path):
    bench = make_bench(tmp_path, "softmax", TinyBackbone(float("nan")), head_options={"hidden": 8})
    with pytest.raises(TrainingError, match="no number"):
        run(folder, tmp_path, bench)
    with pytest.raises(TrainingError, match="no number"):
        run(folder, tmp_path, make_bench(tmp_path, backbone=TinyBackbone(float("nan"))))


def test_a_pooling_head_keeps_small_features_and_any_other_the_map():
    plain = type(make_head("softmax", {}).head)

    class Both(plain):
        def attach(self, features, classes):
            from keras import layers

            pooled = layers.GlobalAveragePooling2D()(features)
            x = layers.Concatenate()([pooled, layers.Flatten()(features)])
            return layers.Dense(classes, "softmax")(x)

    def kept(head):
        model = build_classifier(TinyBackbone(), head, ("a", "b"), GEOMETRY, "none")
        front, back = cut(model)
        image = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
        np.testing.assert_allclose(back(front(image)), model(image), atol=1e-6)
        return front.output_shape[1:]

    assert kept(make_head("softmax", {}).head) == (8,)
    assert kept(make_head("softmax", {"pooling": "flatten"}).head) == (4, 4, 8)
    assert kept(Both(None)) == (4, 4, 8)
