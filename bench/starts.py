"""How long the daemon takes to be ready, and what all its processes hold, with each runtime."""

from pathlib import Path
from statistics import median

from bench.models import MOBILENET, Model, make_model
from bench.pictures import Pictures, photographs, varied
from bench.plan import Plan, Say, scratch
from bench.processes import children, usage
from bench.report import Cell, Section, Table
from bench.served import Daemon
from bench.speed import ANY, RUNTIMES

_COLUMNS = (
    "runtime",
    "compiled and READY, s",
    "READY again, s",
    "main, MB",
    "workers, MB",
    "all, MB",
    "processes",
)
_IMAGES = 200


def measure(plan: Plan, say: Say) -> Section:
    """Start a daemon in each runtime, once cold and several times on what was compiled then."""
    with scratch() as folder:
        pictures = photographs(folder / "pictures", _IMAGES)
        model = make_model(MOBILENET, folder / "bundles")
        rows = []
        for runtime in ("keras", *(plan.runtimes or RUNTIMES)):
            rows.append(_row(folder / runtime, model, pictures, runtime, plan.repeats))
            say(f"starts: {runtime}: READY in {rows[-1][2]:.2f} s, {rows[-1][5]:.0f} MB")
    notes = (
        f"{model.what}. READY: from the start of the command until it serves; again: the median of"
        f" {plan.repeats}, with everything compiled and cached.",
        f"Memory after {_IMAGES} photographs: proportional set sizes of all processes, in which a"
        " page that several share counts once.",
    )
    return Section("starts", "Start and memory", [Table(_TITLE, _COLUMNS, rows)], notes)


_TITLE = "READY and memory with each runtime"


def _row(
    folder: Path, model: Model, pictures: Pictures, runtime: str, repeats: int
) -> tuple[Cell, ...]:
    settings = {"runtime": RUNTIMES.get(runtime, runtime), "agreement": ANY}
    with Daemon(folder / "daemon", model.bundle, settings) as daemon:
        daemon.stop()
        again = []
        for _ in range(repeats):
            again.append(daemon.start())
            if len(again) < repeats:
                daemon.stop()
        daemon.run(varied(pictures, folder / "files", _IMAGES, "0"))
        main, workers = usage([daemon.pid]), usage(children(daemon.pid))
        return (
            runtime,
            daemon.first_ready_s,
            median(again),
            main.memory_mb,
            workers.memory_mb,
            main.memory_mb + workers.memory_mb,
            1 + len(children(daemon.pid)),
        )
