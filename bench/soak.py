"""Months in minutes: many small images through one daemon, new models and a training meanwhile."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from bench.memory import Mark, mark, marks_table, wave_by_wave
from bench.models import BUNDLED, make_model
from bench.pictures import small_images, varied
from bench.plan import Plan, Say, scratch
from bench.report import Section
from bench.served import Daemon
from daemon.testing.process import until

_PARTS = 10  # of all images; after each the other model serves
_WARM = 2  # parts after which nothing should grow any more
_DIFFERENT = 50_000  # contents; further images have bytes behind their end
_LABELS = 200
_TRAINING_S = 600.0
_SETTINGS = {
    "runtime": "openvino",
    "retrain": {"strategy": "probe", "min_new_labels": _LABELS, "every": None},
    "gate": [],
}


def measure(plan: Plan, say: Say) -> Section:
    """Feed the images in parts, and look at the daemon after each."""
    with scratch() as folder:
        files = _images(folder, plan.soak_images)
        say(f"soak: {len(files):,} images are ready")
        bundles = [make_model(BUNDLED, folder, classes).bundle for classes in (5, 6)]
        with Daemon(folder / "daemon", bundles[0], _SETTINGS) as daemon:
            marks = list(_live(daemon, files, bundles, say))
            notes = _notes(daemon, marks, len(files))
    return Section("soak", "Soak", [marks_table(marks)], notes)


def _images(folder: Path, count: int) -> tuple[Path, ...]:
    real = small_images(folder / "first", min(count, _DIFFERENT))
    more = varied(real, folder / "more", count - len(real.files), "again")
    return (*real.files, *more)


def _live(daemon: Daemon, files: tuple[Path, ...], bundles: list[Path], say: Say) -> Iterator[Mark]:
    size, models = len(files) // _PARTS, cycle(reversed(bundles))
    for part in range(_PARTS):
        if part == _PARTS // 2:
            _label(daemon, files[:_LABELS])
        wave_by_wave(daemon, files[part * size : (part + 1) * size])
        if part == _PARTS // 2:
            until(lambda: _finished(daemon), _TRAINING_S, "the training run has ended")
        yield (found := mark(daemon, (part + 1) * size))
        say(f"soak: {found.images:,} images, {found.memory_mb:.0f} MB")
        _swap(daemon, next(models))


def _label(daemon: Daemon, files: tuple[Path, ...]) -> None:
    lines = [f"{daemon.inbox / path.name},{'ab'[n % 2]}" for n, path in enumerate(files)]
    table = daemon.folder / "labels.csv"
    table.write_text("\n".join(["path,label", *lines]) + "\n", "utf-8")
    daemon.command("labels", "import", str(table), "--yes")


def _finished(daemon: Daemon) -> bool:
    return bool(daemon.query("SELECT 1 FROM training_run WHERE finished_at IS NOT NULL"))


def _swap(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy(bundle)
    until(lambda: _serves_the_active(daemon), what="the model is swapped")


def _serves_the_active(daemon: Daemon) -> bool:
    names = daemon.query(
        "SELECT json_extract(detail, '$.model'), (SELECT name FROM model_version WHERE id ="
        " (SELECT model_version_id FROM deployment ORDER BY id DESC LIMIT 1)) FROM heartbeat"
    )
    return names[0][0] == names[0][1]


def _notes(daemon: Daemon, marks: list[Mark], images: int) -> tuple[str, ...]:
    warm, last = marks[_WARM - 1], marks[-1]
    growth = last.memory_mb / max(each.memory_mb for each in marks[_WARM - 1 : _WARM + 1]) - 1
    rows = daemon.query(
        "SELECT count(*), count(DISTINCT image_id), (SELECT count(*) FROM file),"
        " (SELECT count(*) FROM file WHERE state = 'done') FROM prediction"
    )[0]
    states = ", ".join(state for (state,) in daemon.query("SELECT state FROM training_run"))
    deployments = daemon.query("SELECT count(*) FROM deployment")[0][0]
    return (
        f"{images:,} images of 32 x 32 pixels, {deployments} deployments, training runs: {states}.",
        f"{rows[2]:,} files, {rows[3]:,} done, {rows[1]:,} images with {rows[0]:,} predictions.",
        f"From {warm.images:,} images on the memory of all processes (proportional set size)"
        f" changed by {100 * growth:+.1f} %, threads from {warm.threads} to {last.threads}, file"
        f" descriptors from {warm.descriptors} to {last.descriptors}.",
        f"The database has {last.database_bytes / images:.0f} bytes an image.",
    )
