"""What a training run that was killed leaves in the state folder, and how that goes."""

import shutil
from pathlib import Path

from daemon.durable import clean_leftovers
from daemon.feature_files import clean_halves

SCRATCH = "training-"
"""What the names of scratch folders in the state folder begin with."""


def clear_leftovers(state: Path) -> None:
    """Clear away what killed runs left; only for the holder of the lock of training."""
    clean_leftovers(state / "models")
    for scratch in state.glob(f"{SCRATCH}*/"):
        shutil.rmtree(scratch, ignore_errors=True)
    for folder in state.glob("features/*/"):
        clean_halves(folder)
