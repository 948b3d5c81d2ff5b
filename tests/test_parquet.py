"""Every listing as Parquet: the same rows as in JSON, to a file or a pipe and no terminal."""

import io
import json
import sys

import pytest
from click.testing import CliRunner
from filled import at

from daemon.cli import cli

LISTINGS = (
    "results",
    "failed",
    "runs",
    "review",
    "models list",
    "labels list",
    "plugins",
    "plugins folder",
    "config show",
)


@pytest.fixture
def one_of_each(filled, tmp_path, monkeypatch):
    """A database in which every listing finds something."""
    filled.seen("/unsure.jpg", "dog", 0.4, unknown=True)
    filled.file("/bad.jpg", "quarantined", reason="truncated", attempts=1)
    image_id = filled.image()
    filled.seen("/cat.jpg", "cat", 0.9, image_id=image_id)
    filled.insert("label", image_id=image_id, label="cat", source="by hand", labelled_at=at())
    run = {"strategy": "probe", "state": "failed", "started_at": at(), "log": "too little"}
    filled.insert("training_run", **run, plan={}, data={"images": 3}, metrics={})
    monkeypatch.chdir(tmp_path)
    return filled


@pytest.mark.parametrize("listing", LISTINGS)
def test_every_listing_can_be_had_as_parquet(one_of_each, listing):
    import pyarrow.parquet as pq

    def told(form: str) -> bytes:
        arguments = [*listing.split(), "--format", form]
        return CliRunner().invoke(cli, arguments, catch_exceptions=False).stdout_bytes

    rows, found = json.loads(told("json")), pq.read_table(io.BytesIO(told("parquet"))).to_pylist()
    assert rows
    for row, other in zip(rows, found, strict=True):
        assert list(row) == list(other)
        for name, value in row.items():
            assert other[name] in (value, json.dumps(value))


def test_parquet_is_not_thrown_at_a_terminal(one_of_each, classifyd, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    ran = classifyd("models", "list", "--format", "parquet")
    assert (ran.code, ran.out) == (2, "") and "write it to a file with `> FILE`" in ran.err


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_one_run_is_no_list(one_of_each, classifyd, form):
    ran = classifyd("runs", "1", "--format", form)
    assert (ran.code, ran.out) == (2, "") and "--format json" in ran.err
