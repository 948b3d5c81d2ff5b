"""The first minute: `classifyd init`, and completion by the shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from daemon.config import DEFAULT_TEMPLATE

ROOT = Path(__file__).parents[1]


def test_init_writes_the_commented_defaults_and_makes_the_folders(classifyd, tmp_path):
    ran = classifyd("init", "my photos")
    assert ran.code == 0 and ran.err == ""
    made = tmp_path / "my photos"
    assert (made / "config.yaml").read_text() == DEFAULT_TEMPLATE.read_text()
    assert sorted(path.name for path in made.iterdir()) == ["config.yaml", "inbox", "labels"]
    for told in ("my photos/config.yaml", "my photos/inbox/", "  cd 'my photos'", "classifyd run"):
        assert told in ran.out
    assert classifyd("config", "check", "--config", made / "config.yaml").code == 0


def test_init_in_the_current_folder_names_no_way_there(classifyd, tmp_path):
    (tmp_path / "labels" / "cat").mkdir(parents=True)
    ran = classifyd("init")
    assert ran.code == 0 and "  cd " not in ran.out
    assert ran.out.count("labels/:") == 1


def test_init_overwrites_nothing(classifyd, tmp_path):
    (tmp_path / "config.yaml").write_text("log: {level: debug}\n")
    ran = classifyd("init")
    assert ran.code == 2 and "is there already" in ran.err and ran.out == ""
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == {"log": {"level": "debug"}}
    assert not (tmp_path / "inbox").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(classifyd, shell):
    ran = classifyd("completion", shell)
    assert ran.code == 0 and "_CLASSIFYD_COMPLETE" in ran.out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=ran.out, text=True, check=True)


def completed(words: str, cwd: Path) -> list[str]:
    """Return what bash would offer for the last of these words."""
    done = subprocess.run(
        [Path(sys.executable).with_name("classifyd")],
        cwd=cwd,
        env=os.environ
        | {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        | {"_CLASSIFYD_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_and_options_are_completed(tmp_path):
    assert completed("classifyd ret", tmp_path) == ["retry", "retrain"]
    assert "rollback" in completed("classifyd models r", tmp_path)
    assert "--min-confidence" in completed("classifyd results --mi", tmp_path)
    assert completed("classifyd completion f", tmp_path) == ["fish"]


def test_a_broken_configuration_does_not_disturb_completion(tmp_path):
    (tmp_path / "config.yaml").write_text("databse: x.db\n")
    assert completed("classifyd ini", tmp_path) == ["init"]
