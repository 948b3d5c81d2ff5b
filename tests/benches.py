"""A bench of the tests' own: a tiny backbone on coloured noise, fitted in a second."""

import time
from dataclasses import dataclass

import numpy as np
from PIL import Image

from daemon.contracts import DecodeLimits
from daemon.learning.schedule import Plan
from daemon.preprocessing import Geometry, Scaling
from daemon.training import Bench, HeadPart, Recipe
from plugins.heads.binary import BinaryHead, BinaryOptions
from plugins.heads.linear_svm import LinearSvmHead, LinearSvmOptions
from plugins.heads.multilabel import MultilabelHead, MultilabelOptions
from plugins.heads.prototype import PrototypeHead, PrototypeOptions
from plugins.heads.softmax import SoftmaxHead, SoftmaxOptions
from plugins.retrainers.auto import Auto, AutoOptions
from plugins.retrainers.finetune import Finetune, FinetuneOptions
from plugins.retrainers.probe import Probe, ProbeOptions
from plugins.retrainers.recipe import PlainRecipe, RecipeOptions

GEOMETRY = Geometry(16, 16)
LIMITS = DecodeLimits(10**6, 10**6, 100, 10.0, 2, frozenset({"PNG", "JPEG"}))
COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (200, 50, 40)}
HEADS = {
    "binary": (BinaryHead, BinaryOptions),
    "linear_svm": (LinearSvmHead, LinearSvmOptions),
    "multilabel": (MultilabelHead, MultilabelOptions),
    "prototype": (PrototypeHead, PrototypeOptions),
    "softmax": (SoftmaxHead, SoftmaxOptions),
}
RETRAINERS = {
    "auto": (Auto, AutoOptions),
    "finetune": (Finetune, FinetuneOptions),
    "probe": (Probe, ProbeOptions),
    "recipe": (PlainRecipe, RecipeOptions),
}
# Few steps, for images that are easy to tell apart.
QUICK = {
    "finetune": {"epochs": 2, "least_steps": 8, "folds": 1},
    "recipe": {"epochs": 25, "learning_rate": 0.05, "folds": 1},
}


class TinyBackbone:
    """A few fixed random filters: enough to tell colours apart."""

    name = "tiny"
    default_size = 16
    minimum_size = 8
    scaling = Scaling.TF
    weights_choices = ("none",)

    def __init__(self, scale=1.0):
        self._scale = scale

    def build(self, height, width, weights):
        import keras

        image = keras.Input((height, width, 3))
        x = keras.layers.Conv2D(8, 4, strides=4, activation="relu")(image)
        x = keras.layers.BatchNormalization()(x)
        return keras.Model(image, keras.layers.Rescaling(self._scale)(x))


@dataclass
class SteppingClock:
    """A clock that moves on a little at every look."""

    step: float = 0.0
    at: float = 0.0

    def elapsed(self):
        self.at += self.step
        return self.at

    def now(self):
        return time.time()


def draw(folder, name, count, start=0):
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        noise = np.random.default_rng([number, *name.encode()]).integers(-30, 30, (20, 24, 3))
        pixels = np.clip(noise + COLOURS[name], 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name / f"{number:03}.png")


def quiet(stage, done, total):
    pass


def make_head(name, options):
    build, model = HEADS[name]
    return HeadPart(build(model(**options)), options)


def make_retrainer(name, options):
    build, model = RETRAINERS[name]
    return build(model(**{**QUICK.get(name, {}), **options}))


def make_bench(folder, head="softmax", backbone=None, **more):
    part = make_head(head, more.pop("head_options", {}))
    values = {
        "recipe": Recipe(backbone or TinyBackbone(), part.head, GEOMETRY, "auto", {}, part.options),
        "heads": (head,),
        "features": folder / "features",
        "scratch": folder / "scratch",
        "limits": LIMITS,
        "clock": SteppingClock(),
        "deadline": 600.0,
        "progress": quiet,
        "head": make_head,
        "retrainer": make_retrainer,
    }
    return Bench(**values | more)


def make_plan(strategy="probe", seed=0, **options):
    return Plan(strategy, "asked for", options, 600.0, seed)
