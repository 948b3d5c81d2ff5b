"""Images that show the same are found, and stay on one side of the split."""

import io
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon.images.facts import perceptual_hash
from daemon.learning.groups import Likeness, groups, near_duplicates
from daemon.learning.sides import assign

FLOWERS = Path(__file__).parents[1].parent / "shared" / "data" / "flowers"


@dataclass(frozen=True)
class Seen:
    sha256: str
    phash: str
    taken_at: str | None = None
    folder: str = "here"
    label: str = "a"


def hashed(number: int) -> str:
    """A hash that is far from that of any other small number."""
    return f"{random.Random(number).getrandbits(64):016x}"


def strangers(count: int, start: int = 0, **more) -> list[Seen]:
    return [Seen(f"{i:03}", hashed(i), **more) for i in range(start, start + count)]


def flipped(phash: str, *bits: int) -> str:
    return f"{int(phash, 16) ^ sum(1 << bit for bit in bits):016x}"


def test_few_differing_bits_make_a_group_wherever_they_are():
    images = strangers(50)
    rng = random.Random(1)
    for number in range(50):
        bits = rng.sample(range(64), 4)
        images.append(Seen(f"copy {number:03}", flipped(hashed(number), *bits)))
        images.append(Seen(f"other {number:03}", flipped(hashed(number), *range(0, 64, 9))))
    found = near_duplicates(images)
    assert found == [(f"{number:03}", f"copy {number:03}") for number in range(50)]


def test_groups_are_connected_through_their_members():
    first, second = flipped(hashed(1), 1, 2, 3), flipped(hashed(1), 1, 2, 3, 4, 5, 6)
    images = [Seen("a", hashed(1)), Seen("c", second), Seen("b", first), Seen("d", hashed(2))]
    assert groups(images) == [("a", "b", "c"), ("d",)]
    assert groups(images, seeds=["c"]) == [("a", "b", "c")]
    assert groups(images, likeness=Likeness(differing=2)) == [("a",), ("c",), ("b",), ("d",)]


def test_flat_pictures_are_not_alike_only_because_nothing_is_in_them():
    images = [Seen("night", "0" * 16), Seen("fog", "0" * 15 + "3"), Seen("sky", "f" * 16)]
    assert near_duplicates(images) == []


@pytest.mark.parametrize(
    ("one", "other", "are_burst"),
    [
        ("2026-05-01T12:00:00", "2026-05-01T12:00:05", True),
        ("2026-05-01T12:00:00", "2026-05-01T12:00:06", False),
        ("2026-05-01T12:00:00+02:00", "2026-05-01T10:00:01+00:00", True),
        ("2026-05-01T12:00:00+02:00", "2026-05-01T12:00:00", False),
        ("2000-01-01T00:00:00", "2000-01-01T00:00:00", False),
        (None, None, False),
        ("yesterday", "yesterday", False),
    ],
)
def test_neighbours_in_a_burst_go_by_the_cameras_clock(one, other, are_burst):
    images = [Seen("a", hashed(1), one), Seen("b", hashed(2), other)]
    assert (len(groups(images)) == 1) is are_burst
    assert len(groups([images[0], replace(images[1], folder="elsewhere")])) == 2


@pytest.mark.slow
def test_a_hundred_thousand_images_are_grouped_in_seconds():
    bits = np.random.default_rng(3).integers(0, 2**64, 100_000, dtype=np.uint64)
    images = [Seen(f"{number}", f"{value:016x}") for number, value in enumerate(bits.tolist())]
    images[70_000] = replace(images[70_000], phash=flipped(images[5].phash, 0, 20, 40, 60))
    began = time.process_time()
    assert near_duplicates(images) == [("5", "70000")]
    assert time.process_time() - began < 60


@pytest.mark.skipif(not FLOWERS.is_dir(), reason="no shared/data/flowers beside the repository")
def test_photographs_are_like_their_copies_and_not_like_each_other():
    images = []
    for path in sorted(FLOWERS.glob("*/*.jpg"))[::10]:
        image = Image.open(path).convert("RGB")
        buffer = io.BytesIO()
        image.resize((image.width // 2, image.height // 2)).save(buffer, "JPEG", quality=50)
        copy = Image.open(buffer).convert("RGB")
        images += [
            Seen(f"{path.stem} {what}", perceptual_hash(each))
            for what, each in (("original", image), ("small", copy))
        ]
    found = near_duplicates(images)
    assert all({text.split()[0] for text in group} == {group[0].split()[0]} for group in found)
    assert len(found) >= 70  # of 75


def test_a_fifth_of_every_class_is_held_out_and_new_labels_never_move_the_old():
    images = strangers(50) + strangers(20, 100, label="b") + strangers(2, 200, label="c")
    sides = assign(images, {})
    held_out = [image.label for image in images if sides[image.sha256] == "holdout"]
    assert [held_out.count(label) for label in "abc"] == [10, 4, 1]
    assert assign(images[::-1], {}) == sides
    more = assign([*images, *strangers(50, 300)], sides)
    assert more.keys() == {image.sha256 for image in strangers(50, 300)}
    assert list(more.values()).count("holdout") == 10


def test_images_labelled_one_by_one_are_held_out_now_and_then():
    images, sides = strangers(40), {}
    for count in range(1, 41):
        sides |= assign(images[:count], sides)
    assert sides["000"] == "train"
    assert list(sides.values()).count("holdout") == 8


def test_a_like_inherits_the_side_and_one_of_both_sides_has_none():
    images = strangers(40)
    sides = assign(images, {})
    learned = next(image for image in images if sides[image.sha256] == "train")
    held_out = next(image for image in images if sides[image.sha256] == "holdout")
    twins = [Seen("x", flipped(learned.phash, 7)), Seen("y", flipped(held_out.phash, 7))]
    assert assign([*images, *twins], sides) == {"x": "train", "y": "holdout"}
    near = replace(learned, taken_at="2026-05-01T12:00:00")
    between = Seen("z", flipped(held_out.phash, 7), "2026-05-01T12:00:02")
    later = Seen("zz", flipped(held_out.phash, 7, 8))
    known = [near if image is learned else image for image in images]
    torn = assign([*known, between], sides)
    assert torn == {"z": "none"}
    assert assign([*known, between, later], sides | torn) == {"zz": "none"}


def test_a_group_stays_whole_and_something_is_left_to_learn_from():
    burst = [
        Seen(f"burst {second}", hashed(500 + second), f"2026-05-01T12:00:{second:02}")
        for second in range(30)
    ]
    sides = assign([*burst, *strangers(20)], {})
    assert len({sides[image.sha256] for image in burst}) == 1
    assert sorted(set(sides.values())) == ["holdout", "train"]
    assert set(assign(burst, {}).values()) == {"train"}
