"""Images a second from the inbox to the committed row, beside what the machine could do."""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.models import BUNDLED, MOBILENET, Model, make_model
from bench.pictures import Pictures, photographs, varied
from bench.plan import Plan, Say, scratch
from bench.report import Cell, Plot, Section, Table
from bench.rivals import TITLES, Ran, Rival
from bench.served import Daemon, Run

RUNTIMES: Mapping[str, Mapping[str, Any]] = {
    "openvino": {"name": "openvino"},
    "openvino-bf16": {"name": "openvino", "precision": "bf16"},
    "litert": {"name": "litert"},
    "onnx": {"name": "onnx"},
}
DEFAULT = "openvino"
_OTHERS = {MOBILENET: ("litert", "openvino-bf16"), BUNDLED: ("litert",)}
ANY = {"labels": 0, "difference": 1}
"""Settings of `agreement` that let every runtime serve; how well it agrees is told beside."""
_PLAIN_IMAGES = 60


@dataclass(frozen=True)
class Turn:
    """One run each, one after the other; the rivals by name."""

    daemon: Run
    rivals: Mapping[str, Ran]

    @property
    def both(self) -> float:
        """(c), what decoding and the model reach if they take turns and nothing else is done."""
        return 1 / sum(1 / self.rivals[way].speed for way in ("decode", "infer"))


@dataclass(frozen=True)
class Case:
    """A model in a runtime, how well that agrees with Keras, and how it did."""

    model: str
    runtime: str
    what: str
    agreement: str
    turns: Sequence[Turn]

    def middle(self, figure: "Figure") -> float:
        """Return the median of a figure over all turns."""
        return median(map(figure.of, self.turns))


@dataclass(frozen=True)
class Figure:
    """A column: its title, which rivals it needs, and how it comes out of a turn."""

    title: str
    needs: Set[str]
    of: Callable[[Turn], float]


def measure(plan: Plan, say: Say) -> Section:
    """Run daemon and rivals in turns for each model."""
    with scratch() as folder:
        pictures = photographs(folder / "pictures", plan.images)
        models = {name: make_model(name, folder / "bundles") for name in plan.models}
        cases = [
            _case(plan, folder / f"{name}-{runtime}", name, model, runtime, pictures, say)
            for name, model in models.items()
            for runtime in plan.runtimes or (DEFAULT, *_OTHERS.get(name, ()))
        ]
    notes = (
        f"{pictures.what}, each file with bytes of its own, renamed into the inbox of a warm"
        " daemon with the default settings; from the first committed row to the last. `whole`"
        " counts from the first rename.",
        "(a), (b), (f): single-threaded processes, one a core. (b) in batches of the best size, (f)"
        " decodes and runs the model in turns, in batches of four, and writes nothing; (c) is"
        " 1 / (1/a + 1/b). (d) calls `load_img` and `model.predict` for each image, (e)"
        " `image_dataset_from_directory` and one `model.predict`.",
        f"All in turns, {plan.repeats} times; medians, of the ratios too.",
        *(f"{case.model} in {case.runtime}: {case.what}; {case.agreement}" for case in cases),
    )
    return Section("speed", "Speed", _tables(plan, cases), notes, _plots(plan, cases))


def _case(
    plan: Plan, folder: Path, name: str, model: Model, runtime: str, pictures: Pictures, say: Say
) -> Case:
    settings = {"runtime": RUNTIMES[runtime], "agreement": ANY}
    turns: list[Turn] = []
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(folder / "daemon", model.bundle, settings))
        rivals = {
            way: stack.enter_context(Rival(way, daemon.setup(), folder)) for way in plan.rivals
        }
        count = _count(plan, rivals, pictures.files)
        daemon.run(varied(pictures, folder / "0", min(count, 100), "0"))  # warm
        for number in range(1, plan.repeats + 1):
            files = varied(pictures, folder / str(number), count, str(number))
            turns.append(_turn(daemon, rivals, files, pictures.files))
            say(_told(name, runtime, turns[-1]))
        if len(RUNTIMES[runtime]) > 1:  # less exact
            daemon.compare_again()
        agreement = _agreement(daemon)
    return Case(name, runtime, model.what, agreement, turns)


def _count(plan: Plan, rivals: Mapping[str, Rival], files: Sequence[Path]) -> int:
    """Return how many images take the bare script about as long as is asked for."""
    if "bare" not in rivals:
        return plan.images
    rivals["bare"].run(files)
    return max(plan.images // 2, int(plan.turn_seconds * rivals["bare"].run(files).speed))


def _turn(
    daemon: Daemon, rivals: Mapping[str, Rival], files: Sequence[Path], pictures: Sequence[Path]
) -> Turn:
    ran = daemon.run(files)
    many = [daemon.inbox / path.name for path in files]  # not a few again and again from the cache
    few = {"plain": list(pictures[:_PLAIN_IMAGES]), "dataset": list(pictures)}
    return Turn(ran, {way: rival.run(few.get(way, many)) for way, rival in rivals.items()})


def _agreement(daemon: Daemon) -> str:
    row = daemon.row()
    if row is None:
        return "not compared"
    return (
        f"{row.agreement:.1%} of {row.images} images have Keras' label, no confidence differs by"
        f" more than {row.difference:.1g}"
    )


def _told(name: str, runtime: str, turn: Turn) -> str:
    rivals = ", ".join(f"{way} {ran.speed:.0f}" for way, ran in turn.rivals.items())
    return f"{name} in {runtime}: daemon {turn.daemon.speed:.0f} images/s, {rivals}"


def _rival(way: str, turn: Turn) -> float:
    return turn.rivals[way].speed


def _cost(way: str, turn: Turn) -> float:
    return turn.rivals[way].cpu_ms


def _times_as_fast(way: str, turn: Turn) -> float:
    return turn.daemon.speed / turn.rivals[way].speed


def _thrift(turn: Turn) -> float:
    return turn.rivals["bare"].cpu_ms / (turn.daemon.main_ms + turn.daemon.worker_ms)


_BOTH = {"decode", "infer"}
_SPEEDS: Sequence[Figure] = (
    Figure("daemon", set(), lambda turn: turn.daemon.speed),
    Figure("whole", set(), lambda turn: turn.daemon.whole),
    Figure(TITLES["decode"], {"decode"}, partial(_rival, "decode")),
    Figure(TITLES["infer"], {"infer"}, partial(_rival, "infer")),
    Figure("(c) both", _BOTH, lambda turn: turn.both),
    Figure(TITLES["plain"], {"plain"}, partial(_rival, "plain")),
    Figure(TITLES["dataset"], {"dataset"}, partial(_rival, "dataset")),
    Figure(TITLES["bare"], {"bare"}, partial(_rival, "bare")),
)
_RATIOS: Sequence[Figure] = (
    Figure("of (f)", {"bare"}, partial(_times_as_fast, "bare")),
    Figure("of (c)", _BOTH, lambda turn: turn.daemon.speed / turn.both),
    Figure("times (d)", {"plain"}, partial(_times_as_fast, "plain")),
    Figure("times (e)", {"dataset"}, partial(_times_as_fast, "dataset")),
)
_COSTS: Sequence[Figure] = (
    Figure("images a turn", set(), lambda turn: turn.daemon.images),
    Figure("main process", set(), lambda turn: turn.daemon.main_ms),
    Figure("workers", set(), lambda turn: turn.daemon.worker_ms),
    *(Figure(title, {way}, partial(_cost, way)) for way, title in TITLES.items()),
    Figure("(f) of the daemon", {"bare"}, _thrift),
)


def _tables(plan: Plan, cases: Sequence[Case]) -> list[Table]:
    kinds = {
        "Images a second": _SPEEDS,
        "The daemon's speed as a share, or as a multiple": _RATIOS,
        "Milliseconds of processor time for one image": _COSTS,
    }
    return [
        _table(title, [figure for figure in figures if figure.needs <= set(plan.rivals)], cases)
        for title, figures in kinds.items()
    ]


def _table(title: str, figures: Sequence[Figure], cases: Sequence[Case]) -> Table:
    columns = ("model", "runtime", *(figure.title for figure in figures))
    rows: list[Sequence[Cell]] = [
        (case.model, case.runtime, *(case.middle(figure) for figure in figures)) for case in cases
    ]
    return Table(title, columns, rows)


def _plots(plan: Plan, cases: Sequence[Case]) -> list[Plot]:
    """Bars: how near the daemon comes to the bare script, and to what is possible at all."""
    figures = [figure for figure in _RATIOS[:2] if figure.needs <= set(plan.rivals)]
    labels = [f"{case.model}\n{case.runtime}" for case in cases]
    series = {
        f"share {figure.title}": [case.middle(figure) for case in cases] for figure in figures
    }
    return [Plot("speed", "Speed of the daemon", "", labels, series)] if series else []
