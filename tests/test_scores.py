"""Reading scores: what is recorded follows from what the model gives, or nothing is."""

import numpy as np
import pytest

from daemon.domain import Score
from daemon.errors import BundleError
from daemon.scores import read_scores, verdicts


def rows(*values):
    return np.array(values, np.float32)


def test_temperature_one_changes_nothing():
    scores = rows([0.7, 0.2, 0.1], [0.0, 0.0, 1.0])
    np.testing.assert_allclose(read_scores("probabilities", scores), scores, atol=1e-6)
    np.testing.assert_allclose(read_scores("independent", rows([0.9, 0.4])), [[0.9, 0.4]], 1e-6)


def test_temperature_divides_the_logits_of_a_softmax():
    logits = np.array([[2.0, -1.0, 0.5]])
    scores = np.exp(logits) / np.exp(logits).sum()
    expected = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum()
    np.testing.assert_allclose(
        read_scores("probabilities", scores.astype(np.float32), 2.5), expected, 1e-5
    )


def test_temperature_divides_the_logit_of_a_sigmoid():
    expected = 1 / (1 + np.exp(-1.5))  # the logit 3, halved
    score = rows([1 / (1 + np.exp(-3))])
    np.testing.assert_allclose(read_scores("independent", score, 2.0), [[expected]], 1e-5)
    np.testing.assert_allclose(
        read_scores("binary", score, 2.0), [[1 - expected, expected]], rtol=1e-5
    )


def test_binary_is_read_as_two_classes():
    first, second = verdicts(rows([0.2], [0.9]), ("ants", "bees"), "binary")
    assert (first.label, first.confidence) == ("ants", 0.8)
    assert second.top == (Score("bees", 0.9), Score("ants", 0.1))


def test_top_is_sorted_and_cut_and_ties_keep_the_order_of_the_classes():
    (verdict,) = verdicts(rows([0.1, 0.3, 0.3, 0.3]), "abcd", "probabilities", top_k=2)
    assert verdict.top == (Score("b", 0.3), Score("c", 0.3))
    assert (verdict.label, verdict.confidence, verdict.is_unknown) == ("b", 0.3, False)


def test_independent_keeps_every_class_over_its_threshold():
    scores = rows([0.9, 0.8, 0.55, 0.45])
    (verdict,) = verdicts(scores, "abcd", "independent", top_k=1)
    assert [score.label for score in verdict.top] == ["a", "b", "c"]
    (verdict,) = verdicts(scores, "abcd", "independent", top_k=1, thresholds={"c": 0.6})
    assert [score.label for score in verdict.top] == ["a", "b"]


def test_extreme_scores_stay_finite_at_any_temperature():
    scores = rows([1.0, 0.0])
    for reading in ("probabilities", "independent"):
        for temperature in (0.01, 100.0):
            confidences = read_scores(reading, scores, temperature)
            assert np.isfinite(confidences).all()
            assert confidences[0, 0] > confidences[0, 1]


def test_no_images_give_no_verdicts():
    assert verdicts(np.empty((0, 2), np.float32), "ab", "probabilities") == []


@pytest.mark.parametrize(
    ("reading", "scores", "message"),
    [
        ("probabilities", rows([0.5, np.nan]), "NaN or infinity"),
        ("independent", rows([0.5, np.inf]), "NaN or infinity"),
        ("binary", rows([0.5], [3.0]), "outside 0 to 1"),
        ("probabilities", rows([0.5, 0.5], [0.9, 0.9]), "sum to 1.8"),
        ("probabilities", rows([0.5, 0.25, 0.25]), "3 scores for 2 classes"),
        ("ordinal", rows([0.5, 0.5]), "'ordinal': unknown"),
    ],
)
def test_a_broken_model_records_nothing(reading, scores, message):
    with pytest.raises(BundleError, match=message):
        verdicts(scores, "ab", reading)
