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
_LIBRARIES = ("tensorflow", "keras", "openvino", "numpy", "pillow", "sqlalchemy")


@dataclass(frozen=True)
class Table:
    """Rows under a title; every row has a cell for each column."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Plot:
    """Series of figures over the same labels: bars where labels are text, else lines over
    logarithmic numbers."""

    name: str
    title: str
    unit: str
    labels: Sequence[str] | Sequence[int]
    series: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Section:
    """One part of the benchmark: its tables, and what one must know to read them."""

    name: str
    title: str
    tables: Sequence[Table]
    notes: Sequence[str] = ()
    plots: Sequence[Plot] = ()


@dataclass
class Report:
    """All sections of one run, the settings it ran with and the machine it ran on."""

    settings: Mapping[str, object]
    machine: Mapping[str, object]
    sections: list[Section] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write `report.md`, `report.json`, and a drawing of each plot."""
        folder.mkdir(parents=True, exist_ok=True)
        for section in self.sections:
            for plot in section.plots:
                draw(plot, folder / f"{plot.name}.svg")
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
    plots = [f"![{plot.title}]({plot.name}.svg)" for plot in section.plots]
    return "\n\n".join(filter(None, [f"## {section.title}", *tables, *plots, notes]))


def draw(plot: Plot, path: Path) -> None:
    """Draw a plot; nothing where matplotlib (the extra `bench`) is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    if all(isinstance(label, int) for label in plot.labels):
        for name, values in plot.series.items():
            axes.plot(plot.labels, values, marker="o", label=name)
        axes.set_xscale("log")
    else:
        width = 0.8 / len(plot.series)
        for number, (name, values) in enumerate(plot.series.items()):
            places = [place + number * width for place in range(len(values))]
            axes.bar(places, values, width, label=name)
        middle = (len(plot.series) - 1) * width / 2
        places = [place + middle for place in range(len(plot.labels))]
        axes.set_xticks(places, [str(label) for label in plot.labels])
    axes.set(title=plot.title, ylabel=plot.unit)
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path)


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
