"""What was compiled for this machine serves only as it was written."""

import json
import subprocess

import pytest

from daemon.compiling import ROW, Way
from daemon.config import Selection
from daemon.sums import SUMS, altered, write_sums


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.bin").write_bytes(bytes(1000))
    row = {"runtime": "openvino", "options": {}, "images": 3}
    (tmp_path / ROW).write_text(json.dumps(row))
    write_sums(tmp_path)
    return tmp_path


def test_what_is_as_it_was_written_is_known(folder):
    assert altered(folder) is None
    assert Way(Selection("openvino"), None, folder).row().images == 3
    command = ["sha256sum", "--check", "--status", SUMS]
    assert subprocess.run(command, cwd=folder).returncode == 0


@pytest.mark.parametrize("how", ["altered", "missing"])
def test_what_is_not_is_compiled_again(folder, how):
    if how == "altered":
        (folder / "model.bin").write_bytes(bytes(999) + b"x")
    else:
        (folder / "model.bin").unlink()
    assert altered(folder) == "model.bin"
    assert Way(Selection("openvino"), None, folder).row() is None
