"""Calibration and the limits of `unknown`, on numbers whose answer is known."""

import numpy as np
import pytest
from benches import GEOMETRY, TinyBackbone, make_head

from daemon.learning.calibration import calibration_error, choose_temperature, log_loss
from daemon.learning.unknown import (
    MOST_REFERENCES,
    choose_references,
    confidence_threshold,
    novelty,
    novelty_limit,
)
from daemon.scores import Limits, is_unknown, read_scores, split_novelty, verdicts


def too_sure(count=4000, factor=3.0):
    """Answers whose logits are `factor` times too large."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (count, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(4, p=row) for row in p])
    wide = np.exp(factor * logits)
    return (wide / wide.sum(axis=1, keepdims=True)).astype(np.float32), truth


def test_the_error_of_confidence_is_measured_over_bins_of_equal_count():
    sure = np.array([[0.9, 0.1]] * 10, np.float32)
    truth = np.array([0] * 7 + [1] * 3)
    assert calibration_error(sure, truth, bins=1) == pytest.approx(0.2, abs=1e-6)
    assert calibration_error(sure[:0], truth[:0]) == 0.0


def test_the_temperature_is_found_and_mends_confidence():
    scores, truth = too_sure()
    temperature = choose_temperature("probabilities", scores, truth)
    assert temperature == pytest.approx(3.0, rel=0.08)
    before = calibration_error(read_scores("probabilities", scores), truth)
    after = calibration_error(read_scores("probabilities", scores, temperature), truth)
    assert before > 0.1 > 0.03 > after


def test_a_few_right_answers_do_not_make_it_certain():
    scores = np.array([[0.7, 0.3]] * 4, np.float32)
    assert choose_temperature("probabilities", scores, np.zeros(4, int)) > 0.2
    assert choose_temperature("probabilities", scores[:0], np.zeros(0, int)) == 1.0


def test_margins_are_read_as_shares_of_one():
    confidences = read_scores("margins", np.array([[2.0, -1.0, 0.0]], np.float32), 0.5)
    np.testing.assert_allclose(confidences.sum(), 1, rtol=1e-6)
    assert confidences.argmax() == 0
    assert log_loss("margins", np.array([[2.0, -1.0]], np.float32), np.array([0])) < 0.1


def test_the_threshold_keeps_the_promise_on_the_images_it_came_from():
    scores, truth = too_sure(factor=1.0)
    sure, right = scores.max(axis=1), scores.argmax(axis=1) == truth
    threshold = confidence_threshold(sure, right, 0.1)
    accepted = sure >= threshold
    assert 0.08 < 1 - right[accepted].mean() <= 0.1
    assert 0.1 < accepted.mean() < 0.9


@pytest.mark.parametrize(
    ("right", "expected"), [([1] * 30, 0.0), ([1, 1, 1], 0.0), ([0, 0], 1.0), ([], None)]
)
def test_thresholds_at_the_edges(right, expected):
    sure = np.linspace(0.9, 0.6, len(right), dtype=np.float32)
    assert confidence_threshold(sure, np.array(right, bool), 0.05) == expected


def test_equally_sure_images_are_accepted_together():
    sure = np.array([0.9] * 4 + [0.8] * 4, np.float32)
    right = np.array([1, 1, 1, 1, 1, 1, 0, 0], bool)
    assert 0.8 < confidence_threshold(sure, right, 0.2) < 0.9


def test_novelty_is_small_for_what_is_near_and_limits_follow_false_alarms():
    rng = np.random.default_rng(1)
    seen = np.array([1.0, 0, 0]) + rng.normal(0, 0.05, (50, 3))
    rows = np.array([[2.0, 0, 0], [0, 1, 0], [-1, 0, 0]], np.float32)
    near, across, opposite = novelty(rows, seen.astype(np.float32))
    assert near < 0.02
    assert 0.7 < across < 1.1 < 1.9 < opposite <= 2
    assert novelty_limit(np.arange(101, dtype=np.float32), 0.05) == 95.0
    assert novelty_limit(np.empty(0, np.float32), 0.05) is None


def test_references_are_bounded_and_of_every_class():
    labels = np.repeat([0, 1, 2], [5000, 4000, 3])
    rows = choose_references(labels, seed=0)
    assert len(rows) <= MOST_REFERENCES
    assert set(labels[rows]) == {0, 1, 2}
    np.testing.assert_array_equal(rows, choose_references(labels, seed=0))


def test_unknown_by_confidence_by_novelty_or_not_at_all():
    scores = np.array([[0.9, 0.1, 0.1], [0.6, 0.4, 0.1], [0.9, 0.1, 0.7]], np.float32)

    def told(limits):
        read = verdicts(scores, "ab", "probabilities", limits=limits, has_novelty=True)
        return [verdict.is_unknown for verdict in read]

    assert told(Limits()) == [False, False, False]
    assert told(Limits(threshold=0.7)) == [False, True, False]
    assert told(Limits(novelty=0.5)) == [False, False, True]
    assert told(Limits(0.7, 0.5)) == [False, True, True]
    raw, far = split_novelty(scores, has_novelty=True)
    assert raw.shape == (3, 2)
    assert list(is_unknown(raw, far, Limits(novelty=0.05))) == [True, True, True]
    assert split_novelty(raw, has_novelty=False)[1] is None


def test_the_model_computes_the_same_novelty(tmp_path):
    import keras

    from daemon.classifier import build_classifier, features_model, load_model, with_novelty

    keras.utils.set_random_seed(3)
    head = make_head("softmax", {}).head
    model = build_classifier(TinyBackbone(), head, "ab", GEOMETRY, "none")
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    pooled = np.asarray(features_model(model)(images)).mean(axis=(1, 2))
    whole = with_novelty(model, pooled[:4])
    whole.save(tmp_path / "model.keras")
    got = np.asarray(load_model(tmp_path / "model.keras")(images))
    np.testing.assert_allclose(got[:, :2], np.asarray(model(images)), atol=1e-5)
    np.testing.assert_allclose(got[:, 2], novelty(pooled, pooled[:4]), atol=1e-5)
