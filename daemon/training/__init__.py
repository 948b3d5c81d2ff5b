"""Making a classifier from labelled images: the method in steps that can be used one by one.

`collect` (find and audit) → `split_holdout` → `extract_features` (decode, frozen backbone, once)
→ `fit_head` → `score_images` (the whole model, as it will serve). `train` does them in turn.
"""

from daemon.training.collect import Collection, Item, Progress, Skipped, check_enough, collect
from daemon.training.evaluation import Scorecard, score_images, score_rows
from daemon.training.features import Features, cut, extract_features
from daemon.training.fitting import HeadTraining, fit_head
from daemon.training.method import Recipe, Trained, TrainedImage, make_manifest, train
from daemon.training.split import Side, split_holdout

__all__ = [
    "Collection",
    "Features",
    "HeadTraining",
    "Item",
    "Progress",
    "Recipe",
    "Scorecard",
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
    "score_images",
    "score_rows",
    "split_holdout",
    "train",
]
