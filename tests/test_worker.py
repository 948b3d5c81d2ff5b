"""A worker in this process: real files of all kinds in, outcomes out; no TensorFlow."""

import hashlib
import io
import os
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon import worker as worker_module
from daemon.contracts import DecodeLimits
from daemon.domain import Batch, BatchResult, FileRef, FileStat
from daemon.errors import BundleError
from daemon.images.decode import decode
from daemon.preprocessing import Geometry
from daemon.scores import verdicts
from daemon.worker import Worker

FORMATS = frozenset({"jpeg", "png", "webp", "gif", "bmp", "tiff"})


class Model:
    """Says how bright an image is, and keeps how many images it was given at each call."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, images):
        self.calls.append(len(images))
        bright = images.mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - bright, bright], axis=1).astype(np.float32)


@pytest.fixture
def model():
    return Model()


def limits(**changes) -> DecodeLimits:
    values = {
        "max_pixels": 1_000_000,
        "max_bytes": 1_000_000,
        "max_memory_mb": 500,
        "timeout_s": 20.0,
        "threads": 2,
        "formats": FORMATS,
    }
    return DecodeLimits(**values | changes)


@pytest.fixture
def make(model):
    read = partial(verdicts, classes=("dark", "bright"), reading="probabilities")

    def make(executable=model, **changes) -> Worker:
        size = changes.pop("size", 32)
        return Worker(executable, read, Geometry(8, 8), limits(**changes), size)

    return make


def png(level: int = 200, size: int = 12) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), (level, level, level)).save(out, "png")
    return out.getvalue()


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def batch(*paths: Path, known: frozenset[str] = frozenset()) -> Batch:
    """A batch of the files as they are now, numbered from 1."""
    refs = [
        FileRef(number, os.fsencode(path), FileStat.of(path.lstat()), known)
        for number, path in enumerate(paths, 1)
    ]
    return Batch(1, 1, tuple(refs))


def kinds(result: BatchResult) -> list[str]:
    return [outcome.kind.value for outcome in result.outcomes]


def reasons(result: BatchResult) -> list[str | None]:
    return [outcome.reason for outcome in result.outcomes]


def test_each_file_gets_the_verdict_of_its_own_pixels(make, model, tmp_path):
    levels = [0, 255, 20, 230, 40, 210]
    paths = [put(tmp_path / f"{level}.png", png(level)) for level in levels]
    result = make().process(batch(*paths))
    labels = [outcome.verdict.label for outcome in result.outcomes]
    assert labels == ["dark" if level < 128 else "bright" for level in levels]
    assert [outcome.file_id for outcome in result.outcomes] == [1, 2, 3, 4, 5, 6]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert [outcome.sha256 for outcome in result.outcomes] == hashes
    assert [outcome.image.sha256 for outcome in result.outcomes] == hashes
    assert model.calls == [6]


def test_a_large_batch_goes_through_the_model_in_portions_of_the_best_size(make, model, tmp_path):
    paths = [put(tmp_path / f"{n}.png", png(n * 20, 12 + n)) for n in range(10)]
    paths[3].write_bytes(paths[0].read_bytes())
    result = make(size=4, threads=1).process(batch(*paths))
    assert model.calls == [3, 4, 2]
    assert kinds(result) == ["classified"] * 3 + ["known"] + ["classified"] * 6
    assert [outcome.file_id for outcome in result.outcomes] == list(range(1, 11))
    labels = [outcome.verdict.label for outcome in result.outcomes if outcome.verdict]
    assert labels == ["dark"] * 6 + ["bright"] * 3


def test_the_outcome_carries_the_facts_of_the_image_and_of_the_file(make, tmp_path):
    path = put(tmp_path / "a", png(size=12))
    (outcome,) = make().process(batch(path)).outcomes
    assert (outcome.image.format, outcome.image.width, outcome.image.height) == ("PNG", 12, 12)
    assert outcome.image.size == path.stat().st_size
    assert outcome.stat == FileStat.of(path.stat())


def test_bad_files_do_not_disturb_the_good_ones(make, model, tmp_path):
    good = png()
    paths = [
        put(tmp_path / "good.png", good),
        put(tmp_path / "cut.png", png(1, 300)[:200]),
        put(tmp_path / "text.jpg", b"hello, I am no image\n"),
        put(tmp_path / "empty.jpg", b""),
        put(tmp_path / "large.png", bytes(2_000)),
        tmp_path / "deleted.png",
        put(tmp_path / "wrong name.jpg", png(10)),
    ]
    paths[5].touch()
    claimed = batch(*paths)
    paths[5].unlink()
    result = make(max_bytes=1_500).process(claimed)
    assert kinds(result) == [
        "classified",
        "unreadable",
        "not_image",
        "not_image",
        "unreadable",
        "vanished",
        "classified",
    ]
    assert model.calls == [2]
    assert all(reasons(result)[slot] for slot in range(1, 6))
    assert "decode.max_bytes" in reasons(result)[4]
    assert [outcome.verdict.label for outcome in result.outcomes if outcome.verdict] == [
        "bright",
        "dark",
    ]


def test_an_image_of_too_many_pixels_is_never_decoded(make, tmp_path):
    result = make(max_pixels=100).process(batch(put(tmp_path / "a.png", png(size=11))))
    assert kinds(result) == ["unreadable"] and "decode.max_pixels" in reasons(result)[0]


def test_a_batch_without_any_image_does_not_run_the_model(make, model, tmp_path):
    result = make().process(batch(put(tmp_path / "a", b"text\n"), put(tmp_path / "b", b"%PDF-")))
    assert kinds(result) == ["not_image", "not_image"] and model.calls == []


def test_a_file_without_rights_may_be_readable_later(make, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path = put(tmp_path / "a.png", png())
    path.chmod(0)
    result = make().process(batch(path))
    assert kinds(result) == ["transient"] and "permission denied" in reasons(result)[0]


@pytest.mark.parametrize("what", ["fifo", "link", "folder"])
def test_what_was_put_in_the_place_of_a_claimed_file_is_not_read(make, model, tmp_path, what):
    path = put(tmp_path / "a.png", png())
    secret = put(tmp_path / "secret.png", png())
    claimed = batch(path)
    path.unlink()
    if what == "fifo":
        os.mkfifo(path)  # nobody writes: an ordinary open would wait for ever
    elif what == "link":
        path.symlink_to(secret)
    else:
        path.mkdir()
    result = make().process(claimed)
    assert kinds(result) == ["not_image"] and model.calls == []
    assert reasons(result)[0] in ("not a regular file", "symbolic link, not followed")


def test_no_file_is_read_through_a_link_that_took_a_folders_place(make, model, tmp_path):
    root, outside = tmp_path / "inbox", tmp_path / "outside"
    for folder in (root / "a" / "b", outside / "b"):
        folder.mkdir(parents=True)
    put(outside / "b" / "x.png", png())
    path = root / "a" / "b" / "x.png"
    os.link(outside / "b" / "x.png", path)  # so that not even the inode differs
    claimed = replace(batch(path), roots=(os.fsencode(tmp_path), os.fsencode(root)))
    assert kinds(make().process(claimed)) == ["classified"]
    (root / "a").rename(tmp_path / "moved")
    (root / "a").symlink_to(outside)
    assert path.exists()
    assert kinds(make().process(claimed)) == ["vanished"] and model.calls == [1]


def test_the_folder_of_a_source_may_itself_be_a_link(make, tmp_path):
    put(tmp_path / "x.png", png())
    (tmp_path / "inbox").symlink_to(tmp_path)
    claimed = replace(batch(tmp_path / "inbox" / "x.png"), roots=(os.fsencode(tmp_path / "inbox"),))
    assert kinds(make().process(claimed)) == ["classified"]


def test_another_version_than_the_claimed_one_is_not_classified_under_it(make, model, tmp_path):
    path = put(tmp_path / "a.png", png())
    claimed = batch(path)
    put(path, png(size=40))
    result = make().process(claimed)
    assert kinds(result) == ["changed"] and model.calls == []
    assert result.outcomes[0].stat == FileStat.of(path.stat())


def test_a_file_that_grows_while_it_is_read_is_not_classified(make, tmp_path, monkeypatch):
    path = put(tmp_path / "a.png", png(size=40))
    claimed = batch(path)
    read = os.read

    def read_while_writing(handle: int, count: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"more")
        return read(handle, count)

    monkeypatch.setattr(os, "read", read_while_writing)
    assert kinds(make().process(claimed)) == ["changed"]


def test_the_same_bytes_in_one_batch_are_decoded_and_scored_once(make, model, tmp_path):
    paths = [put(tmp_path / f"{number}.png", png()) for number in range(5)]
    result = make().process(batch(*paths))
    assert sorted(kinds(result)) == ["classified", *["known"] * 4]
    assert model.calls == [1]
    assert len({outcome.sha256 for outcome in result.outcomes}) == 1


def test_bytes_that_this_model_has_answered_run_nothing(make, model, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_module, "decode", None)
    path = put(tmp_path / "a.png", png())
    known = frozenset({hashlib.sha256(path.read_bytes()).hexdigest()})
    result = make().process(batch(path, known=known))
    assert kinds(result) == ["known"] and model.calls == []


def test_duplicates_of_a_damaged_file_fail_for_the_same_reason(make, tmp_path):
    paths = [put(tmp_path / f"{number}.png", png(1, 300)[:200]) for number in range(3)]
    result = make().process(batch(*paths))
    assert kinds(result) == ["unreadable"] * 3
    assert len(set(reasons(result))) == 1


# --- a decoder that hangs


@pytest.fixture
def hang(monkeypatch):
    """Decoding of images of this one size hangs until the test ends."""
    end = threading.Event()

    def decode_or_hang(data, sha256, geometry, limits, out):
        if Image.open(io.BytesIO(data)).width == 99:
            end.wait(30)
        return decode(data, sha256, geometry, limits, out)

    monkeypatch.setattr(worker_module, "decode", decode_or_hang)
    yield
    end.set()


def test_a_hanging_decoder_costs_only_its_own_file(make, model, hang, tmp_path):
    levels = [250, 0, 100, 200]
    paths = [put(tmp_path / f"{level}.png", png(level)) for level in levels]
    paths.insert(1, put(tmp_path / "hangs.png", png(size=99)))
    worker = make(timeout_s=0.5)
    began = time.monotonic()
    result = worker.process(batch(*paths))
    assert time.monotonic() - began < 10
    assert kinds(result) == ["classified", "unreadable", *["classified"] * 3]
    assert "decode.timeout_s" in reasons(result)[1]
    assert worker.is_stuck


def test_files_that_waited_behind_hanging_decoders_are_left_for_another_try(make, hang, tmp_path):
    stuck = [put(tmp_path / f"hangs{number}.png", png(number, 99)) for number in range(2)]
    waiting = [put(tmp_path / f"{level}.png", png(level)) for level in (10, 20)]
    worker = make(timeout_s=0.5, threads=2)
    result = worker.process(batch(*stuck, *waiting))
    assert [outcome.file_id for outcome in result.outcomes] == [1, 2]
    assert kinds(result) == ["unreadable", "unreadable"]
    assert worker.is_stuck


def test_a_duplicate_of_a_file_that_hangs_is_left_for_another_try(make, hang, tmp_path):
    paths = [put(tmp_path / f"{number}.png", png(size=99)) for number in range(2)]
    result = make(timeout_s=0.5).process(batch(*paths))
    assert kinds(result) == ["unreadable"]


def test_slow_decoders_that_end_are_no_failure(make, tmp_path, monkeypatch):
    def slowly(*values):
        time.sleep(0.4)
        return decode(*values)

    monkeypatch.setattr(worker_module, "decode", slowly)
    paths = [put(tmp_path / f"{level}.png", png(level)) for level in range(6)]
    worker = make(timeout_s=1.0, threads=1)  # 2.4 s together, 0.4 s each
    assert kinds(worker.process(batch(*paths))) == ["classified"] * 6
    assert not worker.is_stuck


def test_lack_of_memory_is_the_fault_of_the_image(make, tmp_path, monkeypatch):
    def exhausted(*_values):
        raise MemoryError

    monkeypatch.setattr(worker_module, "decode", exhausted)
    result = make().process(batch(put(tmp_path / "a.png", png())))
    assert kinds(result) == ["unreadable"] and "decode.max_memory_mb" in reasons(result)[0]


def test_scores_that_are_no_probabilities_are_recorded_for_nobody(make, model, tmp_path):
    worker = make(lambda images: np.full((len(images), 2), np.nan, np.float32))
    with pytest.raises(BundleError, match="no numbers"):
        worker.process(batch(put(tmp_path / "a.png", png())))
