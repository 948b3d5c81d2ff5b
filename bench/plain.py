"""What the daemon is compared with: a plain loop over files, as Keras' own pages teach it.

    python -m bench.plain BUNDLE FOLDER

Prints the seconds and the processor seconds that the loop took, once the model was loaded and
had run once.
"""

import json
import sys
import time
from pathlib import Path

from daemon.app import make_catalogue
from daemon.artifacts import MODEL_FILE, read_manifest
from daemon.classifier import load_model
from daemon.config import Settings
from daemon.quiet import hush_pillow, import_keras


def loop(bundle: Path, files: list[Path]) -> dict[str, float]:
    """Load each image and predict it, one after the other."""
    make_catalogue(Settings())  # a plugin's own layers load only once the plugins are
    hush_pillow()
    import_keras()
    import keras
    import numpy as np

    manifest = read_manifest(bundle)
    model = load_model(bundle / MODEL_FILE, manifest.modules)
    size = manifest.geometry.height, manifest.geometry.width
    model.predict(np.zeros((1, *size, 3), np.uint8), verbose=0)
    began, cpu = time.perf_counter(), time.process_time()
    for path in files:
        image = keras.utils.load_img(path, target_size=size)
        model.predict(np.asarray(image, np.uint8)[np.newaxis], verbose=0)
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    print(json.dumps(loop(Path(sys.argv[1]), sorted(Path(sys.argv[2]).iterdir()))))
