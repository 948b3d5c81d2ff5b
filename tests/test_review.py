"""`classifyd review`: what to label next, which labels to check, and when that is settled."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import make_manifest
from drawing import draw
from filled import at

from daemon.artifacts import MODEL_FILE
from daemon.manifest import StoredFile, Unknown

UNLIKE = [
    f"{number:016x}" for number in (0x0123456789ABCDEF, 0xFEDCBA9876543210, 0xF0F0A5A53C3C9696)
]


def sha256_of(number: int) -> str:
    return f"{number:064x}"


class Album:
    """Classified and labelled images, by name."""

    def __init__(self, filled) -> None:
        self.filled = filled
        self.ids = {}

    def seen(self, name, *top, phash=None, **values):
        """A file that the active model version has seen; `top` are pairs of label and share."""
        image = self.filled.image()
        label, confidence = top[0]
        self.filled.seen(f"/in/{name}.jpg", label, confidence, image_id=image, **values)
        self.filled.execute(
            "UPDATE prediction SET top_k = ? WHERE image_id = ?", (json.dumps(top), image)
        )
        if phash is not None:
            self.filled.execute("UPDATE image SET phash = ? WHERE id = ?", (phash, image))
        self.ids[name] = image
        return image

    def label(self, name, label, seconds=-60.0, source="labels", **values):
        row = {"source": source, "labelled_at": at(seconds)} | values
        self.filled.insert("label", image_id=self.ids[name], label=label, **row)

    def audited(self, *findings, seconds=0.0):
        """A training run whose audit found, of images by name, kinds and reasons."""
        (rows,) = (
            [
                {
                    "kind": kind,
                    "reason": reason,
                    "image": name and sha256_of(self.ids[name]),
                    "path": name and f"/in/{name}.jpg",
                }
                for name, kind, reason in findings
            ],
        )
        run = {"plan": {"as_of": at(seconds)}, "data": {"findings": rows}, "metrics": {}}
        self.filled.insert(
            "training_run", strategy="probe", state="finished", started_at=at(seconds), **run
        )


@pytest.fixture
def album(filled):
    filled.model()
    return Album(filled)


@pytest.fixture
def review(classifyd):
    """Run it, and return the rows as (kind, why, file name)."""

    def run(*arguments):
        ran = classifyd("review", "--format", "json", *arguments)
        assert ran.code == 0, ran.err
        return [
            (row["kind"], row["why"], Path(row["path"]).stem if row["path"] else None)
            for row in json.loads(ran.out)
        ]

    return run


@pytest.fixture
def bundle(filled, tmp_path):
    """Give the model version a manifest; its model is not needed."""

    def write(**changes):
        folder = tmp_path / "state" / "models" / "own"
        folder.mkdir(parents=True)
        manifest = make_manifest(**changes, files={MODEL_FILE: StoredFile(sha256="0" * 64, size=1)})
        (folder / "manifest.json").write_text(manifest.model_dump_json())
        filled.execute("UPDATE model_version SET bundle = 'own'")

    return write


def test_what_the_model_wavers_about_comes_first(album, review):
    album.seen("sure", ("cat", 0.9), ("dog", 0.1), phash=UNLIKE[0])
    album.seen("torn", ("cat", 0.5), ("dog", 0.49), phash=UNLIKE[1])
    album.seen("vague", ("cat", 0.4), ("dog", 0.3), ("bird", 0.3), phash=UNLIKE[2])
    assert review() == [("label", "uncertain", name) for name in ("torn", "vague", "sure")]
    assert review("--limit", "1") == [("label", "uncertain", "torn")]


def test_of_images_that_look_alike_one_is_asked_for(album, review):
    for number in range(3):
        album.seen(f"frame{number}", ("cat", 0.5), ("dog", 0.5 - number / 100), phash=UNLIKE[0])
    album.seen("other", ("cat", 0.8), ("dog", 0.2), phash=UNLIKE[1])
    assert [name for *_, name in review()][:2] == ["frame0", "other"]


def test_what_is_like_a_labelled_image_comes_late(album, review):
    album.seen("labelled", ("cat", 0.9), ("dog", 0.1), phash=UNLIKE[0])
    album.label("labelled", "cat")
    album.seen("copy", ("cat", 0.5), ("dog", 0.5), phash=UNLIKE[0])
    album.seen("other", ("cat", 0.8), ("dog", 0.2), phash=UNLIKE[1])
    assert [name for *_, name in review()] == ["other", "copy"]


def test_novel_images_and_wavering_ones_take_turns(album, review):
    for number, phash in enumerate(UNLIKE):
        album.seen(f"strange{number}", ("cat", 0.8), ("dog", 0.1), unknown=True, phash=phash)
        album.seen(f"torn{number}", ("cat", 0.5), ("dog", 0.4), phash=phash)
    whys = [why for _, why, _ in review("--limit", "4")]
    assert whys == ["uncertain", "novel", "uncertain", "novel"]


def test_what_is_unknown_for_lack_of_confidence_is_no_novelty(album, bundle, review):
    bundle(unknown=Unknown(target_error=0.05, false_alarms=0.05, threshold=0.7))
    album.seen("unsure", ("cat", 0.6), ("dog", 0.4), unknown=True, phash=UNLIKE[0])
    album.seen("strange", ("cat", 0.9), ("dog", 0.1), unknown=True, phash=UNLIKE[1])
    assert review() == [("label", "uncertain", "unsure"), ("label", "novel", "strange")]


def test_only_files_that_are_there_and_the_active_version_count(album, filled, review):
    album.seen("removed", ("cat", 0.5), ("dog", 0.5), removed_at=at())
    album.seen("replaced", ("cat", 0.5), ("dog", 0.5), is_current=False)
    album.seen("labelled", ("cat", 0.5), ("dog", 0.5))
    album.label("labelled", "cat")
    album.seen("of another", ("cat", 0.5), ("dog", 0.5), model="older")
    filled.model("newest")
    album.seen("here", ("cat", 0.9), ("dog", 0.1), model="newest")
    assert [name for *_, name in review()] == ["here"]


def test_with_a_confidence_for_each_class_two_sure_ones_are_no_doubt(album, bundle, review):
    bundle(reading="independent")
    album.seen("both", ("cat", 0.99), ("dog", 0.98), phash=UNLIKE[0])
    album.seen("doubtful", ("cat", 0.99), ("dog", 0.55), phash=UNLIKE[1])
    assert [name for *_, name in review()] == ["doubtful", "both"]


def test_labels_that_the_model_disagrees_with_come_surest_first(album, review):
    for name, label, confidence in (
        ("slip", "dog", 0.7),
        ("wrong", "dog", 0.95),
        ("right", "cat", 0.9),
    ):
        album.seen(name, ("cat", confidence), ("dog", 0.01))
        album.label(name, label)
    album.seen("new class", ("cat", 0.99))
    album.label("new class", "emu")
    found = [("check", "disagreement", name) for name in ("wrong", "slip")]
    assert review() == review("--kind", "check") == found


def test_an_image_of_several_labels_agrees_with_any(album, review):
    album.seen("both", ("cat", 0.9))
    album.label("both", "dog")
    album.label("both", "cat")
    assert review("--kind", "check") == []


def test_what_the_last_audit_found_is_listed_once_with_its_reason(album, filled, classifyd, review):
    for name in ("a", "b", "c", "d"):
        album.seen(name, ("cat", 0.9))
        album.label(name, "dog" if name in "ab" else "cat")
    album.audited(("d", "wrong label", "of an older run"))
    album.audited(
        ("c", "near-duplicate", "looks like others"),
        (None, "imbalance", "class 'emu' has 3 images"),
        ("a", "wrong label", "labelled 'dog', looks like 'cat'"),
    )
    assert review() == [
        ("check", "wrong label", "a"),
        ("check", "disagreement", "b"),
        ("check", "imbalance", None),
        ("check", "near-duplicate", "c"),
    ]
    row = json.loads(classifyd("review", "--format", "jsonl", "--limit", "1").out)
    told = {"label": "dog", "prediction": "cat", "confidence": 0.9}
    assert row.items() >= told.items()
    assert row["reason"] == "labelled 'dog', looks like 'cat'"


def test_what_was_labelled_otherwise_since_the_audit_is_settled(album, filled, review):
    for name in ("changed", "retracted", "open"):
        album.seen(name, ("cat", 0.9))
        album.label(name, "cat")
    album.audited(*((name, "wrong label", "why") for name in album.ids))
    filled.execute("UPDATE label SET retracted_at = ? WHERE image_id IN (1, 2)", (at(60),))
    album.label("changed", "dog", 60, source="label")
    assert review("--kind", "check") == [("check", "wrong label", "open")]


def test_saying_a_right_label_once_more_settles_it(filled, classifyd, review, tmp_path):
    draw(tmp_path / "inbox" / "a.png", 3)
    classifyd("label", "inbox/a.png", "dog")
    filled.model()
    ((image, sha256),) = filled.execute("SELECT id, sha256 FROM image")
    filled.prediction(image, "cat", 0.9)
    filled.execute("UPDATE prediction SET predicted_at = '2999-01-01T00:00:00.000Z'")
    finding = {"kind": "wrong label", "reason": "why", "image": sha256, "path": None}
    plan, data = {"as_of": "2999-01-01T00:00:00.000Z"}, {"findings": [finding]}
    run = filled.insert(
        "training_run",
        strategy="p",
        state="finished",
        started_at=at(),
        plan=plan,
        data=data,
        metrics={},
    )
    assert review("--kind", "check") == [("check", "wrong label", "a")]
    filled.execute("DELETE FROM training_run WHERE id = ?", (run,))
    assert review("--kind", "check") == [("check", "disagreement", "a")]
    filled.execute("UPDATE prediction SET predicted_at = ?", (at(),))
    assert classifyd("label", "inbox/a.png", "dog").out == "inbox/a.png: dog already\n"
    assert review("--kind", "check") == []


def test_it_says_what_to_do_next(album, classifyd):
    assert "compact-1 has seen no image without a label" in classifyd("review").err
    assert "no label is in doubt" in classifyd("review", "--kind", "check").err
    album.seen("torn", ("cat", 0.5), ("dog", 0.4))
    ran = classifyd("review")
    assert "classifyd label PATH CLASS" in ran.err
    assert ran.out.splitlines()[1].split() == [
        "label",
        "uncertain",
        "/in/torn.jpg",
        "cat",
        "0.50",
        "or",
        "dog",
        "0.40",
    ]


def test_before_the_first_model_there_is_nothing_to_review(filled, classifyd):
    ran = classifyd("review")
    assert (ran.code, ran.out) == (0, "")
    assert "no image was classified yet" in ran.err


def test_it_loads_no_network(album, tmp_path):
    album.seen("torn", ("cat", 0.5), ("dog", 0.4))
    script = """
import sys
from daemon.cli import main
sys.argv = ["classifyd", "review", "--format", "csv"]
main()
print(*({"tensorflow", "keras", "PIL"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[1:] == ["label,uncertain,/in/torn.jpg,,cat,0.5,or dog 0.40", ""]
