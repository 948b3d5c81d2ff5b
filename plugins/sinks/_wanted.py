"""Which events a sink is for, and an event as JSON."""

import json
from typing import Literal

from pydantic import Field

from daemon.contracts import Options
from daemon.domain import Event


class EventOptions(Options):
    """Which events are taken; the others count as delivered."""

    events: tuple[Literal["classified", "failed", "model_activated"], ...] = Field(
        default=("classified", "failed", "model_activated"),
        min_length=1,
        description="The kinds of events that are wanted.",
    )
    min_confidence: float = Field(
        default=0.0, ge=0, le=1, description="Leave out what was classified with less confidence."
    )

    def wants(self, event: Event) -> bool:
        """Tell whether an event is wanted."""
        told = event.payload.get("confidence", 1.0)
        return event.kind in self.events and told >= self.min_confidence


def as_json(event: Event) -> bytes:
    """Write an event as valid UTF-8; bytes of a name that are none become `\\udcXX` escapes."""
    head = {"event_id": event.event_id, "kind": event.kind, "at": event.at}
    # Twice: the first fixes the order, the second wins over a payload's key of the same name.
    text = json.dumps({**head, **event.payload, **head}, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace")
