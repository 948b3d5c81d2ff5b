"""What was measured, as a page for people and as JSON for programs."""

import json
import os
import platform
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

Cell = str | int | float
_LIBRARIES = ("tensorflow", "keras", "numpy", "pillow", "sqlalchemy")


@dataclass(frozen=True)
class Table:
    """Rows under a title; every row has a cell for each column."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Section:
    """One part of the benchmark: its tables, and what one must know to read them."""

    name: str
    title: str
    tables: Sequence[Table]
    notes: Sequence[str] = ()


@dataclass
class Report:
    """All sections of one run, the settings it ran with and the machine it ran on."""

    settings: Mapping[str, object]
    machine: Mapping[str, object]
    sections: list[Section] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write `report.md` and `report.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.md").write_text(self.markdown(), "utf-8")
        (folder / "report.json").write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")

    def markdown(self) -> str:
        """Return the whole report as Markdown."""
        parts = ["# Benchmark", _facts(self.machine), _facts(self.settings)]
        return "\n\n".join([*parts, *map(markdown, self.sections)]) + "\n"


def markdown(section: Section) -> str:
    """Return one section as Markdown."""
    tables = [f"{table.title}:\n\n{_table(table)}" for table in section.tables]
    notes = "\n".join(f"- {note}" for note in section.notes)
    return "\n\n".join(filter(None, [f"## {section.title}", *tables, notes]))


def machine() -> dict[str, object]:
    """Return what the figures depend on: processors, versions, and how busy the machine is."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "load at start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in _LIBRARIES},
    }


def _facts(facts: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _table(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *(map(_text, row) for row in table.rows)]
    return "\n".join(map(_line, lines))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else cell
    return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
