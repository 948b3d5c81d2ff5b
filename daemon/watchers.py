"""The threads around the loop: one for each source, sink and label source.

They go on whatever a plugin raises, even what would end a program: here it could only end a thread.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from daemon.clock import Clock
from daemon.contracts import Intake, Source
from daemon.delivery import Delivery
from daemon.errors import ClassifydError, DatabaseError
from daemon.labelling import Labelling
from daemon.mailbox import Mailbox, ScanEnded, ScanIntake, SourceIntake, Stopped
from daemon.stage import Stage

_log = logging.getLogger("classifyd")
_LONGEST_REST_S = 60.0
_SINK_PAUSE_S = 0.5
_LABELS_PAUSE_S = 1.0
_WHOLE_LOOK_S = 60.0
_DATABASE_PAUSE_S = 15.0


class SourceThreads:
    """Runs sources until stopped; one that raises is restarted, later each time."""

    def __init__(
        self, mailbox: Mailbox, now: Callable[[], str], notes: Mapping[str, str | None]
    ) -> None:
        self._mailbox = mailbox
        self._now = now
        self._notes = notes
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.stages: list[Stage] = []

    def start(self, sources: Sequence[Source]) -> None:
        """Follow these sources."""
        for source in sources:
            work = partial(_follow, source, self._intake(SourceIntake, source), self._stop)
            stage = Stage(f"source {source.title}", work, self._stop, limit_s=None)
            stage.start()
            self.stages.append(stage)

    def start_scans(self, sources: Sequence[Source], whole: bool) -> None:
        """Look once at these sources; `whole`: what they no longer list is missing."""
        kind = SourceIntake if whole else ScanIntake
        for source in sources:
            intake = self._intake(kind, source)
            name = f"scan {source.title}"
            thread = threading.Thread(
                target=self._scan, args=(source, intake), name=name, daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _intake(self, kind: type[SourceIntake], source: Source) -> Intake:
        note = self._notes.get(source.title)
        return kind(source.title, self._mailbox, self._stop, self._now, note)

    def _scan(self, source: Source, intake: Intake) -> None:
        error = None
        try:
            source.scan(intake)
        except Stopped:
            return
        except ClassifydError as failure:
            error = str(failure)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
            _log.exception("source %s failed", source.title)
        self._mailbox.put(ScanEnded(source.title, error))

    def stop(self, deadline_s: float) -> None:
        """Ask all sources to end and wait for them; those that do not are left behind."""
        self._stop.set()
        _join([*self._threads, *self.stages], deadline_s)


def _join(threads: Sequence[threading.Thread | Stage], deadline_s: float) -> None:
    """Wait for all threads together, no longer than for one."""
    end = time.monotonic() + deadline_s
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _follow(source: Source, intake: Intake, stop: threading.Event) -> Iterator[float]:
    """Run a source again whenever it fails, or ends before it is asked to."""
    rest_s = 1.0
    while not stop.is_set():
        try:
            source.run(intake, stop)
            failure = "it ended by itself"
        except Stopped:
            return
        except BaseException as error:
            _log.debug("source %s failed", source.title, exc_info=True)
            failure = f"{type(error).__name__}: {error}"
        if not stop.is_set():
            _tell(intake, f"failed ({failure}); next try in {rest_s:g} s")
            yield rest_s
            _tell(intake, None)
            rest_s = min(_LONGEST_REST_S, rest_s * 2)


def _tell(intake: Intake, alarm: str | None) -> None:
    try:
        intake.alarm(alarm)
    except Stopped:
        return


class DeliveryThreads:
    """Takes events to the sinks, each in a thread of its own: one that fails, or does not answer,
    holds up no other."""

    def __init__(self, deliveries: Sequence[Delivery], clock: Clock) -> None:
        self._clock = clock
        self._stop = threading.Event()
        self._end = 0.0
        self.stages = [
            Stage(f"sink {each.name}", partial(self._run, each), self._stop) for each in deliveries
        ]

    def start(self) -> None:
        """Begin, if there are sinks."""
        for stage in self.stages:
            stage.start()

    def _run(self, delivery: Delivery) -> Iterator[float]:
        while not self._stop.is_set():
            yield _deliver(delivery, self._stop.is_set)
        while _deliver(delivery, lambda: self._clock.elapsed() >= self._end) == 0.0:
            pass
        delivery.close()

    def stop(self, deadline_s: float) -> None:
        """Deliver what is there and close the sinks; those that do not answer are left behind."""
        self._end = self._clock.elapsed() + deadline_s
        self._stop.set()
        _join(self.stages, deadline_s)


def _deliver(delivery: Delivery, is_over: Callable[[], bool]) -> float:
    """Deliver what waits; returns the seconds to pause, 0 where more may be there."""
    try:
        return 0.0 if delivery.step(is_over) else _SINK_PAUSE_S
    except DatabaseError as error:
        _log.warning("delivery to sink %s waits: %s", delivery.name, error)
    except BaseException:
        _log.exception("delivery to sink %s failed", delivery.name)
    return _DATABASE_PAUSE_S


class LabelThreads:
    """Asks label sources each second; one that fails is asked again, later each time."""

    def __init__(self, labellings: Sequence[Labelling], clock: Clock) -> None:
        self._labellings = tuple(labellings)
        self._clock = clock
        self._stop = threading.Event()
        self.stages = [
            Stage(f"label source {each.title}", partial(self._run, each), self._stop)
            for each in labellings
        ]

    @property
    def titles(self) -> tuple[str, ...]:
        """The label sources' titles."""
        return tuple(labelling.title for labelling in self._labellings)

    def start(self) -> None:
        """Begin to ask."""
        for stage in self.stages:
            stage.start()

    def _run(self, labelling: Labelling) -> Iterator[float]:
        rest_s, whole_at = _LABELS_PAUSE_S, 0.0
        while not self._stop.is_set():
            now = self._clock.elapsed()
            is_whole = now >= whole_at
            if _look(labelling, is_whole):
                rest_s = _LABELS_PAUSE_S
                whole_at = now + _WHOLE_LOOK_S if is_whole else whole_at
            else:
                rest_s, whole_at = min(_LONGEST_REST_S, rest_s * 2), 0.0
            yield rest_s

    def stop(self, deadline_s: float) -> None:
        """Stop asking, and take in what the last batches brought; slow sources are left behind."""
        self._stop.set()
        _join(self.stages, deadline_s)
        for stage, labelling in zip(self.stages, self._labellings, strict=True):
            if not stage.is_alive:
                _look(labelling, whole=True)


def _look(labelling: Labelling, whole: bool) -> bool:
    """Ask a label source; tells whether that went well."""
    try:
        labelling.look(whole)
        if whole:
            labelling.alarm(None)
        return True
    except DatabaseError as error:
        _log.warning("label source %s waits: %s", labelling.title, error)
    except BaseException as error:
        _log.exception("label source %s failed", labelling.title)
        with suppress(DatabaseError):
            labelling.alarm(f"{type(error).__name__}: {error}")
    return False
