"""The words of the engine as frozen values; no behaviour, no database, no Keras."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class FileState(StrEnum):
    """Where a file stands; see `FINAL_STATES` for those that no work will change."""

    SETTLING = "settling"
    QUEUED = "queued"
    CLAIMED = "claimed"
    DONE = "done"
    RETRY = "retry"
    QUARANTINED = "quarantined"
    IGNORED = "ignored"
    GONE = "gone"


SCAN_TITLE = "scan"
"""The source of files that `scan` was given and no configured source holds."""

FINAL_STATES = frozenset({FileState.DONE, FileState.QUARANTINED, FileState.IGNORED, FileState.GONE})


class FileStat(NamedTuple):
    """What tells one version of a path from the next: bytes, nanoseconds, inode number.

    This and `Sighting` are named tuples, since a rescan makes and compares a million of each.
    """

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileStat":
        """Take the three values out of an `os.stat` result."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class Sighting(NamedTuple):
    """A source saw this path as it now is.

    `whole`: the source knows that the writer has finished (closed or renamed into place);
    any other file must stay unchanged for `quiet_s` seconds before it is read.
    `ignored`: the rule that keeps the file out, in words, or None.
    """

    path: bytes
    stat: FileStat
    whole: bool = False
    ignored: str | None = None
    quiet_s: float = 2.0


@dataclass(frozen=True, slots=True)
class FileRef:
    """One claimed file on its way to a worker.

    `known`: SHA-256 (hex) of contents of the same size that this model version has already
    classified; a worker that meets one of them neither decodes nor runs the model.
    `attempts`: how often it failed before.
    `waited_s`: how many seconds ago it was found.
    """

    file_id: int
    path: bytes
    stat: FileStat
    known: frozenset[str] = frozenset()
    attempts: int = 0
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Files that go through the runtime together, and the model version that will answer.

    `moves_state` is False when files already done are classified again by another version. Below
    each of `roots` no symbolic link is followed.
    """

    batch_id: int
    model_version_id: int
    files: tuple[FileRef, ...]
    moves_state: bool = True
    roots: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """One content: SHA-256 (hex), bytes, format name, pixels as upright, capture time, dHash.

    `taken_at` is the EXIF capture time as written by the camera, `YYYY-MM-DDTHH:MM:SS`, which
    carries no zone unless EXIF gives one; `phash` is 16 hexadecimal digits.
    """

    sha256: str
    size: int
    format: str
    width: int
    height: int
    taken_at: str | None
    phash: str


class Score(NamedTuple):
    """One class and how sure the model is of it, calibrated, 0 to 1.

    A named tuple, since each image sends several from its worker.
    """

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model version says of one image; `top` is sorted, its first is the label."""

    label: str
    confidence: float
    top: tuple[Score, ...]
    is_unknown: bool = False


class OutcomeKind(StrEnum):
    """How the reading of one file ended."""

    CLASSIFIED = "classified"
    KNOWN = "known"  # these bytes already have this model version's prediction
    UNREADABLE = "unreadable"  # permanent: quarantined at once
    NOT_IMAGE = "not_image"  # ignored, with what it is instead
    VANISHED = "vanished"
    CHANGED = "changed"  # another version than the claimed one: settles again
    TRANSIENT = "transient"  # an I/O error that may pass: tried again later
    CRASHED = "crashed"  # its worker died of it: tried once more, then quarantined


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file of a batch.

    `stat` is what the opened file showed; the result is dropped if the row has moved on.
    """

    file_id: int
    kind: OutcomeKind
    stat: FileStat | None = None
    sha256: str | None = None
    image: ImageFacts | None = None
    verdict: Verdict | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds that a batch took in its worker: reading and decoding, and the model."""

    decoding_s: float = 0.0
    inference_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A finished batch: one outcome a file, or `failure` when the batch broke as a whole.

    A file without an outcome was not looked at, through no fault of its own: it goes again.
    `is_crash`: the worker died of what it did, and of nothing that came from outside.
    """

    batch: Batch
    outcomes: tuple[Outcome, ...] = ()
    failure: str | None = None
    is_crash: bool = False
    took: Took = Took()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as sinks see it; `event_id` makes a repeated one recognisable.

    Kinds: `classified`, `failed`, `model_activated`. `at` is UTC ISO-8601. `payload` is plain
    JSON; a path that is no UTF-8 has its bytes there too, in hexadecimal, as `path_hex`.
    """

    event_id: int
    kind: str
    at: str
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> bytes | None:
        """The path of the file that the event tells of, None where it tells of something else."""
        if "path_hex" in self.payload:
            return bytes.fromhex(self.payload["path_hex"])
        return self.payload["path"].encode() if "path" in self.payload else None
