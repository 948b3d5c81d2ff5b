"""`models compare`: two model versions on the same held-out images, and who belongs to those."""

import json
from pathlib import Path

import numpy as np
import pytest
from bundles import make_manifest
from drawing import draw
from filled import at

from daemon.artifacts import write_bundle
from daemon.preprocessing import Scaling
from daemon.reading import sha256_of
from daemon.store.holdout import GATE_ALLOWED, Holdout

# Keras 3.15 with NumPy 2 warns whenever it copies a variable out of TensorFlow.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CLASSES = ("dark", "light")


def held_out(filled, sha256, label, seconds=0.0, split="holdout", **more):
    image = filled.insert(
        "image",
        sha256=sha256,
        size=1,
        format="PNG",
        width=24,
        height=24,
        phash="0" * 16,
        split=split,
        split_at=at(seconds),
        first_seen_at=at(),
    )
    labelled(filled, image, label, seconds, **more)
    return image


def labelled(filled, image, label, seconds=0.0, **more):
    row = {"source": "by hand", "labelled_at": at(seconds)} | more
    return filled.insert("label", image_id=image, label=label, **row)


def deployed(filled, seconds, reason, **more):
    model = filled.model(f"model-{seconds}-{reason}", active=False, **more)
    filled.insert("deployment", model_version_id=model, deployed_at=at(seconds), reason=reason)


def members(engine):
    return {m.sha256: (m.label, m.is_settled) for m in Holdout(engine).members()}


def test_before_the_gate_allowed_anything_nothing_is_settled(filled, engine):
    held_out(filled, "a", "cat")
    held_out(filled, "b", "cat", split="train")
    held_out(filled, "c", "cat", split="none")
    deployed(filled, 5, "activated by hand")
    assert members(engine) == {"a": ("cat", False)}


def test_only_a_deployment_that_the_gate_allowed_settles_the_holdout(filled, engine):
    held_out(filled, "before", "cat", 1)
    deployed(filled, 10, GATE_ALLOWED)
    held_out(filled, "after", "cat", 20)
    deployed(filled, 30, "activated by hand")
    deployed(filled, 31, "rollback")
    assert members(engine) == {"after": ("cat", False), "before": ("cat", True)}


def test_settled_members_keep_the_label_they_had(filled, engine):
    relabelled = held_out(filled, "relabelled", "cat", 1, retracted_at=at(20))
    labelled(filled, relabelled, "dog", 20)
    held_out(filled, "retracted", "cat", 1, retracted_at=at(20))
    held_out(filled, "taken back in time", "cat", 1, retracted_at=at(5))
    held_out(filled, "kept", "cat", 1)
    held_out(filled, "another", "dog", 1)
    deployed(filled, 10, GATE_ALLOWED)
    assert members(engine) == {
        "relabelled": ("cat", True),
        "retracted": ("cat", True),
        "kept": ("cat", True),
        "another": ("dog", True),
    }


def test_what_is_labelled_while_a_run_goes_on_is_not_settled_by_it(filled, engine):
    held_out(filled, "a", "cat", 1)
    row = {"strategy": "probe", "state": "finished", "started_at": at(5), "plan": {"as_of": at(5)}}
    run = filled.insert("training_run", **row, data={}, metrics={})
    held_out(filled, "wrong", "cat", 6)
    deployed(filled, 10, GATE_ALLOWED, training_run_id=run)
    assert members(engine) == {"a": ("cat", True), "wrong": ("cat", False)}


def test_a_class_that_was_renamed_counts_under_its_new_name(filled, engine):
    for sha256 in ("a", "b"):
        image = held_out(filled, sha256, "cat", 1, retracted_at=at(20))
        labelled(filled, image, "tabby", 20)
    held_out(filled, "given up", "emu", 1, retracted_at=at(20))
    deployed(filled, 10, GATE_ALLOWED)
    assert members(engine) == {"a": ("tabby", False), "b": ("tabby", False)}


def model_that_tells(light: float):
    """A model that sees how bright an image is; `light` above 0 makes it right, below wrong."""
    import keras

    image = keras.Input((8, 8, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(2 / 255, offset=-1)(image)
    pooled = keras.layers.GlobalAveragePooling2D()(scaled)
    scores = keras.layers.Dense(2, activation="softmax", name="scores")
    model = keras.Model(image, scores(pooled))
    scores.set_weights([np.array([[-light, light]] * 3, np.float32), np.zeros(2, np.float32)])
    return model


@pytest.fixture
def compared(filled, tmp_path):
    """Twelve labelled images, one of them lost, and the models `able` and `blind`."""
    for name, light in {"able": 2.0, "blind": -1.0}.items():
        manifest = make_manifest(name=name, classes=CLASSES, scaling=Scaling.TF)
        bundle = write_bundle(model_that_tells(light), manifest, tmp_path / "state" / "models")
        metrics = {"gap": 0.125, "robustness": {"blur": 0.5}} if name == "able" else {}
        filled.model(name, CLASSES, active=name == "blind", bundle=bundle.name, metrics=metrics)
    for number in range(12):
        label = CLASSES[number % 2]
        path = draw(tmp_path / "inbox" / label / f"{number}.png", 2 if label == "dark" else 7)
        image = held_out(filled, sha256_of(path.read_bytes()), label)
        filled.file(path, "done", image_id=image)
    path.unlink()


def test_two_models_stand_side_by_side_with_the_gates_verdict(compared, classifyd, tmp_path):
    ran = classifyd("models", "compare", "able")
    assert ran.code == 0, ran.err
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0] == ["able", "blind"]
    assert ["held-out", "images", "11", "11"] in lines
    assert ["right", "100.0%", "0.0%"] in lines
    assert ["in", str(tmp_path / "inbox" / "dark"), "100.0%", "0.0%"] in lines
    assert ["more", "right", "in", "training", "12.5%"] in lines
    assert ["under", "blur", "50.0%"] in lines
    assert "left out: 1 held-out images that cannot be read any more" in ran.out
    assert lines.count(["dark", "6", "0"]) == lines.count(["dark", "0", "6"]) == 1
    assert "gate: able may replace blind\n  Overall: right on 11 of 11" in ran.out


def test_the_worse_of_two_may_not_replace_the_better(compared, classifyd):
    ran = classifyd("models", "compare", "blind", "able", "--format", "json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["verdict"]["allowed"] is False
    assert [model["name"] for model in told["models"]] == ["blind", "able"]
    assert told["models"][0]["confusion"] == {
        "dark": {"dark": 0, "light": 6},
        "light": {"dark": 5, "light": 0},
    }
    assert told["missing"] == 1


def test_images_that_were_trained_on_in_place_are_found_in_their_folder(
    compared, filled, classifyd, tmp_path
):
    filled.execute("DELETE FROM file")
    ran = classifyd("models", "compare", "able")
    assert ran.code == 1
    assert "none of the 12 held-out images can be read any more" in ran.err
    run = filled.insert(
        "training_run",
        strategy="class folders",
        state="finished",
        started_at=at(),
        plan={"folder": str(tmp_path / "inbox")},
        data={},
        metrics={},
    )
    filled.execute("UPDATE model_version SET training_run_id = ? WHERE name = 'able'", (run,))
    assert "held-out images" in classifyd("models", "compare", "able", "blind").out


def test_comparing_needs_models_and_a_holdout(filled, classifyd):
    assert "no model version 'x'" in classifyd("models", "compare", "x").err
    filled.model("lone", active=False)
    assert "no model version is active yet" in classifyd("models", "compare", "lone").err
    assert Path("config.yaml").exists()
