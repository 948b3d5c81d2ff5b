"""What a sighting means for the row of its path: the state machine of the inbox, pure."""

from enum import Enum
from typing import NamedTuple

from daemon.domain import FileStat, FileState, Sighting

RULE = "rule: "
"""What the reason of a row begins with that a source's rule keeps out (never read)."""

_WAITING = frozenset({FileState.SETTLING, FileState.QUEUED, FileState.RETRY})
_READ = frozenset({FileState.DONE, FileState.QUARANTINED, FileState.IGNORED})


class Step(Enum):
    """What to do with the path's newest row."""

    NOTHING = "nothing"
    INSERT = "insert"  # first sight of this path
    REVISE = "revise"  # not read yet: the row takes the new values
    SUPERSEDE = "supersede"  # the old version was read: a new row
    RETURN = "return"  # unchanged, and there again


class Known(NamedTuple):
    """The newest row of a path, as far as a decision needs it."""

    file_id: int
    stat: FileStat
    state: FileState
    reason: str | None
    removed: bool
    source: str = ""

    @property
    def was_read(self) -> bool:
        """Whether a worker has seen this version: only then is it kept beside the next one."""
        return self.state in _READ and not self.is_ruled_out

    @property
    def is_ruled_out(self) -> bool:
        """Whether a source's rule keeps it out."""
        return self.state is FileState.IGNORED and (self.reason or "").startswith(RULE)


def step(known: Known | None, sighting: Sighting, whole: bool) -> Step:
    """Decide; `whole` is the settling rule's word on this sighting."""
    if known is None:
        return Step.INSERT
    if known.stat != sighting.stat:
        return Step.SUPERSEDE if known.was_read else Step.REVISE
    if _rule_changes(known, sighting) or known.state is FileState.GONE:
        return Step.REVISE
    if known.state is FileState.SETTLING and whole:
        return Step.REVISE
    return Step.RETURN if known.removed else Step.NOTHING


def _rule_changes(known: Known, sighting: Sighting) -> bool:
    if sighting.ignored is None:
        return known.is_ruled_out
    return known.state in _WAITING


def first_state(sighting: Sighting, whole: bool) -> tuple[FileState, str | None]:
    """Return the state and reason that a row takes from a sighting."""
    if sighting.ignored is not None:
        return FileState.IGNORED, RULE + sighting.ignored
    return (FileState.QUEUED if whole else FileState.SETTLING), None
