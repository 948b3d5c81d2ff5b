"""Counts the engine's work as it goes on: an `Observer` over a registry of its own."""

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from daemon.domain import BatchResult, OutcomeKind
from daemon.metrics import families as f
from daemon.metrics.families import Family


class Counting:
    """Every call costs some microseconds; the counters may be read from any thread meanwhile."""

    def __init__(self, registry: CollectorRegistry, sinks: Sequence[str]) -> None:
        self._files = _counter(f.FILES, registry)
        self._unknown = _counter(f.UNKNOWN, registry)
        self._failed = _counter(f.FAILED_BATCHES, registry)
        self._sizes = _histogram(f.BATCH_FILES, registry)
        stages = _histogram(f.STAGE_SECONDS, registry)
        self._stages = {stage: stages.labels(stage) for stage in f.STAGES}
        self._events = _counter(f.SINK_EVENTS, registry)
        # What has not happened yet is told as 0, or the first time would be no increase.
        for kind in OutcomeKind:
            self._files.labels(kind.value)
        for sink in sinks:
            for outcome in ("delivered", "refused"):
                self._events.labels(sink, outcome)

    def recorded(
        self, result: BatchResult, counts: Mapping[OutcomeKind, int], seconds: float
    ) -> None:
        """Count a batch, its files, and how long each stage took."""
        for kind, count in counts.items():
            self._files.labels(kind.value).inc(count)
        verdicts = (outcome.verdict for outcome in result.outcomes)
        self._unknown.inc(sum(verdict is not None and verdict.is_unknown for verdict in verdicts))
        self._stages["recording"].observe(seconds)
        if result.failure is not None:
            self._failed.inc()
            return
        self._sizes.observe(len(result.batch.files))
        self._stages["decoding"].observe(result.took.decoding_s)
        self._stages["inference"].observe(result.took.inference_s)
        if result.batch.moves_state:
            for ref in result.batch.files:
                if not ref.attempts:  # one that is tried again was made to wait
                    self._stages["waiting"].observe(ref.waited_s)

    def published(self, sink: str, taken: bool, seconds: float) -> None:
        """Count an event that a sink took or refused."""
        self._events.labels(sink, "delivered" if taken else "refused").inc()
        self._stages["delivering"].observe(seconds)


def _counter(family: Family, registry: CollectorRegistry) -> Counter:
    return Counter(family.name, family.meaning, family.labels, registry=registry)


def _histogram(family: Family, registry: CollectorRegistry) -> Histogram:
    return Histogram(
        family.name, family.meaning, family.labels, registry=registry, buckets=family.buckets
    )
