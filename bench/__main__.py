"""Measure speed, latency, growth and the rest: `python -m bench [SECTION…]`.

Writes `report.md`, `report.json` and plots to `bench/out`, anew after each section.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from bench import commands, decoding, growth, latency, memory, queries, soak, speed, starts
from bench.models import NAMES
from bench.plan import OUT, Plan, Say
from bench.report import Report, Section, machine, markdown
from bench.rivals import TITLES
from bench.speed import RUNTIMES

_SECTIONS: Mapping[str, Callable[[Plan, Say], Section]] = {
    "speed": speed.measure,
    "latency": latency.measure,
    "decoding": decoding.measure,
    "starts": starts.measure,
    "growth": growth.measure,
    "memory": memory.measure,
    "soak": soak.measure,
    "commands": commands.measure,
    "queries": queries.measure,
}
_ROWS = (1_000, 100_000, 10_000_000)
_FILES = (1_000, 10_000, 100_000, 1_000_000)
_CLASSES = (2, 1_000, 8_000, 64_000)


def main() -> None:
    """Measure what is asked for, one section after the other."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that daemon and files go too
    plan, out = _read_arguments()
    report = Report(asdict(plan), machine())
    _say(f"plan: {', '.join(plan.sections)}; report in {out}")
    for name in plan.sections:
        _say(f"{name}: begins")
        report.sections.append(_SECTIONS[name](plan, _say))
        report.write(out)
        print(f"\n{markdown(report.sections[-1])}\n", flush=True)


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _read_arguments() -> tuple[Plan, Path]:
    given = _parser().parse_args()
    plan = Plan(
        sections=tuple(given.sections or _SECTIONS),
        models=tuple(given.models),
        runtimes=tuple(given.runtimes or ()),
        rivals=tuple(given.rivals),
        images=given.images,
        turn_seconds=given.turn_seconds,
        seconds=given.seconds,
        repeats=given.repeats,
        memory_images=given.memory_images,
        soak_images=given.soak_images,
        rows=tuple(given.rows),
        files=tuple(given.files),
        classes=tuple(given.classes),
    )
    return plan, given.out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("sections", nargs="*", metavar="SECTION", help=f"some of: {', '.join(_SECTIONS)}")
    add("--models", nargs="+", choices=NAMES, default=NAMES, help="whose speed is measured")
    add("--runtimes", nargs="+", choices=tuple(RUNTIMES), help="in which each is measured")
    add("--rivals", nargs="*", choices=tuple(TITLES), default=tuple(TITLES), help="beside it")
    add("--images", type=_positive, default=200, help="different photographs")
    add("--turn-seconds", type=float, default=4.0, help="that a turn of the speed section takes")
    add("--seconds", type=_positive, default=20, help="length of each rate of the latency section")
    add("--repeats", type=_positive, default=5, help="turns, and runs of each command and query")
    add("--memory-images", type=_positive, default=20_000, help="images of the memory section")
    add("--soak-images", type=_positive, default=100_000, help="images of the soak section")
    add("--rows", nargs="+", type=_positive, default=_ROWS, help="predictions in the database")
    add("--files", nargs="+", type=_positive, default=_FILES, help="files in a folder")
    add("--classes", nargs="+", type=_positive, default=_CLASSES, help="classes of a model")
    add("--out", type=Path, default=OUT, help="folder of the report")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    main()
