"""Labelled images and the parts to learn from them: the bundled backbone, small, and a probe."""

import os

from benches import COLOURS
from benches import draw as draw_images

from daemon import app
from daemon.config import load

CONFIG = """\
database: classifyd.db
state_dir: state
sources: []
model: {backbone: compact, image_size: 48}
retrain: {strategy: probe, min_new_labels: 10, budget: 5}
"""


def open_shop(folder, config=CONFIG):
    """Return wiring and engine on a configuration in the folder."""
    path = folder / "config.yaml"
    path.write_text(config, "utf-8")
    loaded = load(path, {})
    app.prepare_environment(loaded.settings)
    wiring = app.Wiring(loaded)
    app.make_folders(loaded.settings)
    return wiring, app.upgraded_engine(loaded)


def draw_classes(folder, count=26, names=tuple(COLOURS), start=0):
    """Draw so many images of each class into class folders; returns the folder."""
    for name in names:
        draw_images(folder, name, count, start)
    return folder


def quiet(stage, done, total):
    pass


def newest_file(folder):
    return max(folder.iterdir(), key=os.path.getmtime)
