"""Measure speed, latency, decoding, memory, commands and queries: `python -m bench [SECTION…]`.

Writes `report.md` and `report.json` to `bench/out`.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from bench import commands, decoding, latency, memory, queries, speed
from bench.models import NAMES
from bench.plan import OUT, Plan, Say
from bench.report import Report, Section, machine, markdown

_SECTIONS: Mapping[str, Callable[[Plan, Say], Section]] = {
    "speed": speed.measure,
    "latency": latency.measure,
    "decoding": decoding.measure,
    "memory": memory.measure,
    "commands": commands.measure,
    "queries": queries.measure,
}
_ROWS, _ALL_ROWS = 1_000_000, 10_000_000


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
        images=given.images,
        pairs=given.pairs,
        memory_images=given.memory_images,
        repeats=given.repeats,
        seconds=given.seconds,
        rows=given.rows or (_ALL_ROWS if given.all else _ROWS),
    )
    return plan, given.out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("sections", nargs="*", metavar="SECTION", help=f"some of: {', '.join(_SECTIONS)}")
    add("--models", nargs="+", choices=NAMES, default=NAMES, help="whose speed is measured")
    add(
        "--images",
        type=_positive,
        default=200,
        help="photographs of the speed and latency sections",
    )
    add("--pairs", type=_positive, default=3, help="runs of daemon and plain loop in turn")
    add("--memory-images", type=_positive, default=20_000, help="images of the memory section")
    add("--repeats", type=_positive, default=5, help="runs of each command and query")
    add("--seconds", type=_positive, default=20, help="length of each rate of the latency section")
    add("--rows", type=_positive, help=f"predictions in the database ({_ROWS:,})")
    add("--all", action="store_true", help=f"as many as {_ALL_ROWS:,} predictions")
    add("--out", type=Path, default=OUT, help="folder of the report")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    main()
