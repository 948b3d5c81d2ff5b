"""Every strategy learns, keeps to its budget, calibrates out of fold, and can be repeated."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from benches import COLOURS, RETRAINERS, draw, make_bench, make_plan, make_retrainer

from daemon.errors import OverBudget, TrainingError
from daemon.learning.dataset import Dataset, Example
from daemon.training import score_images
from daemon.training.challenger import Challenger

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def dataset(folder, count=10, held_out=3, names=COLOURS):
    for name in names:
        draw(folder / "images", name, count + held_out)
    return Dataset(
        tuple(sorted(names)),
        tuple(
            Example(
                hashlib.sha256(path.read_bytes()).hexdigest(),
                path,
                name,
                "train" if number < count else "holdout",
                "0" * 16,
                None,
                str(path.parent),
            )
            for name in names
            for number, path in enumerate(sorted((folder / "images" / name).iterdir()))
        ),
    )


def make_default(name, options):
    build, model = RETRAINERS[name]
    return build(model(**options))


def accuracy(challenger, data, bench):
    return score_images(challenger, data.on("holdout"), bench.limits, bench.progress).accuracy


@pytest.mark.parametrize("strategy", ["probe", "finetune", "recipe"])
def test_a_strategy_learns_and_says_how_sure_it_may_be(tmp_path, strategy):
    data, bench = dataset(tmp_path), make_bench(tmp_path)
    challenger = make_retrainer(strategy, {}).train(make_plan(strategy), data, bench)
    assert accuracy(challenger, data, bench) == 1.0
    assert set(challenger.out_of_fold.sha256s) <= {e.sha256 for e in data.on("train")}
    assert challenger.metrics["out_of_fold_accuracy"] == 1.0
    assert 0 < challenger.temperature < 50
    assert challenger.limits.threshold is not None
    assert challenger.limits.novelty > 0
    assert challenger.model.output_shape == (None, 4)
    assert challenger.plan.options["folds"] >= 1
    assert challenger.reasons


def test_the_holdout_changes_nothing(tmp_path):
    data, bench = dataset(tmp_path), make_bench(tmp_path)
    blind = Dataset(data.classes, data.on("train"))
    first, second = (
        make_retrainer("probe", {}).train(make_plan(), each, bench) for each in (data, blind)
    )
    np.testing.assert_array_equal(first.out_of_fold.scores, second.out_of_fold.scores)
    assert (first.temperature, first.unknown) == (second.temperature, second.unknown)


@pytest.mark.slow
def test_a_run_is_repeated_from_its_plan(tmp_path):
    data, bench = dataset(tmp_path), make_bench(tmp_path)
    first = make_retrainer("finetune", {"folds": None}).train(make_plan("finetune"), data, bench)
    again = make_retrainer("finetune", first.plan.options).train(first.plan, data, bench)
    assert again.plan.options == first.plan.options
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_finetuning_moves_the_backbone_but_not_its_batch_statistics(tmp_path):
    import keras

    from daemon.classifier import backbone_of, build_classifier

    data, bench = dataset(tmp_path), make_bench(tmp_path)
    keras.utils.set_random_seed(0)
    recipe = bench.recipe
    start = build_classifier(recipe.backbone, recipe.head, data.classes, recipe.geometry, "none")
    tuned = make_retrainer("finetune", {}).train(make_plan("finetune"), data, bench)
    for before, after in zip(
        backbone_of(start).layers, backbone_of(tuned.model).layers, strict=True
    ):
        same = [
            np.array_equal(x, y)
            for x, y in zip(before.get_weights(), after.get_weights(), strict=True)
        ]
        if isinstance(before, keras.layers.BatchNormalization):
            assert all(same)
        elif same:
            assert not any(same)


def test_blending_gives_the_mean_of_all_fits(tmp_path):
    from daemon.learning.options import Tuning
    from daemon.training.finetuning import FineTuner
    from daemon.training.probing import Probe

    data, bench = dataset(tmp_path), make_bench(tmp_path)
    probe = Probe(bench, data.classes, data.on("train"), seed=0)
    tuner = FineTuner(bench, probe, 1.0, Tuning(epochs=1, least_steps=4))
    fits = []
    for examples in (tuner.examples, tuner.examples[::2]):
        tuner.fit(examples)
        fits.append(tuner.model.get_weights())
    tuner.blend()
    assert any(not np.allclose(one, other) for one, other in zip(*fits, strict=True))
    for one, other, mean in zip(*fits, tuner.model.get_weights(), strict=True):
        np.testing.assert_allclose(mean, (one + other) / 2, atol=1e-6)


def test_auto_takes_two_at_a_time_to_the_images_that_both_were_judged_by(tmp_path):
    from daemon.training.challenger import OutOfFold
    from plugins.retrainers.auto import _best

    def judged(strategy, right):
        """Answers on images 0, 1, …: a 1 is right, a 0 wrong, None not judged."""
        rows = [row for row, each in enumerate(right) if each is not None]
        scores = np.array([[0.8, 0.2] if right[row] else [0.2, 0.8] for row in rows], np.float32)
        truth = np.zeros(len(rows), int)
        found = OutOfFold(tuple(map(str, rows)), truth, scores, scores[:, 0])
        recipe = make_bench(tmp_path).recipe
        return Challenger(recipe, ("a", "b"), None, make_plan(strategy), out_of_fold=found)

    first = judged("probe", [0, 0, 1, 0] * 10)
    clear = judged("finetune", [1, 0, 1, 1] * 10)
    close = judged("finetune", [1, 1, 0, 0] * 10)
    single = judged("recipe", [0, 1, *[None] * 38])
    told = []
    assert _best(first, [first, clear, single], 2.0, told) is clear
    assert [line.rpartition(", ")[2] for line in told] == ["40 images)", "2 images)"]
    assert _best(first, [first, close], 2.0, []) is first
    assert _best(close, [first, close], 2.0, []) is close
    assert _best(clear, [first, clear], 2.0, []) is clear
    blind = replace(first, out_of_fold=None)
    assert _best(blind, [blind, single], 2.0, []) is single
    assert _best(first, [first, replace(clear, out_of_fold=None)], 2.0, []) is first


@pytest.mark.parametrize(("images", "favoured"), [(4, "probe"), (3, "finetune")])
def test_auto_favours_fine_tuning_from_so_many_images_on(tmp_path, images, favoured):
    data = dataset(tmp_path, count=3)
    tried = [Challenger(None, (), None, make_plan(name)) for name in ("probe", "finetune")]
    auto = make_retrainer("auto", {"favourite_from": images})
    assert auto._favoured(data, tried).plan.strategy == favoured
    assert auto._favoured(data, tried[:1]).plan.strategy == "probe"


def test_auto_takes_the_best_out_of_fold_and_says_why(tmp_path):
    data, bench = dataset(tmp_path), make_bench(tmp_path)
    challenger = make_retrainer("auto", {}).train(make_plan("auto"), data, bench)
    told = "\n".join(challenger.reasons)
    assert challenger.plan.strategy in ("probe", "recipe", "finetune")
    assert "was chosen by auto" in challenger.reasons[0]
    assert all(strategy in told for strategy in ("probe", "recipe", "finetune"))
    assert accuracy(challenger, data, bench) == 1.0


def test_auto_chooses_the_head_where_it_may(tmp_path):
    data = dataset(tmp_path)
    bench = replace(make_bench(tmp_path), heads=("softmax", "linear_svm", "prototype"))
    retrainer = make_retrainer("auto", {"strategies": ("probe",)})
    challenger = retrainer.train(make_plan("auto"), data, bench)
    assert all(name in "\n".join(challenger.reasons) for name in bench.heads)
    assert challenger.recipe.head.name in bench.heads


def test_a_strategy_that_breaks_takes_no_other_along(tmp_path):
    class Broken:
        def train(self, plan, dataset, bench):
            raise MemoryError("too large")

    def make(name, options):
        return Broken() if name == "finetune" else make_retrainer(name, options)

    retrainer = make_retrainer("auto", {"strategies": ("probe", "finetune")})
    bench = make_bench(tmp_path, retrainer=make)
    challenger = retrainer.train(make_plan("auto"), dataset(tmp_path), bench)
    assert challenger.plan.strategy == "probe"
    assert "finetune with softmax: left out, MemoryError: too large" in challenger.reasons


def test_a_spent_budget_leaves_out_what_takes_long_and_says_so(tmp_path):
    data = dataset(tmp_path)
    bench = make_bench(tmp_path, deadline=0.0, is_strict=True)
    with pytest.raises(OverBudget, match=r"minutes and 0\.0 are left: raise retrain.budget"):
        make_retrainer("probe", {}).train(make_plan(), data, bench)
    spent = make_bench(tmp_path, deadline=0.0, retrainer=make_default)
    challenger = make_retrainer("auto", {}).train(make_plan("auto"), data, spent)
    assert challenger.plan.strategy == "probe"
    assert challenger.plan.options["folds"] == 1
    told = "\n".join(challenger.reasons)
    assert "finetune with softmax: left out" in told
    assert "recipe with softmax: left out, fitting head 'softmax' would take" in told


def test_one_image_a_class_is_enough_for_prototypes_and_nothing_is_promised(tmp_path):
    data = dataset(tmp_path, count=1)
    bench = make_bench(tmp_path, "prototype")
    challenger = make_retrainer("probe", {}).train(make_plan(), data, bench)
    assert accuracy(challenger, data, bench) == 1.0
    assert challenger.out_of_fold is None
    assert (challenger.temperature, challenger.unknown) == (1.0, None)
    assert "nothing could be measured" in challenger.reasons[0]


def test_a_class_without_a_readable_image_is_named(tmp_path):
    data = dataset(tmp_path)
    for example in data.on("train"):
        if example.label == "red":
            example.path.write_bytes(b"broken")
    with pytest.raises(TrainingError, match="no image of class 'red' is left"):
        make_retrainer("probe", {}).train(make_plan(), data, make_bench(tmp_path))


def test_what_is_unlike_anything_seen_is_unknown(tmp_path):
    from daemon.scores import verdicts
    from daemon.training.features import compiled

    data, bench = dataset(tmp_path), make_bench(tmp_path)
    challenger = make_retrainer("probe", {}).train(make_plan(), data, bench)
    flat = np.array([np.full((16, 16, 3), rgb) for rgb in (*COLOURS.values(), (255, 0, 255))])
    told = verdicts(
        compiled(challenger.model)(flat.astype(np.uint8)),
        challenger.classes,
        challenger.recipe.head.reading,
        challenger.temperature,
        limits=replace(challenger.limits, threshold=None),
        has_novelty=True,
    )
    assert told[-1].is_unknown
