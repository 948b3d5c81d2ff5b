"""What other processes ask of the daemon through the database."""

from collections.abc import Sequence

from sqlalchemy import Engine

from daemon.clock import Clock, utc_text
from daemon.domain import FileRef, FileStat
from daemon.pipeline import Pipeline
from daemon.store.board import Asked, Board, Stale
from daemon.switching import Switcher

CLASSIFY_STALE = "classify_stale"


class StaleFiles:
    """The files whose prediction is not by the active version, as a pipeline's backlog."""

    def __init__(self, engine: Engine) -> None:
        self._stale = Stale(engine)

    def __call__(self, most: int, model_version_id: int) -> Sequence[FileRef]:
        """Return the next files."""
        rows = self._stale.take(most, model_version_id)
        return [FileRef(row.id, row.path_bytes, FileStat(*row[2:5])) for row in rows]


class Requests:
    """Takes up one request after the other; called each second by the loop."""

    def __init__(
        self, engine: Engine, board: Board, pipeline: Pipeline, switcher: Switcher, clock: Clock
    ) -> None:
        self._engine = engine
        self._board = board
        self._pipeline = pipeline
        self._switcher = switcher
        self._clock = clock
        self._current: Asked | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked that is not done."""
        return self._current is None and not self._board.asked()

    def look(self) -> None:
        """Finish or take up a request."""
        if self._current is not None:
            if self._pipeline.backlog is None and not self._pipeline.is_classifying_again:
                self._finish(self._current, self._switcher.last_error or "done")
            return
        waiting = self._board.asked()
        if not waiting:
            return
        if waiting[0].kind != CLASSIFY_STALE:
            self._finish(waiting[0], f"this daemon knows no request {waiting[0].kind!r}")
        elif self._switcher.is_settled:
            self._current = waiting[0]
            self._pipeline.backlog = StaleFiles(self._engine)

    def _finish(self, request: Asked, outcome: str) -> None:
        self._board.finish(request.request_id, outcome, utc_text(self._clock.now()))
        self._current = None
