"""One training run: labels in, a challenger out, and on the gate's word a deployment."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from daemon.app import Wiring, ensure_active_model
from daemon.benches import a_bench, plan_record
from daemon.clock import utc_text
from daemon.config import Selection
from daemon.delivery import sink_names
from daemon.errors import PluginError
from daemon.gathering import Gathered, gather, keep
from daemon.label_sources import has_many_labels
from daemon.labels.siding import settle_sides
from daemon.learning.audit import Finding
from daemon.learning.evidence import GateVerdict
from daemon.learning.schedule import Plan
from daemon.model_comparison import compare_versions
from daemon.model_training import register_challenger
from daemon.quiet import hush_pillow, import_keras
from daemon.run_record import Reporting, insist, recorded, training_alone
from daemon.store.database import reading
from daemon.store.holdout import GATE_ALLOWED
from daemon.store.label_changes import fingerprint, newest_moment
from daemon.store.models import Models, Version, deploy
from daemon.store.run_rows import Run
from daemon.store.runs import TrainingRuns, conclude
from daemon.training import Bench, Challenger, Progress, measure
from daemon.training.auditing import as_json, audit_images, suspicious_labels
from daemon.training.probing import read_features

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass(frozen=True, slots=True)
class Retrained:
    """What a run came to; `active` says whether the challenger went live."""

    run_id: int
    version: Version
    verdict: GateVerdict
    active: bool


def look(wiring: Wiring, engine: "Engine", progress: Progress) -> dict[str, Any]:
    """Gather and audit as a run would, doubtful labels by a probe included.

    Returns what `training_run.data` would keep; nothing is trained that could go live. Raises
    `TrainingError` where there is too little to learn from.
    """
    hush_pillow()
    import_keras()
    plan = default_plan(wiring, "only looked at")
    with a_bench(wiring, plan, progress) as bench:
        gathered, findings = prepare(wiring, engine, plan, bench, None)
        probe = bench.retrainer("probe", {}).train(plan, gathered.dataset, bench)
    return told(gathered, findings + suspects(probe, gathered))


def retrain(
    wiring: Wiring,
    engine: "Engine",
    plan: Plan,
    progress: Progress,
    repeats: Run | None = None,
) -> Retrained:
    """Train a challenger by a plan, judge it against the champion, and let it go live if allowed.

    With the run that it `repeats` it takes the labels of that, and never goes live. The champion
    and the database are untouched until the last transaction. Raises `BusyError` while another
    process trains, and `TrainingError` or another `ClassifydError` with which the run is recorded
    as failed.
    """
    hush_pillow()
    import_keras()
    with training_alone(wiring, engine), a_bench(wiring, plan, progress) as bench:
        started = utc_text(wiring.clock.now())
        settle_sides(engine, started)  # what is learned from has its side by then
        with reading(engine) as connection:
            labels, newest = fingerprint(connection), newest_moment(connection)
        as_of = max(started, newest) if repeats is None else repeats.as_of
        record = plan_record(bench, plan) | {"as_of": as_of, "labels": labels}
        if repeats is not None:
            record["repeats"] = repeats.run_id
        run_id = TrainingRuns(engine).begin(plan.strategy, record, started)
        with recorded(wiring, engine, run_id):
            reporting = Reporting(engine, run_id, progress, wiring.clock)
            run = _Run(wiring, engine, plan, replace(bench, progress=reporting), run_id)
            return run.complete(as_of, goes_live=repeats is None)


@dataclass(frozen=True, slots=True)
class _Run:
    wiring: Wiring
    engine: "Engine"
    plan: Plan
    bench: Bench
    run_id: int

    def complete(self, as_of: str, goes_live: bool) -> Retrained:
        self._champion()  # where the daemon never ran there is none yet
        gathered, findings = prepare(self.wiring, self.engine, self.plan, self.bench, as_of)
        runs, seen = TrainingRuns(self.engine), told(gathered, findings)
        insist(lambda: runs.tell(self.run_id, seen))
        challenger = self._trained(gathered)
        findings += suspects(challenger, gathered)
        metrics = measure(challenger, gathered.dataset, self.bench)
        version = self._registered(challenger, metrics)
        champion, verdict = self._judged(version)
        active = verdict.allowed and goes_live
        data = told(gathered, findings) | {
            "reasons": list(challenger.reasons),
            "repeat": asdict(challenger.plan) if challenger.plan else None,
            "head": {"name": challenger.recipe.head.name, **challenger.recipe.head_options},
            "champion": champion.name,
            "active": active,
        }
        self._conclude(version if active else None, data, metrics, verdict)
        return Retrained(self.run_id, version, verdict, active)

    def _trained(self, gathered: Gathered) -> Challenger:
        name = self.plan.strategy
        retrainer = self.bench.retrainer(name, self.plan.options)
        found: object = retrainer.train(self.plan, gathered.dataset, self.bench)
        if isinstance(found, Challenger):
            return found
        raise PluginError(f"retrainer {name!r} answered {found!r}, which is no challenger")

    def _registered(self, challenger: Challenger, metrics: dict[str, Any]) -> Version:
        base = self.wiring.loaded.settings.model.name or challenger.recipe.backbone.name
        name = f"{base[:90]}-{self.run_id}"
        return register_challenger(self.wiring, self.engine, challenger, metrics, name, self.run_id)

    def _judged(self, version: Version) -> tuple[Version, GateVerdict]:
        """Return the champion and the verdict; once more where another took its place meanwhile,
        as a rollback during the run must not be undone by a model that was measured by less."""
        champion = self._champion()
        while True:
            progress = self.bench.progress
            found = compare_versions(self.wiring, self.engine, version, champion, progress)
            before, champion = champion, self._champion()
            if champion == before:
                return champion, found.verdict

    def _champion(self) -> Version:
        models, settings = Models(self.engine), self.wiring.loaded.settings
        return ensure_active_model(models, settings, self._now())

    def _conclude(
        self,
        version: Version | None,
        data: dict[str, Any],
        metrics: dict[str, Any],
        verdict: GateVerdict,
    ) -> None:
        """Write the run's end and the deployment that it brings, both or neither."""
        from daemon.store.database import writing

        names = [choice.name for choice in self.wiring.loaded.settings.sinks]

        def write() -> None:
            now = self._now()
            with writing(self.engine) as connection:
                conclude(connection, self.run_id, data, metrics, verdict.as_json(), now)
                if version is not None:
                    who = f"training run {self.run_id}"
                    deploy(connection, version, GATE_ALLOWED, who, now, sink_names(names))

        insist(write)

    def _now(self) -> str:
        return utc_text(self.wiring.clock.now())


def prepare(
    wiring: Wiring, engine: "Engine", plan: Plan, bench: Bench, as_of: str | None
) -> tuple[Gathered, list[Finding]]:
    """Gather what can be learned from, and look it through; Keras must be imported.

    Raises `TrainingError` where it is too little.
    """
    now = utc_text(wiring.clock.now())
    least = wiring.loaded.settings.retrain.min_per_class
    many = has_many_labels(wiring.catalogue, wiring.loaded)
    gathered = gather(engine, now, least, bench.progress, as_of, many)
    dataset = gathered.dataset
    features = read_features(bench, dataset.classes, dataset.examples, plan.seed)
    findings = audit_images(dataset.examples, features, gathered.left_out)
    usable = [example.sha256 for example in features.items]
    return keep(gathered, usable, features.skipped), findings


def suspects(challenger: Challenger, gathered: Gathered) -> list[Finding]:
    """Return the labels that the challenger's out-of-fold answers make doubtful."""
    reading = challenger.recipe.head.reading
    found, temperature = challenger.out_of_fold, challenger.temperature
    return suspicious_labels(gathered.dataset, found, reading, temperature)


def told(gathered: Gathered, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what `training_run.data` keeps of a run's images."""
    dataset = gathered.dataset
    sides = {
        name: {
            side: sum(name in example.labels for example in dataset.on(side))
            for side in ("train", "holdout")
        }
        for name in dataset.classes
    }
    return {
        "images": len(dataset.examples),
        "held_out": len(dataset.on("holdout")),
        "classes": sides,
        "waiting": dict(gathered.waiting),
        "skipped": [[str(item.path), item.reason] for item in gathered.left_out],
        "findings": [as_json(finding) for finding in findings],
    }


def default_plan(wiring: Wiring, reason: str) -> Plan:
    """Return the plan of a run that somebody asks for, by the configured strategy."""
    settings, base = wiring.loaded.settings.retrain, wiring.loaded.base
    choice = settings.strategy or Selection("auto")
    options = wiring.catalogue.retrainers.options(choice, base).model_dump(mode="json")
    return Plan(choice.name, reason, options, settings.budget * 60, settings.seed)
