"""The audit names what is wrong with the data, and one bad file stops nothing."""

import random
from pathlib import Path

import numpy as np
from PIL import Image

from daemon.contracts import DecodeLimits
from daemon.images.facts import perceptual_hash
from daemon.learning.audit import FindingKind, audit, read_facts
from daemon.learning.dataset import Example
from daemon.learning.mislabelled import confident_joint, wrong_labels
from daemon.reading import sha256_of

LIMITS = DecodeLimits(
    max_pixels=10**8,
    max_bytes=10**8,
    max_memory_mb=512,
    timeout_s=20,
    threads=2,
    formats=frozenset({"jpeg", "png"}),
)


def picture(seed: int, size: int = 64) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((size, size), Image.Resampling.BICUBIC)


def saved(path: Path, image: Image.Image, label: str, side: str = "train", **options) -> Example:
    image.save(path, **options)
    data = path.read_bytes()
    phash = perceptual_hash(image.convert("RGB"))
    return Example(sha256_of(data), path, label, side, phash, None, str(path.parent))


def facts(example):
    return read_facts(example, LIMITS)


def test_every_kind_of_trouble_is_found_and_said(tmp_path):
    good = [saved(tmp_path / f"{n}.png", picture(n), "cat", "holdout") for n in range(30)]
    lone = [saved(tmp_path / "lone.png", picture(50), "dog")]
    small = saved(tmp_path / "small.png", picture(51, 20), "cat")
    copy = saved(tmp_path / "copy.jpg", picture(3), "cat", "holdout", quality=60)
    liar = saved(tmp_path / "liar.jpg", picture(4), "dog", quality=60)
    broken = saved(tmp_path / "broken.png", picture(52), "cat")
    broken.path.write_bytes(broken.path.read_bytes()[:200])
    lost = saved(tmp_path / "lost.png", picture(53), "cat")
    lost.path.unlink()
    found = audit([*good, *lone, small, copy, liar, broken, lost], facts)
    told = {(f.kind, f.path.name if f.path else None): f.reason for f in found}
    assert told.keys() == {
        (FindingKind.UNREADABLE, "broken.png"),
        (FindingKind.UNREADABLE, "lost.png"),
        (FindingKind.TINY, "small.png"),
        (FindingKind.NEAR_DUPLICATE, "3.png"),
        (FindingKind.NEAR_DUPLICATE, "copy.jpg"),
        (FindingKind.CONTRADICTION, "4.png"),
        (FindingKind.CONTRADICTION, "liar.jpg"),
        (FindingKind.IMBALANCE, None),
        (FindingKind.NOT_HELD_OUT, None),
    }
    assert told[FindingKind.UNREADABLE, "lost.png"] == "cannot be read: No such file or directory"
    assert "changed since" in told[FindingKind.UNREADABLE, "broken.png"]
    assert "copy.jpg; all are held out" in told[FindingKind.NEAR_DUPLICATE, "3.png"]
    assert "labels: cat, dog; they are on both sides" in told[FindingKind.CONTRADICTION, "4.png"]
    assert "20 x 20 pixels" in told[FindingKind.TINY, "small.png"]


def test_the_same_bytes_twice_are_told_apart_by_their_labels(tmp_path):
    first = saved(tmp_path / "1.png", picture(1), "cat")
    same = saved(tmp_path / "2.png", picture(1), "cat")
    other = saved(tmp_path / "3.png", picture(1), "dog")
    kinds = {f.path.name: f.kind for f in audit([first, same, other], facts) if f.path}
    assert kinds == {
        "2.png": FindingKind.DUPLICATE,
        "3.png": FindingKind.CONTRADICTION,
    }


def test_a_reader_that_breaks_in_an_unforeseen_way_costs_one_image(tmp_path):
    images = [saved(tmp_path / f"{n}.png", picture(n), "cat", "holdout") for n in range(3)]

    def moody(example):
        if example is images[1]:
            raise RuntimeError("the decoder fell over")
        return facts(example)

    (finding,) = audit(images, moody)
    assert (finding.image, finding.reason) == (
        images[1].sha256,
        "RuntimeError: the decoder fell over",
    )


def test_confident_learning_finds_labels_that_were_swapped():
    rng = np.random.default_rng(7)
    true = rng.integers(0, 3, 300)
    confidences = rng.dirichlet([1, 1, 1], 300) * 0.4
    confidences[np.arange(300), true] += 0.6
    swapped = set(random.Random(1).sample(range(300), 30))
    labels = np.array([(t + 1) % 3 if n in swapped else t for n, t in enumerate(true)])
    examples = [
        Example(f"{n}", Path(f"{n}.jpg"), "abc"[label], "train", "0" * 16, None, "")
        for n, label in enumerate(labels)
    ]
    found = wrong_labels(examples, "abc", confidences.astype(np.float32))
    named = [int(finding.image) for finding in found]
    assert len(set(named) & swapped) >= 20
    assert len(set(named) - swapped) == 0
    first = found[0]
    assert first.reason.startswith(
        f"labelled {'abc'[labels[named[0]]]!r}, looks like {'abc'[true[named[0]]]!r} ("
    )
    joint = confident_joint(labels, confidences.astype(np.float32))
    assert joint.sum() - joint.trace() == len(found)


def test_a_class_without_images_accuses_nobody():
    example = Example("x", Path("x.jpg"), "a", "train", "0" * 16, None, "")
    confidences = np.array([[0.1, 0.0, 0.9]], np.float32)
    assert wrong_labels([example], ("a", "b", "c"), confidences) == []
