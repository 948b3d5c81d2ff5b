"""How quickly commands answer, and that they do so without TensorFlow."""

import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.filling import fill
from bench.plan import ROOT, Plan, Say, scratch
from bench.report import Section, Table

COLUMNS = ("command", "wall, s", "CPU, s")
_ROWS = 1000
_RESULTS = ("results", "--limit", "5")
_COMMANDS = (
    _RESULTS,
    ("status",),
    ("failed",),
    ("models", "list"),
    ("plugins",),
    ("config", "check"),
    ("--help",),
)
_HEAVY = ("tensorflow", "keras", "jax", "torch", "numpy", "PIL")


def measure(plan: Plan, say: Say) -> Section:
    """Time commands on a small database, and look at what `results` imports."""
    with scratch() as folder:
        config = make_place(folder, _ROWS)
        rows = [timed(config, command, plan.repeats) for command in _COMMANDS]
        imported = _heavy_imports(config, _RESULTS)
    say(f"commands: {' '.join(_RESULTS)} takes {rows[0][1]:.2f} s")
    notes = (
        f"A process of its own for each, on a database of {_ROWS:,} predictions; medians of"
        f" {plan.repeats}.",
        f"`{' '.join(_RESULTS)}` imports none of {', '.join(_HEAVY)} (`python -X importtime`)."
        if not imported
        else f"`{' '.join(_RESULTS)}` imports {', '.join(imported)} (`python -X importtime`).",
    )
    return Section("commands", "Commands", [Table("Time to answer", COLUMNS, rows)], notes)


def make_place(folder: Path, rows: int) -> Path:
    """Return the configuration of a filled database."""
    (folder / "state").mkdir()
    fill(folder / "state" / "classifyd.db", rows, time.time())
    config = folder / "config.yaml"
    config.write_text("sources: [{name: folder, path: inbox}]\n")
    return config


def timed(config: Path, arguments: Sequence[str], repeats: int) -> tuple[str, float, float]:
    """Return a command with the medians of its wall and processor seconds."""
    runs = [_run(config, arguments) for _ in range(repeats)]
    wall, cpu = (median(column) for column in zip(*runs, strict=True))
    return f"`classifyd {' '.join(arguments)}`", wall, cpu


def _run(config: Path, arguments: Sequence[str]) -> tuple[float, float]:
    began, cpu = time.perf_counter(), _children_cpu()
    subprocess.run(_command(config, arguments), cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - began, _children_cpu() - cpu


def _command(config: Path, arguments: Sequence[str], *options: str) -> list[str]:
    """Return the command line; the configuration's folder is where the command looks first."""
    where = [] if arguments[-1].startswith("--") else ["--config", str(config)]
    return [sys.executable, *options, "-m", "daemon", *arguments, *where]


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _heavy_imports(config: Path, arguments: Sequence[str]) -> list[str]:
    command = _command(config, arguments, "-X", "importtime")
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    modules = set(re.findall(r"\|\s+([\w.]+)$", ran.stderr, re.MULTILINE))
    return [name for name in _HEAVY if name in modules]
