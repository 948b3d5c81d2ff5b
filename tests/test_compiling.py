"""A model is compiled once for this machine, and serves only where it agrees with Keras."""

import json
import logging
import os
import sys
from pathlib import Path

import pytest
from drawing import draw
from learning import open_shop

from daemon.app import ensure_active_model
from daemon.clock import utc_text
from daemon.compiling import Row, chosen
from daemon.serving import rows, serving_setup, ways
from daemon.store.models import Models
from daemon.testing import daemon_process, until

CONFIG = "database: classifyd.db\nstate_dir: state\nsources: []\n"
LIAR = '''
from pathlib import Path

from daemon.contracts import Factory, Options
from daemon.hookspecs import hookimpl


class Liar:
    """Compiles to nothing, and gives every image the same ten scores and the same novelty."""

    name = "liar"

    def key(self):
        return {"version": 1}

    def variants(self):
        return []

    def compile(self, graph, folder):
        (folder / "lie").write_text("0.1")

    def open(self, folder, max_batch):
        import numpy as np

        return lambda images: np.full((len(images), 11), 0.1, np.float32)

    def load(self, bundle, max_batch):
        raise NotImplementedError


@hookimpl
def register_runtimes():
    return [Factory("liar", lambda options: Liar())]
'''


@pytest.fixture
def shop(keras, tmp_path, classifyd):
    """Wiring over an empty database, with a runtime that tells lies beside those in the box."""
    (tmp_path / "liar.py").write_text(LIAR)
    opened = []

    def open_with(runtime):
        config = f"{CONFIG}plugins: [liar.py]\nruntime: {runtime}\n"
        wiring, engine = open_shop(tmp_path, config)
        opened.append(engine)
        models = Models(engine)
        now = utc_text(wiring.clock.now())
        return wiring, ensure_active_model(models, wiring.loaded.settings, now)

    yield open_with
    for engine in opened:
        engine.dispose()


@pytest.mark.slow
def test_the_fastest_that_agrees_serves_and_is_found_out_once(shop, monkeypatch, classifyd):
    wiring, version = shop("auto")
    setup = serving_setup(wiring, version)
    by_name = {way.selection.name: way for way in ways(wiring, version) if way.is_exact}
    assert setup.compiled == by_name[setup.runtime].folder
    assert setup.batch_size == by_name[setup.runtime].row().batch_size
    assert setup.limits.threads == 1  # one worker a processor
    told = {row.runtime: row for row in rows(wiring, version) if not row.options}
    assert set(told) == {"keras", *by_name} > {"liar", "openvino"}
    exact = {name for name in by_name if name != "liar"}
    assert {told[name].agreement for name in exact} == {1.0} != {told["liar"].agreement}
    assert max(told[name].difference for name in exact) < 1e-4 < told["liar"].difference
    assert told[setup.runtime].pace == max(told[name].pace for name in exact)
    less_exact = [row.error for row in rows(wiring, version) if row.options]
    assert all("0 of 64 images to compare it on" in error for error in less_exact)
    monkeypatch.setattr(sys, "executable", "/nowhere")  # nothing is compiled a second time
    assert serving_setup(wiring, version) == setup
    shown = json.loads(classifyd("models", "show", "--format", "json").out)
    assert {row["runtime"] for row in shown["runtimes"]} == set(told)
    assert "executed on this machine by\n  " in classifyd("models", "show").out


@pytest.mark.slow
def test_what_disagrees_never_serves(shop, caplog):
    wiring, version = shop("liar")
    logging.getLogger("classifyd.model").addHandler(caplog.handler)
    setup = serving_setup(wiring, version)
    logging.getLogger("classifyd.model").removeHandler(caplog.handler)
    assert (setup.runtime, setup.compiled) == ("keras", None)
    assert "is served by keras: liar gives" in caplog.text


def test_a_runtime_of_its_own_kind_is_left_alone(shop):
    wiring, version = shop("keras")
    assert (serving_setup(wiring, version).runtime, rows(wiring, version)) == ("keras", [])


class _Known:
    def __init__(self, row):
        self._row = row

    def row(self):
        return self._row


def test_the_smallest_batch_that_is_as_fast_as_any_is_the_best():
    row = Row("quick", {}, 1.0, 0.0, 64, {"1": 700.0, "4": 980.0, "8": 1000.0, "32": 900.0})
    assert (row.pace, row.batch_size) == (1000.0, 4)
    assert Row("broken", {}, error="boom").batch_size is None


def test_speed_counts_only_among_those_that_agree():
    def way(name, agreement, difference, speed, error=None):
        return _Known(Row(name, {}, agreement, difference, 64, {"8": speed}, error))

    quick, exact = way("quick", 0.99, 0.1, 900), way("exact", 1.0, 1e-5, 300)
    slow, broken = way("slow", 1.0, 1e-5, 100), way("broken", 1.0, 0, 999, "boom")
    assert chosen([quick, exact, slow, broken], 1.0, 0.01) is exact
    assert chosen([quick, exact, slow, broken], 0.98, 0.2) is quick
    assert chosen([quick, broken, _Known(None)], 1.0, 0.01) is None


@pytest.mark.slow
def test_a_daemon_on_a_compiled_model_never_loads_tensorflow(tmp_path):
    with daemon_process(tmp_path, {"runtime": "auto", "plugins": []}) as daemon:
        daemon.start()
        draw(daemon.inbox / "a.png", 4)
        daemon.until_done(1)
        processes = [daemon.process.pid, *daemon.workers()]
        assert len(processes) == 1 + len(os.sched_getaffinity(0))
        for pid in processes:
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert "pywrap_tensorflow" not in maps
            libraries = ("openvino", "ai_edge_litert", "onnxruntime")
            assert any(name in maps for name in libraries) is (pid != daemon.process.pid)
        assert daemon.run("models", "rollback").returncode == 2  # there is no other
        beat = daemon.query("SELECT json_extract(detail, '$.runtime') FROM heartbeat")
        assert beat[0][0] in ("openvino", "litert", "onnx")
        assert daemon.stop() == 0
        daemon.start()
        until(lambda: daemon.log.read_text().count("is active") == 2, what="a warm start")
        assert daemon.log.read_text().count("compiling model") == 1
