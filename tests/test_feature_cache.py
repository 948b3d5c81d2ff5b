"""Features are computed once for a content, and a killed writer leaves no half of any."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from benches import COLOURS, TinyBackbone, draw, make_bench, make_plan, make_retrainer, quiet

from daemon.domain import ImageFacts
from daemon.training import collect, features, train
from daemon.training.cache import FeatureCache, cache_key

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def facts(number):
    return ImageFacts(f"{number:064x}", 1, "PNG", 8, 8, None, "0" * 16)


def rows(numbers):
    return np.array([[number, -number] for number in numbers], np.float16)


def add(cache, numbers):
    cache.add([facts(number) for number in numbers], rows(numbers))


def test_rows_come_back_in_any_order_from_any_shard(tmp_path):
    cache = FeatureCache(tmp_path, (2,))
    add(cache, range(5))
    add(FeatureCache(tmp_path, (2,)), range(5, 9))
    cache.refresh()
    found = cache.take([facts(number).sha256 for number in (7, 0, 8, 3)])
    assert len(found) == 4
    np.testing.assert_array_equal(found[np.arange(4)], rows([7, 0, 8, 3]))
    np.testing.assert_array_equal(found[np.array([2, 2])], rows([8, 8]))
    assert facts(9).sha256 not in cache
    assert cache.facts(facts(3).sha256) == facts(3)


def test_damaged_shards_are_passed_over_and_leftovers_cleared(tmp_path):
    cache = FeatureCache(tmp_path, (2,))
    add(cache, [1, 2])
    add(cache, [3])
    damaged = sorted(tmp_path.glob("*.npy"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (tmp_path / "dead.npy").write_bytes(b"no index: its writer was killed")
    (tmp_path / "dead.jsonl.part").write_bytes(b"half")
    after = FeatureCache(tmp_path, (2,))
    assert sum(facts(number).sha256 in after for number in (1, 2, 3)) in (1, 2)
    assert not list(tmp_path.glob("dead*"))


def test_killed_at_any_moment_every_row_is_whole(tmp_path):
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from test_feature_cache import FeatureCache, add\n"
        "cache = FeatureCache(Path(sys.argv[1]), (2,))\n"
        "for start in range(0, 10**6, 50):\n"
        "    add(cache, range(start, start + 50)); print(start, flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), *sys.path]
    for wanted in (3, 9):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(wanted):
                writer.stdout.readline()
            os.kill(writer.pid, signal.SIGKILL)
        cache = FeatureCache(tmp_path, (2,))
        there = [number for number in range(wanted * 50) if facts(number).sha256 in cache]
        assert there == list(range(wanted * 50))
        found = cache.take([facts(number).sha256 for number in there])
        np.testing.assert_array_equal(found[np.arange(len(there))], rows(there))


def test_the_key_follows_backbone_weights_and_geometry():
    first = cache_key(backbone="a", options={"alpha": 1.0}, geometry="64")
    assert first == cache_key(geometry="64", options={"alpha": 1.0}, backbone="a")
    assert first != cache_key(backbone="a", options={"alpha": 0.5}, geometry="64")


@pytest.mark.slow
def test_a_second_run_decodes_nothing_and_comes_to_the_same(tmp_path, monkeypatch):
    for name in COLOURS:
        draw(tmp_path / "images", name, 8)
    computed = []
    compute = features._compute

    def counting(front, items, *rest):
        computed.append(len(items))
        return compute(front, items, *rest)

    monkeypatch.setattr(features, "_compute", counting)

    def run(backbone=None):
        bench = make_bench(tmp_path, backbone=backbone)
        collection = collect(tmp_path / "images", quiet)
        return train(collection, make_retrainer("probe", {}), make_plan(), bench)

    first, second = run(), run()
    assert computed == [24]
    assert first.images == second.images
    for one, other in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    draw(tmp_path / "images", "red", 2, start=50)
    run()
    assert computed == [24, 2]
    run(TinyBackbone(scale=2.0))
    assert len(list((tmp_path / "features").iterdir())) >= 1
