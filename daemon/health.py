"""How the daemon is at this moment, told out of its own memory: no file, no database."""

from dataclasses import dataclass

from daemon.clock import Clock

DEAF_S = 60.0
"""Past so many seconds without a turn of the main loop it is stuck. It turns each second; to rest
while the database refuses counts as a turn, since another process would fare no better."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the daemon is at; `turned_s` is how long ago its main loop made a turn, `hangs` the
    work that gets no further.

    `model`, `runtime` and `workers` are of what serves now, `blocked` is what keeps them from
    working; `trouble` may also be of another model version, which cannot be loaded.
    `training` is the process of a training run.
    """

    phase: str
    hangs: str | None
    turned_s: float
    model: str | None
    runtime: str | None
    workers: int
    blocked: str | None
    trouble: str | None
    training: int | None

    @property
    def stuck(self) -> str | None:
        """Why the process should be replaced; None while it lives."""
        if self.turned_s > DEAF_S:
            return f"the main loop has not turned for {self.turned_s:.0f} s"
        return self.hangs

    @property
    def unready(self) -> str | None:
        """Why no image is classified now; None when they are."""
        if self.stuck is not None:
            return self.stuck
        if self.phase != "running" or self.model is None:
            return f"the daemon is {self.phase}"
        return self.blocked


class Pulse:
    """When the main loop made its last turn; written by it, read by others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.elapsed()

    def beat(self) -> None:
        """Note a turn."""
        self._at = self._clock.elapsed()

    @property
    def age_s(self) -> float:
        """Seconds since the last turn."""
        return self._clock.elapsed() - self._at
