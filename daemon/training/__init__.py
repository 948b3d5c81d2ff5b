"""Making a classifier from labelled images: the method in steps that can be used one by one.

`collect` (find and audit) → `split_holdout` → features of the frozen backbone (computed once, kept
for later runs) → a strategy, which is a retrainer plugin: a `Probe` or a `FineTuner` is fitted,
cross-validated, and `finish`ed with calibration and the limits of `unknown` → a `Challenger`.
`train` does them in turn for class folders.
"""

from daemon.learning.options import HeadTraining
from daemon.training.bench import Bench
from daemon.training.challenger import Challenger, HeadPart, OutOfFold, Recipe, make_manifest
from daemon.training.collect import Collection, Item, Progress, Skipped, check_enough, collect
from daemon.training.evaluation import measure, score_images
from daemon.training.features import Features, cut, extract_features
from daemon.training.fitting import fit_head
from daemon.training.method import Trained, TrainedImage, train
from daemon.training.split import Side, split_holdout

__all__ = [
    "Bench",
    "Challenger",
    "Collection",
    "Features",
    "HeadPart",
    "HeadTraining",
    "Item",
    "OutOfFold",
    "Progress",
    "Recipe",
    "Side",
    "Skipped",
    "Trained",
    "TrainedImage",
    "check_enough",
    "collect",
    "cut",
    "extract_features",
    "fit_head",
    "make_manifest",
    "measure",
    "score_images",
    "split_holdout",
    "train",
]
