"""What fuzzing has found stays mended, and a short run finds nothing new.

By hand, for longer: `python -m tests.fuzz image /tmp/found tests/fuzz/corpus/image`.
"""

import importlib.util
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("fuzz") / "corpus"
ROOT = Path(__file__).parents[1]
SECONDS = 8


def inputs(target: str) -> list[bytes]:
    """All that is kept: seeds as files, and what runs have found as one archive."""
    folder = CORPUS / target
    kept = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".zip"]
    for archive in folder.glob("*.zip"):
        with zipfile.ZipFile(archive) as found:
            kept += [found.read(name) for name in sorted(found.namelist())]
    return kept


@pytest.mark.parametrize(
    "target",
    [pytest.param(each, marks=pytest.mark.slow if each == "config" else []) for each in TARGETS],
)
def test_nothing_that_was_found_breaks_anything(target):
    for data in inputs(target):
        TARGETS[target](data)


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < 300_000


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="there is no atheris here")
def test_a_short_run_finds_nothing(tmp_path):
    for first, target in enumerate(TARGETS):
        for number, data in enumerate(inputs(target)[:40]):
            (tmp_path / f"{target}-{number}").write_bytes(bytes([first]) + data)
    # A process begins with the peak of the one that started it, which holds TensorFlow by now.
    most = 2000 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    options = [f"-max_total_time={SECONDS}", "-max_len=4000", "-timeout=60"]
    options += [f"-rss_limit_mb={most}", f"-artifact_prefix={tmp_path}/"]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "any", str(tmp_path), *options],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
