"""The `local` executor with real worker processes: deaths, hangs, and their end with the daemon."""

import multiprocessing
import os
import queue
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import hostile_decoder
import pytest
from drawing import draw

from daemon.contracts import DecodeLimits, WorkerSetup
from daemon.domain import Batch, BatchResult, FileRef, FileStat
from daemon.errors import RuntimeLoadError
from daemon.testing import CLASSES, stub_bundle, until, workers_of
from plugins.executors import local
from plugins.executors.local import LocalExecutor, LocalOptions

WAIT_S = 30.0


@pytest.fixture
def setup(tmp_path):
    def setup(**changes) -> WorkerSetup:
        limits = DecodeLimits(10**6, 10**6, 500, 20.0, 1, frozenset({"png"}))
        values = {
            "bundle": tmp_path / "bundles" / "stub",
            "runtime": "brightness",
            "runtime_options": {},
            "limits": limits,
            "max_batch": 8,
            "base": tmp_path,
            "plugins": ("daemon.testing.stubs",),
        }
        return WorkerSetup(**values | changes)

    stub_bundle(tmp_path / "bundles")
    return setup


@contextmanager
def executor(setup: WorkerSetup, workers: int = 1):
    """A started executor and the queue in which its results arrive."""
    results: queue.Queue[BatchResult] = queue.Queue()
    running = LocalExecutor(LocalOptions(workers=workers))
    running.start(setup, results.put)
    try:
        yield running, results
    finally:
        running.stop(0.0)


def batch(number: int, *paths: Path) -> Batch:
    refs = [
        FileRef(10 * number + slot, os.fsencode(path), FileStat.of(path.stat()))
        for slot, path in enumerate(paths)
    ]
    return Batch(number, 1, tuple(refs))


def pids() -> list[int]:
    return workers_of(os.getpid())


def exists(pid: int) -> bool:
    """Whether a process has not ended; one that waits to be reaped has."""
    try:
        _, _, fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")
    except OSError:
        return False
    return fields.split()[0] != "Z"


def labels(result: BatchResult) -> list[str]:
    return [outcome.verdict.label for outcome in result.outcomes if outcome.verdict]


def test_batches_are_answered_each_once_by_warm_workers(setup, tmp_path):
    paths = [draw(tmp_path / f"{band}.png", band) for band in range(10)]
    with executor(setup(), workers=2) as (running, results):
        assert len(pids()) == 2
        for number, path in enumerate(paths):
            running.submit(batch(number, path))
        answers = [results.get(timeout=WAIT_S) for _ in paths]
        assert results.empty()
    by_batch = {answer.batch.batch_id: answer for answer in answers}
    assert [labels(by_batch[number]) for number in range(10)] == [[name] for name in CLASSES]
    assert pids() == []


SLOW_ONCE = """
import time
from daemon.contracts import Factory
from daemon.hookspecs import hookimpl
from daemon.testing import BrightnessOptions, BrightnessRuntime

class SlowOnce(BrightnessRuntime):
    def load(self, bundle, max_batch):
        score, mark = super().load(bundle, max_batch), bundle / "scoring"

        def slow_once(images):
            if not mark.exists():
                mark.touch()
                time.sleep(60)
            return score(images)

        return slow_once

@hookimpl
def register_runtimes():
    yield Factory("slow_once", SlowOnce, BrightnessOptions)
"""


def test_a_killed_worker_fails_its_batch_and_the_next_one_is_answered(setup, tmp_path):
    plugin = tmp_path / "slow_once_plugin.py"
    plugin.write_text(SLOW_ONCE)
    path = draw(tmp_path / "a.png", 3)
    with executor(setup(runtime="slow_once", plugins=(str(plugin),))) as (running, results):
        (pid,) = pids()
        running.submit(batch(1, path))
        running.submit(batch(2, path))
        until((setup().bundle / "scoring").exists)
        os.kill(pid, signal.SIGKILL)
        failed, answered = (results.get(timeout=WAIT_S) for _ in range(2))
    assert failed.failure == "the worker was killed by signal 9 (SIGKILL)"
    assert failed.batch.batch_id == 1 and failed.outcomes == ()
    assert answered.batch.batch_id == 2 and labels(answered) == ["band-3"]


def test_a_worker_that_died_while_idle_is_replaced_before_the_next_batch(setup, tmp_path):
    with executor(setup()) as (running, results):
        (pid,) = pids()
        os.kill(pid, signal.SIGKILL)
        until(lambda: not multiprocessing.active_children())
        running.submit(batch(1, draw(tmp_path / "a.png", 7)))
        assert labels(results.get(timeout=WAIT_S)) == ["band-7"]


def test_a_silent_worker_is_killed_and_replaced(setup, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "_INFERENCE_S", 0.0)
    limits = DecodeLimits(10**6, 10**6, 500, 0.3, 1, frozenset({"png"}))
    path = draw(tmp_path / "a.png", 1)
    with executor(setup(limits=limits)) as (running, results):
        (pid,) = pids()
        os.kill(pid, signal.SIGSTOP)
        running.submit(batch(1, path))
        assert results.get(timeout=WAIT_S).failure == "the worker gave no answer in 0.6 s"
        assert not exists(pid)
        running.submit(batch(2, path))
        assert labels(results.get(timeout=WAIT_S)) == ["band-1"]


def test_stop_finishes_what_is_queued(setup, tmp_path):
    path = draw(tmp_path / "a.png", 1)
    with executor(setup(runtime_options={"batch_s": 0.3})) as (running, results):
        for number in range(3):
            running.submit(batch(number, path))
        running.stop(WAIT_S)
        assert [results.get_nowait().failure for _ in range(3)] == [None, None, None]
        assert pids() == []


def test_stop_ends_in_time_whatever_the_workers_do_and_starts_none_anew(setup, tmp_path):
    path = draw(tmp_path / "a.png", 1)
    with executor(setup(runtime_options={"batch_s": 60})) as (running, results):
        for number in range(3):
            running.submit(batch(number, path))
        running.stop(0.3)
        answers = [results.get(timeout=WAIT_S) for _ in range(3)]
        assert all(answer.failure for answer in answers)
        assert pids() == []


def test_stop_says_nothing_of_workers_that_it_keeps_from_being_replaced(setup, tmp_path, caplog):
    path = draw(tmp_path / "a.png", 1)
    with executor(setup(runtime_options={"batch_s": 60})) as (running, results):
        for number in range(2):
            running.submit(batch(number, path))
        running.stop(0.3)
        assert [results.get(timeout=WAIT_S).failure for _ in range(2)]
        assert running.trouble is None and caplog.text == ""


def test_a_damaged_bundle_is_refused_in_its_own_words(setup, tmp_path):
    (tmp_path / "bundles" / "stub" / "model.keras").write_bytes(b"other bytes")
    with pytest.raises(RuntimeLoadError, match=r"model\.keras was altered"), executor(setup()):
        pass
    assert pids() == []


def test_an_unknown_runtime_is_refused_in_its_own_words(setup):
    with (
        pytest.raises(RuntimeLoadError, match="no-such-runtime"),
        executor(setup(runtime="no-such-runtime"), workers=2),
    ):
        pass
    assert pids() == []


AWAY = """
from daemon.contracts import Factory
from daemon.errors import RuntimeLoadError
from daemon.hookspecs import hookimpl
from daemon.testing.stubs import BrightnessOptions, BrightnessRuntime

class Away(BrightnessRuntime):
    name = "away"
    def load(self, bundle, max_batch):
        if (bundle / "away").exists():
            raise RuntimeLoadError("the disk is away")
        return super().load(bundle, max_batch)

@hookimpl
def register_runtimes():
    yield Factory("away", Away, BrightnessOptions)
"""


def test_a_worker_that_cannot_be_replaced_is_tried_until_it_can(setup, tmp_path):
    plugin = tmp_path / "away.py"
    plugin.write_text(AWAY)
    made = setup(runtime="away", plugins=(str(plugin),))
    with executor(made) as (running, results):
        (made.bundle / "away").touch()
        (pid,) = pids()
        os.kill(pid, signal.SIGKILL)
        until(lambda: not multiprocessing.active_children())
        running.submit(batch(1, draw(tmp_path / "a.png", 7)))
        until(lambda: running.trouble)
        assert "the disk is away" in running.trouble
        (made.bundle / "away").unlink()
        assert labels(results.get(timeout=WAIT_S)) == ["band-7"]
        assert running.trouble is None


PARENT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from daemon.contracts import DecodeLimits, WorkerSetup
from plugins.executors.local import LocalExecutor, LocalOptions

if __name__ == "__main__":
    limits = DecodeLimits(10**6, 10**6, 500, 20.0, 1, frozenset({{"png"}}))
    setup = WorkerSetup(Path(sys.argv[1]), "brightness", {{}}, limits, 8, Path("."),
                        ("daemon.testing.stubs",))
    executor = LocalExecutor(LocalOptions(workers=2))
    executor.start(setup, print)
    import multiprocessing
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    time.sleep(60)
"""


def test_workers_end_with_a_killed_parent(setup, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(tests=str(Path(__file__).parent)))
    with subprocess.Popen(
        [sys.executable, script, setup().bundle], stdout=subprocess.PIPE, text=True
    ) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2 and all(map(exists, workers))
        parent.kill()
    until(lambda: not any(map(exists, workers)), 10.0, "the workers' end")


# --- faults of native code


HOSTILE = {"runtime": "hostile", "plugins": (str(Path(__file__).with_name("hostile_decoder.py")),)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "says", "is_crash"),
    [
        (hostile_decoder.SEGFAULT, "the worker was killed by signal 11 (SIGSEGV)", True),
        (hostile_decoder.ABORT, "the worker was killed by signal 6 (SIGABRT)", True),
        (hostile_decoder.HANG, "the worker hung in a decoder (decode.timeout_s)", True),
        (hostile_decoder.EXIT, "the worker ended with code 3", True),
    ],
)
def test_a_decoder_that_takes_its_worker_along_costs_one_batch(
    setup, tmp_path, width, says, is_crash
):
    limits = DecodeLimits(10**6, 10**6, 500, 0.2, 1, frozenset({"png"}))
    guilty = draw(tmp_path / "guilty.png", 1, size=width)
    with executor(setup(limits=limits, **HOSTILE)) as (running, results):
        (pid,) = pids()
        running.submit(batch(1, guilty))
        running.submit(batch(2, draw(tmp_path / "a.png", 7)))
        failed, answered = (results.get(timeout=WAIT_S) for _ in range(2))
        assert (failed.failure, failed.is_crash) == (says, is_crash)
        assert labels(answered) == ["band-7"]
        assert not exists(pid)


@pytest.mark.slow
def test_a_worker_that_grows_is_replaced_between_two_batches(setup, tmp_path, caplog):
    limits = DecodeLimits(10**6, 10**6, 64, 20.0, 1, frozenset({"png"}))
    with executor(setup(limits=limits, **HOSTILE)) as (running, results):
        before = pids()
        for number in range(60):
            path = draw(tmp_path / f"{number}.png", 4, hostile_decoder.LEAK)
            running.submit(batch(number, path))
        answers = [results.get(timeout=WAIT_S) for _ in range(60)]
        assert [labels(answer) for answer in answers] == [["band-4"]] * 60
        assert pids() != before
    assert "a worker is replaced: it has grown by" in caplog.text
