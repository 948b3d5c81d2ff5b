"""Registers a bundle and makes it active, as a process that can be killed: CONFIG BUNDLE."""

import sys
import time
from pathlib import Path

from daemon.app import register_bundle, upgraded_engine
from daemon.clock import utc_text
from daemon.config import load
from daemon.store.models import Models

if __name__ == "__main__":
    config, bundle = map(Path, sys.argv[1:])
    loaded = load(config, {})
    engine = upgraded_engine(loaded)
    models, now = Models(engine), utc_text(time.time())
    models.deploy(
        register_bundle(models, bundle, loaded.settings, now), "by a test", None, now, ["jsonl"]
    )
