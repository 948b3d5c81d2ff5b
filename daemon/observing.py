"""Who hears of the engine's work while it goes on; what counts it is of no concern here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from daemon.clock import Clock
from daemon.contracts import Sink
from daemon.domain import BatchResult, Event, OutcomeKind


class Observer(Protocol):
    """Hears what was done; every call may come from any thread, must be quick and never raises."""

    def recorded(
        self, result: BatchResult, counts: Mapping[OutcomeKind, int], seconds: float
    ) -> None:
        """A batch came back and was recorded within so many seconds; `counts` are its files."""

    def published(self, sink: str, taken: bool, seconds: float) -> None:
        """A sink took an event, or refused it, after so many seconds."""


class Nobody:
    """Hears nothing."""

    def recorded(
        self, result: BatchResult, counts: Mapping[OutcomeKind, int], seconds: float
    ) -> None:
        """Let it pass."""

    def published(self, sink: str, taken: bool, seconds: float) -> None:
        """Let it pass."""


@dataclass(frozen=True)
class ObservedSink:
    """A sink whose answers are heard."""

    name: str
    sink: Sink
    observer: Observer
    clock: Clock

    def publish(self, event: Event) -> None:
        """Deliver as the sink does."""
        began, taken = self.clock.elapsed(), False
        try:
            self.sink.publish(event)
            taken = True
        finally:
            self.observer.published(self.name, taken, self.clock.elapsed() - began)

    def close(self) -> None:
        """Close the sink."""
        self.sink.close()
