"""The life of a training run: labels are there, a challenger is made, judged and deployed."""

from pathlib import Path

from PIL import Image

from daemon.testing import DaemonProcess

from .life import SETTINGS, Life
from .pictures import SIDE

TRAINING = {
    "model": {"backbone": "compact", "image_size": 48},
    "retrain": {"strategy": "probe", "budget": 5},
}
_COLOURS = {"blue": (40, 60, 200), "red": (200, 50, 40)}
_COUNT = 26


class Learner(Life):
    """A life that can be trained in; afterwards no run begins by itself."""

    def __init__(self, folder: Path, kill_at: int | None = None, cuts: bool = False) -> None:
        super().__init__(folder, kill_at, cuts, TRAINING)

    def aftermath(self) -> list[str]:
        """Serve only."""
        self.daemon.configure({**SETTINGS, "retrain": {"strategy": None}})
        return super().aftermath()


def prepared(folder: Path) -> Path:
    """Make a folder with labelled images in its database, for lives to begin in."""
    daemon = DaemonProcess(folder, {**SETTINGS, **TRAINING})
    for name, (red, green, blue) in _COLOURS.items():
        for number in range(_COUNT):
            image = Image.new("RGB", (SIDE, SIDE), (red + number, green, blue))
            path = folder / "bundles" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    done = daemon.run("labels", "import", str(folder / "bundles"), "--yes")
    assert done.returncode == 0, done.stderr
    return folder


def training(life: Life) -> None:
    """Train, and see the challenger go live."""
    life.classifyd("retrain", "--now")
