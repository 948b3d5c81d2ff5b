"""A scorecard tells what a model gets right, where, and how sure it is of it."""

import numpy as np
import pytest

from daemon.cli.scorecard import scorecard_lines
from daemon.learning.scorecard import CORRUPTIONS, Card, figures, robustness

CLASSES = ("cat", "dog")


def card(truth, confidences, classes=CLASSES, folders=()):
    names = tuple(f"{number:02}" for number in range(len(truth)))
    return Card(classes, names, tuple(truth), np.array(confidences, np.float32), tuple(folders))


def test_accuracy_overall_by_class_and_by_folder():
    found = card(
        ["cat", "cat", "dog", "dog"],
        [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]],
        folders=["in", "in", "in", "out"],
    )
    assert found.accuracy == 0.75
    assert found.accuracy_by_class() == {"cat": 0.5, "dog": 1.0}
    assert found.accuracy_by_folder() == pytest.approx({"in": 2 / 3, "out": 1.0})
    assert found.mistakes() == {"cat": {"dog": 1}}
    assert found.on(["02", "01"]).labels == ("cat", "dog")


def test_a_class_that_the_model_does_not_know_is_always_wrong():
    found = card(["emu", "cat"], [[0.9, 0.1], [0.9, 0.1]])
    assert found.truth.tolist() == [-1, 0]
    assert found.accuracy_by_class() == {"cat": 1.0, "emu": 0.0}
    assert found.mistakes() == {"emu": {"cat": 1}}


def test_calibration_error_is_the_gap_between_sureness_and_being_right():
    sure = np.repeat([0.6, 0.9], 500)
    right = np.concatenate([np.arange(500) < 300, np.arange(500) < 450])  # 60 % and 90 %
    honest = card(np.where(right, "cat", "dog"), np.stack([sure, 1 - sure], axis=1))
    assert honest.calibration_error(bins=2) == pytest.approx(0, abs=1e-6)
    boastful = card((["cat"] * 7 + ["dog"] * 3) * 10, [[0.95, 0.05]] * 100)
    assert boastful.calibration_error() == pytest.approx(0.25, abs=1e-6)
    assert card([], np.zeros((0, 2))).calibration_error() == 0


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="2 images"):
        card(["cat", "dog"], [[0.5, 0.5]])


def test_figures_are_what_metrics_keep():
    holdout = card(["cat", "dog"], [[0.9, 0.1], [0.8, 0.2]], folders=["a", "b"])
    training = card(["cat", "dog"], [[0.9, 0.1], [0.2, 0.8]])
    told = figures(holdout, training, {"blur": 0.25})
    assert told["holdout_accuracy"] == 0.5
    assert told["gap"] == 0.5
    assert told["holdout_mistakes"] == {"dog": {"cat": 1}}
    assert told["robustness"] == {"blur": 0.25}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_spoil_pixels_alike_every_time_and_keep_the_original(name):
    rng = np.random.default_rng(4)
    smooth = np.kron(rng.integers(0, 200, (2, 6, 6, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    before = smooth.copy()
    spoilt = CORRUPTIONS[name](smooth, np.random.default_rng(0))
    assert spoilt.shape == smooth.shape
    assert spoilt.dtype == np.uint8
    assert (smooth == before).all()
    assert (spoilt == CORRUPTIONS[name](smooth, np.random.default_rng(0))).all()
    change = np.abs(spoilt.astype(int) - smooth).mean()
    assert 1 < change < 100


def test_robustness_asks_the_model_about_spoilt_pixels():
    dark, bright = np.full((5, 16, 16, 3), 40, np.uint8), np.full((5, 16, 16, 3), 90, np.uint8)
    images = np.concatenate([dark, bright])

    def by_brightness(pixels):
        is_bright = pixels.mean(axis=(1, 2, 3)) > 65
        return np.stack([~is_bright, is_bright], axis=1).astype(np.float32)

    told = robustness(images, ["cat"] * 5 + ["dog"] * 5, CLASSES, by_brightness)
    assert told == {"blur": 1.0, "noise": told["noise"], "brightness": 0.5, "jpeg": 1.0}


def test_a_person_reads_every_figure():
    holdout = card(["cat", "dog"], [[0.9, 0.1], [0.8, 0.2]], folders=["a", "b"])
    lines = [
        " ".join(line.split())
        for line in scorecard_lines(figures(holdout, holdout, {"blur": 0.25}))
    ]
    assert lines == [
        "held out 50.0% right of 2 images",
        "learned from 50.0% right of 2 images",
        "cat 100.0%",
        "dog 0.0% taken for cat (1)",
        "in a 100.0%",
        "in b 0.0%",
        "overfitting 0.0% more right of what it learned from",
        "calibration 45.0% between sure and right",
        "under blur 25.0%",
    ]


def test_the_learning_curve_answers_for_each_class_whether_enough_is_labelled():
    def points(*right):
        return [{"labels": 10 * n, "right": r, "images": 10} for n, r in enumerate(right, 1)]

    curves = [
        {"label": None, "points": points(4, 7, 10), "says": "rising", "at_twice": 1, "why": "more"},
        {"label": "cat", "points": points(8, 8, 8), "says": "plateau", "at_twice": 1, "why": "no"},
        {"label": "emu", "points": [], "says": "too early", "at_twice": None, "why": "too few"},
    ]
    lines = list(scorecard_lines({"learning_curve": curves, "epochs": 3}))
    assert [" ".join(line.split()) for line in lines] == [
        "enough labels?",
        "all (each) ▁▄█ more",
        "cat ▆▆▆ no",
        "emu too few",
        "epochs 3",
    ]
    assert list(scorecard_lines({"learning_curve": []})) == []
