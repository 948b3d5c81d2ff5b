"""An installed wheel works from any folder: it holds plugins, migrations, weights and defaults."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True, timeout=200)
    return next(out.glob("classifyd-*.whl"))


def test_the_wheel_holds_all_that_running_needs(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "daemon/default.yaml",
        "daemon/py.typed",
        "migrations/env.py",
        "migrations/versions/0001_initial.py",
        "plugins/bundled/cifar10/model.keras",
        "plugins/bundled/cifar10/manifest.json",
        "plugins/sources/folder.py",
    ):
        assert wanted in names
    assert not [name for name in names if name.startswith(("tests/", "bench/", "docs/"))]


def test_a_scan_with_the_installed_wheel_in_an_empty_folder(wheel, tmp_path):
    site, work = tmp_path / "site", tmp_path / "work"
    zipfile.ZipFile(wheel).extractall(site)
    (work / "inbox").mkdir(parents=True)
    (work / "config.yaml").write_text((site / "daemon/default.yaml").read_text())
    _draw(work / "inbox" / "red.png")

    def classifyd(*arguments):
        # -P: the checkout, from which the tests run, must not be what is imported.
        command = [sys.executable, "-P", "-m", "daemon", *arguments]
        environment = os.environ | {"PYTHONPATH": str(site)}
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [sys.executable, "-P", "-c", "import daemon; print(daemon.__file__)"]
    found = subprocess.run(
        where, cwd=work, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True
    )
    assert found.stdout.startswith(str(site))
    classifyd("scan")
    assert "red.png" in classifyd("results", "--format", "csv")
    assert {path.name for path in work.iterdir()} == {"config.yaml", "inbox", "labels", "state"}


def _draw(path):
    from PIL import Image

    Image.new("RGB", (64, 48), "red").save(path)
