"""What to label next, and whether more labels are worth it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from daemon.learning.curve import Point, curve, curves, nested
from daemon.learning.dataset import Example
from daemon.learning.ranking import by_hashes, worth_labelling


def doubt(*margins):
    return 1 - np.array(margins, np.float32)


def test_the_most_doubtful_come_first_and_copies_of_them_last():
    places = np.random.default_rng(0).integers(0, 2**64, 6, np.uint64)
    scenes = [f"{place:016x}" for place in np.repeat(places, 10)]
    margins = np.repeat([0.05, 0.1, 0.2, 0.3, 0.4, 0.5], 10) + np.tile(np.arange(10) * 1e-3, 6)
    chosen = worth_labelling(doubt(*margins), by_hashes(scenes), count=12)
    assert [row // 10 for row in chosen[:6]] == [0, 1, 2, 3, 4, 5]
    assert len(set(chosen)) == 12


def test_what_is_like_a_labelled_image_is_not_asked_for():
    hashes = ["0123456789abcdef", "0123456789abcdee", "fedcba9876543210", "f0f0a5a53c3c9696"]
    doubts = doubt(0.0, 0.1, 0.6, 0.7)
    assert worth_labelling(doubts, by_hashes(hashes), labelled=[0]) == [2, 3, 1]
    assert worth_labelling(doubts, by_hashes(hashes), labelled=[0, 1, 2, 3]) == []


def test_images_that_are_all_the_same_are_still_ranked():
    chosen = worth_labelling(doubt(0.5, 0.1, 0.9), by_hashes(["00ff00ff00ff00ff"] * 3))
    assert chosen == [1, 0, 2]
    assert worth_labelling(doubt(0.5), by_hashes(["00ff00ff00ff00ff"])) == [0]
    assert worth_labelling(doubt(), by_hashes([])) == []


def points(law, images=1000, labels=(10, 20, 30, 40, 50)):
    return [Point(n, round(law(n) * images), images) for n in labels]


def test_a_curve_that_still_climbs_is_told_from_one_that_does_not():
    rising = curve("cat", points(lambda n: 0.95 - 2 / n**0.7))
    assert rising.says == "rising"
    assert rising.at_twice == pytest.approx(0.95 - 2 / 100**0.7, abs=0.01)
    assert "with 50 labels" in rising.why
    assert "points to be expected of twice as many: worth labelling more" in rising.why
    flat = curve("dog", points(lambda n: 0.9 - 1 / n**2))
    assert (flat.says, flat.at_twice) == ("plateau", pytest.approx(0.9, abs=0.01))
    falling = curve("emu", points(lambda n: 0.9 - n / 1000))
    assert falling.says == "plateau"
    perfect = curve("owl", points(lambda n: 1.0))
    assert (perfect.says, perfect.at_twice) == ("plateau", 1.0)


def test_few_points_say_nothing():
    assert curve("cat", points(lambda n: 0.5, labels=(2, 4))).says == "too early"
    assert curve("cat", []).at_twice is None
    assert curve("cat", [Point(n, 0, 0) for n in (1, 2, 3)]).says == "too early"


def test_all_classes_together_come_first():
    told = curves({"dog": points(lambda n: 0.5), "cat": points(lambda n: 0.9)})
    assert [each.label for each in told] == [None, "cat", "dog"]
    assert told[0].points[0] == Point(10, 1400, 2000)


def test_subsets_are_nested_and_keep_every_class():
    examples = [
        Example(f"{label}{n}", Path(f"{n}"), label, "train", "0" * 16, None, "")
        for label, count in {"cat": 40, "dog": 10, "emu": 1}.items()
        for n in range(count)
    ]
    subsets = nested(examples, seed=2)
    sizes = [
        [sum(e.label == label for e in subset) for label in ("cat", "dog", "emu")]
        for subset in subsets
    ]
    assert sizes == [[8, 2, 1], [16, 4, 1], [24, 6, 1], [32, 8, 1], [40, 10, 1]]
    for smaller, larger in pairwise(subsets):
        assert set(smaller) <= set(larger)
    assert nested(examples[::-1], seed=2) == subsets
