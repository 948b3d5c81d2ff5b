"""Writes the systemd units under `deploy/` out of the template that `classifyd service` fills."""

import tempfile
from dataclasses import replace
from pathlib import Path

from daemon.app import make_catalogue
from daemon.config import load
from daemon.unit import account_text, unit_text
from daemon.unit_needs import unit_of

DEPLOY = Path(__file__).parents[1] / "deploy"
COMMAND = ("/opt/classifyd/bin/classifyd",)
ACCOUNT = "classifyd"
_SAMPLE = DEPLOY / "config.yaml"
_INSTANCE = "INSTANCE"


def units() -> dict[Path, str]:
    """Return every generated file with its text."""
    sample = _SAMPLE.read_text(encoding="utf-8")
    many = sample.replace("/classifyd", f"/classifyd/{_INSTANCE}")
    template = _unit(many, f"{_INSTANCE}.yaml", _INSTANCE).replace(_INSTANCE, "%i")
    return {
        DEPLOY / "classifyd.service": _unit(sample, "config.yaml", None),
        DEPLOY / "classifyd@.service": template,
        DEPLOY / "classifyd.sysusers.conf": account_text(ACCOUNT),
    }


def _unit(text: str, name: str, instance: str | None) -> str:
    """Return the unit of a configuration that will lie in /etc/classifyd."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_text(text, encoding="utf-8")
        loaded = replace(load(path, {}), path=Path("/etc/classifyd", name))
    catalogue = make_catalogue(loaded.settings)
    return unit_text(unit_of(loaded, catalogue, COMMAND, [Path(COMMAND[0])], instance, ACCOUNT))
