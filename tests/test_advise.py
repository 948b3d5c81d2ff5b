"""`classifyd advise`: backbones measured on the labelled images, and the one to take."""

import json
import re

import pytest
import yaml
from benches import COLOURS, draw

from daemon import advising, at_hand, priority
from daemon.app import Wiring
from daemon.config import Selection, load
from daemon.errors import PluginError, WeightsError
from daemon.learning.advice import Trial, recommend
from plugins.backbones.applications import NETWORKS, Application, WidthOptions

# Keras 3.15 with NumPy 2 warns whenever it copies a variable out of TensorFlow.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

V2_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{}_224_no_top.h5"
SMALL = Selection("mobilenet_v2", {"alpha": 0.35})
PLUGIN = """
from daemon.contracts import Factory, Options
from daemon.hookspecs import hookimpl
from daemon.preprocessing import Scaling

class Odd:
    default_size, minimum_size, scaling, weights_choices = 16, 8, Scaling.TF, ("bundled", "none")
    def __init__(self, options):
        pass
    def build(self, height, width, weights):
        import keras
        image = keras.Input((height, width, 3))
        return keras.Model(image, keras.layers.Conv2D(8, 4, strides=4, activation="relu")(image))

class Few(Odd):
    name = "few"

class Broken(Odd):
    name = "broken"
    def build(self, height, width, weights):
        raise RuntimeError("out of order")

@hookimpl
def register_backbones():
    return [Factory(each.name, each, Options) for each in (Few, Broken)]
"""


def trial(title, right, images_per_s, megabytes=1.0, images=100):
    answers = {f"{number:03}": number < right for number in range(images)}
    return Trial(title, answers, images_per_s, megabytes)


# --- what is recommended


def test_the_quickest_within_noise_of_the_best_is_recommended():
    trials = [trial("large", 90, 10), trial("small", 89, 80), trial("tiny", 60, 900)]
    advice = recommend(trials)
    assert advice.chosen.title == "small"
    assert advice.reasons == (
        "large recognises most: 90.0% of 100 images.",
        "small is as good as far as these images can tell (1.0 points less, ± 1.0), and 8.0 times"
        " as fast.",
        "tiny is 11.2 times as fast, but recognises fewer (30.0 points less, ± 5.5).",
    )


def test_a_slow_backbone_is_worth_it_where_it_is_clearly_better():
    advice = recommend([trial("large", 90, 10), trial("small", 80, 80)])
    assert advice.chosen.title == "large"
    assert advice.reasons[-1].startswith("small is 8.0 times as fast, but recognises fewer")


def test_noise_is_judged_image_by_image():
    """Each is wrong on 10 of 100 images: the same ones, or all of them others."""
    best = trial("best", 91, 10)
    same = Trial("same", best.right | {"000": False, "001": False, "002": False}, 20, 1.0)
    others = Trial("others", {sha256: sha256 >= "012" for sha256 in best.right}, 20, 1.0)
    assert recommend([best, same]).chosen is best
    assert recommend([best, others]).chosen is others


def test_of_equally_fast_ones_the_smaller_and_alone_the_only_one():
    large, small = trial("large", 90, 10, 50.0), trial("small", 90, 10, 5.0)
    assert recommend([large, small]).chosen is small
    assert recommend([small]).reasons == ("small recognises most: 90.0% of 100 images.",)


def test_images_that_only_one_was_asked_about_compare_nothing():
    whole, part = trial("whole", 50, 10), trial("part", 40, 20, images=60)
    assert recommend([whole, part]).chosen.title == "part"


# --- what is at hand


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """A home of Keras in which two widths of one network look as if they were there."""
    models = tmp_path / "keras" / "models"
    models.mkdir(parents=True)
    for alpha in ("0.35", "1.0"):
        (models / V2_FILE.format(alpha)).touch()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


@pytest.fixture
def wiring(tmp_path, keras_home):
    """Wire a configuration of these keys."""

    def wire(**keys):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(keys))
        return Wiring(load(tmp_path / "config.yaml", {}))

    return wire


def names(models):
    return [model.backbone.written() for model in models]


def test_networks_tell_which_widths_are_in_keras_folder(keras_home):
    network = next(network for network in NETWORKS if network.name == "mobilenet_v2")
    application = Application(network, WidthOptions())
    assert application.at_hand(224, 224) == [{"alpha": 0.35}, {"alpha": 1.0}]
    assert application.at_hand(96, 96) == []
    assert application.at_hand(200, 300) == [{"alpha": 0.35}, {"alpha": 1.0}]


def test_all_backbones_whose_weights_are_here_are_compared_each_once(wiring):
    found = ["compact", SMALL.written(), {"name": "mobilenet_v2", "alpha": 1.0}]
    assert sorted(names(at_hand.candidates(wiring())), key=str) == found
    same = wiring(model={"backbone": "mobilenet_v2", "weights": "imagenet", "image_size": 224})
    assert sorted(names(at_hand.candidates(same)), key=str) == found


def test_what_is_configured_is_compared_as_it_is_configured(wiring):
    for backbone in ("compact", SMALL.written(), "googlenet"):
        wired = wiring(model={"backbone": backbone, "weights": "none", "image_size": 96})
        models = at_hand.candidates(wired)
        sizes = {str(model.backbone.written()): model.image_size for model in models}
        assert sizes.pop(str(backbone)) == (96, 96)
        assert set(sizes.values()) == {None}
    assert at_hand.candidates(wired, [SMALL])[0].weights == "auto"


def test_nothing_that_would_be_downloaded_is_built(wiring):
    wired = wiring()
    (missing,) = at_hand.candidates(wired, [Selection("vgg16")])
    with pytest.raises(WeightsError, match="its ImageNet weights are not on this machine"):
        at_hand.check_at_hand(wired, missing)
    for model in at_hand.candidates(wired):
        at_hand.check_at_hand(wired, model)
    with pytest.raises(PluginError, match="no backbone vgg17"):
        at_hand.candidates(wired, [Selection("vgg17")])


# --- the command


@pytest.fixture
def labelled(keras, filled, classifyd, tmp_path, monkeypatch):
    """Thirty labelled images in three classes, and backbones of a plugin's own."""
    monkeypatch.setattr(priority, "yield_to_others", lambda: None)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(advising, "_MEASURED_S", 0.0)
    (tmp_path / "odd.py").write_text(PLUGIN)
    with (tmp_path / "config.yaml").open("a") as file:
        file.write("plugins: [./odd.py]\n")
    for name in COLOURS:
        draw(tmp_path / "photos", name, 10)
    assert classifyd("labels", "import", "photos", "--yes").code == 0


@pytest.mark.slow
def test_backbones_are_measured_side_by_side_and_a_broken_one_stops_nothing(labelled, classifyd):
    ran = classifyd("advise", "--format", "json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    rows = {row["backbone"]: row for row in told["backbones"]}
    assert list(rows)[-1] == "broken" and set(rows) == {"broken", "compact", "few"}
    assert rows["broken"]["failure"] == "RuntimeError: out of order"
    assert rows["broken"]["accuracy"] is None
    for name, size in (("compact", [64, 64]), ("few", [16, 16])):
        row = rows[name]
        assert row["failure"] is None and row["pixels"] == size
        assert row["accuracy"] > 0.8 and row["images"] == 24
        assert row["images_per_s"] > 10 and 0 < row["bundle_mb"] < 10
    assert told["recommended"] == {"backbone": "few", "weights": "auto", "image_size": None}


@pytest.mark.slow
def test_what_is_recommended_can_be_put_into_the_configuration(labelled, classifyd, tmp_path):
    ran = classifyd("advise", "--backbone", "{name: few}", "--backbone", "vgg16")
    assert ran.code == 0, ran.err
    table, _, advice = ran.out.partition("\n\n")
    heading = ["backbone", "pixels", "right", "images per s", "bundle mb", "note"]
    assert re.split(r"\s{2,}", table.splitlines()[0]) == heading
    assert "not on this machine" in table.splitlines()[2]
    lines = advice[advice.index("model:") :]
    settings = {"backbone": "few", "weights": "auto", "image_size": None}
    assert yaml.safe_load(lines)["model"] == settings
    with (tmp_path / "config.yaml").open("a") as file:
        file.write(lines)
    again = classifyd("advise", "--backbone", "few")
    assert again.out.endswith("Recommended: few, which is what the configuration has.\n")


def test_without_enough_labels_or_backbones_it_says_what_is_missing(
    keras, filled, classifyd, tmp_path, monkeypatch
):
    monkeypatch.setattr(priority, "yield_to_others", lambda: None)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    ran = classifyd("advise")
    assert ran.code == 1 and "training needs two classes" in ran.err
    assert "--backbone '{name: x': give a name" in classifyd("advise", "--backbone", "{name: x").err
    assert classifyd("advise", "--backbone", "vgg17").code == 2


def test_where_nothing_can_be_measured_the_rows_say_why(labelled, classifyd):
    ran = classifyd("advise", "--backbone", "broken")
    assert ran.code == 1
    assert "out of order" in ran.out and "no backbone could be measured" in ran.err
