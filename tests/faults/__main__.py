"""`python -m tests.faults`: the long runs; exits with 1 if anything was lost or doubled."""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .learning import Learner, prepared, training
from .life import serving
from .points import Enumeration, chosen, copied, kinds
from .seccomp import unavailable
from .storm import Storm


def main() -> int:
    """Run what was asked for, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="blow a storm of so many kills")
    parser.add_argument("--points", type=int, help="end so many lives at drawn points; 0: at all")
    parser.add_argument("--training", action="store_true", help="points of a training run")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all that is drawn")
    parser.add_argument("--at-once", type=int, default=2, help="how many lives at a time")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as scratch:
        if asked.points is not None:
            lives = _lives(Path(scratch), asked.training)
            wrong += _points(lives, asked.points or None, asked.seed, asked.at_once)
        if asked.kills:
            wrong += _storm(Path(scratch) / "storm", asked.kills, asked.seed)
    return min(1, wrong)


def _lives(scratch: Path, is_training: bool) -> Enumeration:
    if not is_training:
        return Enumeration(serving, scratch)
    template = prepared(scratch / "template")
    return Enumeration(training, scratch, Learner, copied(template))


def _points(lives: Enumeration, most: int | None, seed: int, at_once: int) -> int:
    if reason := unavailable():
        print(f"no points: {reason}")
        return 0
    met = lives.count()
    print(f"{len(met)} points: {kinds(met)}", flush=True)
    began, ends = time.monotonic(), []
    for end in lives.end_at_each(chosen(len(met), most, seed), at_once):
        ends.append(end)
        verdict = "; ".join(end.wrong) or "all right"
        way = "cut" if end.point.cuts else "kill"
        print(f"{end.point.number:4} {way:4} before {end.at}: {verdict}", flush=True)
        if end.wrong:
            print(end.log)
    cuts = Counter("power cuts" if end.point.cuts else "kills" for end in ends)
    bad = [end for end in ends if end.wrong]
    print(
        f"{len(ends)} lives ({dict(cuts)}), {sum(end.files for end in ends)} files,"
        f" {len(bad)} with anything wrong, {time.monotonic() - began:.0f} s"
    )
    return len(bad)


def _storm(folder: Path, kills: int, seed: int) -> int:
    folder.mkdir()
    began = time.monotonic()
    told = Storm(folder, seed, lambda text: print(text, flush=True)).blow(kills)
    print(
        f"{told.count} kills {told.kills}; {told.files} files {told.changes};"
        f" {told.versions} rows, {told.predictions} predictions, {told.events} events;"
        f" {len(told.wrong)} wrong; {time.monotonic() - began:.0f} s"
    )
    for wrong in told.wrong:
        print(wrong)
    return len(told.wrong)


if __name__ == "__main__":
    sys.exit(main())
