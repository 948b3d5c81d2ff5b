"""A worker: file references in, outcomes out. Decoding and inference sit in one process, so that
pixels never cross a process boundary, and a crash, a hang or a memory bomb costs one worker."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from daemon.contracts import DecodeLimits, Executable
from daemon.domain import (
    Batch,
    BatchResult,
    FileRef,
    ImageFacts,
    Outcome,
    OutcomeKind,
    Took,
    Verdict,
)
from daemon.errors import ImageError, NotAnImageError
from daemon.images.decode import decode
from daemon.preprocessing import Geometry
from daemon.reading import Seen, read_file, sha256_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Read = Callable[["NDArray[np.float32]"], list[Verdict]]
_Alarm = Callable[[float], None]


@dataclass(eq=False)
class _Portion:
    """Some files on their way: which decoding began when, and what was found.

    Whoever gets `scoring` runs the model over it: the thread that led the decoding, or, where
    that hangs, the one that waits for it.
    """

    files: Sequence[FileRef]
    pixels: "NDArray[np.uint8]"
    threads: int
    started: dict[int, float] = field(default_factory=dict)
    found: dict[int, Outcome] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    scoring: threading.Lock = field(default_factory=threading.Lock)

    def hangs(self, limit: float) -> bool:
        """Tell whether every thread that still decodes began its file before `limit`."""
        begun = list(self.started.items())
        late = [slot for slot, at in begun if slot not in self.found and at < limit]
        return bool(late) and len(late) >= self.threads - len(self.ended)


@dataclass(eq=False)
class _Run:
    """A batch under way."""

    batch: Batch
    seen: Seen = field(default_factory=Seen)
    outcomes: list[Outcome] = field(default_factory=list)
    scores: list["NDArray[np.float32]"] = field(default_factory=list)
    inference_s: float = 0.0
    portion: _Portion | None = None


class Worker:
    """Decodes on threads straight into one array, and scores that at once, `size` images a time.

    A batch may hold more: small portions stay in the processor's cache, while messages and
    transactions are as few as the batches are large. One thread leads: it decodes, helped by the
    others, and runs the model itself, so that an image changes neither thread nor processor. The
    caller only watches that no decoder hangs.

    `alarm` is set for longer than a decoder may take whenever one begins, and to 0 when all have
    ended: it is to end a process in which not even this class notices that one hangs.
    """

    def __init__(
        self,
        executable: Executable,
        read: _Read,
        geometry: Geometry,
        limits: DecodeLimits,
        size: int,
        alarm: _Alarm = lambda seconds: None,
    ) -> None:
        self._executable = executable
        self._read = read
        self._geometry = geometry
        self._limits = limits
        self._size = size
        self._alarm = alarm
        self._pixels = np.empty((0, geometry.height, geometry.width, 3), np.uint8)
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="decode")
        self.is_stuck = False
        """A decoding thread hangs and cannot be stopped: this process must be replaced."""

    def process(self, batch: Batch) -> BatchResult:
        """Return one outcome a file; files that a stuck decoder kept waiting are left out.

        Raises only what the model raises.
        """
        began, run = time.perf_counter(), _Run(batch)
        self._watch(run, self._pool.submit(self._lead, run))
        took = Took(time.perf_counter() - began - run.inference_s, run.inference_s)
        return BatchResult(batch, tuple(_agreed(self._with_verdicts(run), batch)), took=took)

    def _watch(self, run: _Run, lead: "Future[None]") -> None:
        """Wait for the thread that leads, but not for decoders that outstay their time."""
        while wait([lead], timeout=0.25).not_done:
            limit, portion = time.monotonic() - self._limits.timeout_s, run.portion
            if portion and portion.hangs(limit) and portion.scoring.acquire(blocking=False):
                self.is_stuck = True
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._alarm(0.0)
                self._conclude(run, portion)
                return
        lead.result()

    def _lead(self, run: _Run) -> None:
        files = run.batch.files
        for start in range(0, len(files), self._size):
            part = files[start : start + self._size]
            run.portion = _Portion(part, self._room(len(part)), self._threads(len(part)))
            self._decode_all(run, run.portion)
            if not run.portion.scoring.acquire(blocking=False):
                return  # given up
            self._conclude(run, run.portion)

    def _threads(self, count: int) -> int:
        return min(self._limits.threads, count)

    def _decode_all(self, run: _Run, portion: _Portion) -> None:
        slots = iter(range(len(portion.files)))
        helpers = [
            self._pool.submit(self._decode_some, run, portion, slots)
            for _ in range(portion.threads - 1)
        ]
        self._decode_some(run, portion, slots)
        for helper in helpers:
            helper.result()
        self._alarm(0.0)

    def _decode_some(self, run: _Run, portion: _Portion, slots: Iterator[int]) -> None:
        for slot in slots:  # shared by the threads: each takes the next
            portion.started[slot] = time.monotonic()
            self._alarm(2 * self._limits.timeout_s + 5.0)
            into = portion.pixels[slot]
            portion.found[slot] = self._prepare(
                portion.files[slot], run.batch.roots, into, run.seen
            )
        portion.ended.append(1)

    def _conclude(self, run: _Run, portion: _Portion) -> None:
        """Take in what was decoded and what was not in time, and run the model."""
        done, begun = dict(portion.found), list(portion.started)  # threads given up may go on
        done |= {slot: self._late(portion.files[slot]) for slot in begun if slot not in done}
        decoded = time.perf_counter()
        self._score(run, done, portion.pixels)
        run.inference_s += time.perf_counter() - decoded

    def _room(self, count: int) -> "NDArray[np.uint8]":
        """Return pixels `uint8[count, H, W, 3]`, the same memory each time."""
        if len(self._pixels) < count:
            self._pixels = np.empty((count, *self._pixels.shape[1:]), np.uint8)
        return self._pixels[:count]

    def _late(self, ref: FileRef) -> Outcome:
        reason = f"decoding took longer than decode.timeout_s ({self._limits.timeout_s:g} s)"
        return Outcome(ref.file_id, OutcomeKind.UNREADABLE, ref.stat, reason=reason)

    def _prepare(
        self, ref: FileRef, roots: tuple[bytes, ...], into: "NDArray[np.uint8]", seen: Seen
    ) -> Outcome:
        got = read_file(ref, self._limits, roots)
        if isinstance(got, Outcome):
            return got
        data, stat = got
        if not data:
            return Outcome(ref.file_id, OutcomeKind.NOT_IMAGE, stat, reason="empty file")
        sha256 = sha256_of(data)
        if sha256 in ref.known or seen.first(sha256, ref.file_id) != ref.file_id:
            return Outcome(ref.file_id, OutcomeKind.KNOWN, stat, sha256)
        return self._decode(Outcome(ref.file_id, OutcomeKind.CLASSIFIED, stat, sha256), data, into)

    def _decode(self, outcome: Outcome, data: bytes, into: "NDArray[np.uint8]") -> Outcome:
        assert outcome.sha256 is not None
        try:
            image: ImageFacts = decode(data, outcome.sha256, self._geometry, self._limits, into)
        except NotAnImageError as error:
            return replace(outcome, kind=OutcomeKind.NOT_IMAGE, reason=str(error))
        except ImageError as error:
            return replace(outcome, kind=OutcomeKind.UNREADABLE, reason=str(error))
        except MemoryError:
            reason = f"decoding needs more than {self._limits.max_memory_mb} MB"
            reason += " (decode.max_memory_mb)"
            return replace(outcome, kind=OutcomeKind.UNREADABLE, reason=reason)
        return replace(outcome, image=image)

    def _score(self, run: _Run, found: dict[int, Outcome], pixels: "NDArray[np.uint8]") -> None:
        """Run the model over what was decoded, and nothing else."""
        slots = sorted(s for s, o in found.items() if o.kind is OutcomeKind.CLASSIFIED)
        if slots:
            images = pixels if len(slots) == len(pixels) else pixels[slots]
            run.scores.append(np.array(self._executable(images)))  # its own memory comes again
        run.outcomes += (found[slot] for slot in sorted(found))

    def _with_verdicts(self, run: _Run) -> list[Outcome]:
        """Read the scores of all portions at once: those of one image take as long as of many."""
        if not run.scores:
            return run.outcomes
        verdicts = iter(self._read(np.concatenate(run.scores)))
        return [
            replace(outcome, verdict=next(verdicts))
            if outcome.kind is OutcomeKind.CLASSIFIED
            else outcome
            for outcome in run.outcomes
        ]


def _agreed(outcomes: Sequence[Outcome], batch: Batch) -> Iterator[Outcome]:
    """The same bytes twice in one batch: what became of the first becomes of the others too.

    Where the first hangs in its decoder, the others have no outcome and go again.
    """
    first = {
        outcome.sha256: outcome for outcome in outcomes if outcome.kind is not OutcomeKind.KNOWN
    }
    known = {ref.file_id: ref.known for ref in batch.files}
    for outcome in outcomes:
        if outcome.kind is not OutcomeKind.KNOWN or outcome.sha256 in known[outcome.file_id]:
            yield outcome
        elif outcome.sha256 in first:
            yield _as(first[outcome.sha256], outcome)


def _as(first: Outcome, duplicate: Outcome) -> Outcome:
    if first.kind is OutcomeKind.CLASSIFIED:
        return duplicate
    return replace(duplicate, kind=first.kind, reason=first.reason)
