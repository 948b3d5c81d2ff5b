import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from daemon.domain import Event
from plugins.sinks.jsonl import JsonlOptions, JsonlSink


def event(number: int, at: str = "", **payload: object) -> Event:
    at = at or f"2026-05-01T12:00:{number % 60:02d}.000Z"
    return Event(number, "classified", at, {"path": f"/in/{number}.jpg", **payload})


def sink(path: Path, **options: object) -> JsonlSink:
    return JsonlSink(JsonlOptions.model_validate({"path": path, **options}))


def write(path: Path, *events: Event, **options: object) -> None:
    out = sink(path, **options)
    for one in events:
        out.publish(one)
    out.close()


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["event_id"] for line in path.read_bytes().splitlines()]


def test_one_line_an_event_envelope_first(tmp_path):
    path = tmp_path / "made" / "events.jsonl"
    write(path, event(1, label="cat", kind="not mine"), event(2))
    first = json.loads(path.read_text().splitlines()[0])
    assert list(first.items()) == [
        ("event_id", 1),
        ("kind", "classified"),
        ("at", "2026-05-01T12:00:01.000Z"),
        ("path", "/in/1.jpg"),
        ("label", "cat"),
    ]
    assert numbers(path) == [1, 2]


def test_a_line_is_there_as_soon_as_publish_returns(tmp_path):
    out = sink(tmp_path / "events.jsonl")
    out.publish(event(1))
    assert numbers(tmp_path / "events.jsonl") == [1]
    out.close()


def test_names_that_are_no_utf8_or_hold_line_ends_stay_one_valid_line(tmp_path):
    path = tmp_path / "events.jsonl"
    name = os.fsdecode(b"/in/caf\xe9 \xc3\xa9\n\xe2\x80\xa8.jpg")
    write(path, event(1, path=name))
    line = path.read_bytes()
    assert line.count(b"\n") == 1
    assert json.loads(line.decode("utf-8"))["path"] == name
    assert os.fsencode(json.loads(line)["path"]) == b"/in/caf\xe9 \xc3\xa9\n\xe2\x80\xa8.jpg"


def test_events_delivered_again_are_written_once(tmp_path):
    path = tmp_path / "events.jsonl"
    write(path, event(1), event(2), event(2))
    write(path, event(1), event(2), event(3))
    assert numbers(path) == [1, 2, 3]


def test_a_new_database_that_counts_from_one_again_is_not_silenced(tmp_path):
    path = tmp_path / "events.jsonl"
    write(path, event(500))
    write(path, event(1, at="2026-06-01T00:00:00.000Z"))
    assert numbers(path) == [500, 1]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_mended(tmp_path, cut):
    path = tmp_path / "events.jsonl"
    write(path, event(1), event(2))
    path.write_bytes(path.read_bytes()[:-cut])
    write(path, event(2), event(3))
    assert numbers(path) == [1, 2, 3]


def test_zeros_left_by_a_power_cut_are_cut_off(tmp_path):
    path = tmp_path / "events.jsonl"
    write(path, event(1))
    path.write_bytes(path.read_bytes() + bytes(300))
    write(path, event(2))
    assert numbers(path) == [1, 2]


def test_lines_of_others_are_kept(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"a note without an end")
    write(path, event(1))
    assert path.read_bytes().startswith(b'a note without an end\n{"event_id": 1')


def test_a_line_longer_than_one_read_is_found_again(tmp_path):
    path = tmp_path / "events.jsonl"
    write(path, event(1), event(2, note="x" * 200_000))
    write(path, event(2), event(3))
    assert numbers(path) == [1, 2, 3]


def test_past_its_size_the_file_is_put_aside(tmp_path):
    path = tmp_path / "events.jsonl"
    write(path, *map(event, range(1, 8)), max_mb=0.0003)
    old = path.with_name("events.jsonl.1")
    assert numbers(old)[-1] + 1 == numbers(path)[0]
    assert numbers(path)[-1] == 7
    path.unlink()
    write(path, event(numbers(old)[-1]), event(8), max_mb=0.0003)
    assert numbers(path) == [8]


def test_a_file_moved_away_by_others_is_begun_anew(tmp_path):
    path = tmp_path / "events.jsonl"
    out = sink(path)
    out.publish(event(1))
    path.rename(tmp_path / "rotated")
    out.publish(event(1))
    out.publish(event(2))
    out.close()
    assert numbers(path) == [2]


def test_a_full_disk_is_not_delivered_and_nothing_is_torn_after_it(tmp_path):
    path = tmp_path / "events.jsonl"
    out = sink(path)
    out.publish(event(1))
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from daemon.domain import Event\n"
        "from plugins.sinks.jsonl import JsonlOptions, JsonlSink\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "path = Path(sys.argv[1])\n"
        "limit = path.stat().st_size + 30\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "JsonlSink(JsonlOptions(path=path)).publish(Event(2, 'classified', '2026-05-02', {}))\n"
    )
    broken = subprocess.run([sys.executable, "-c", code, path], capture_output=True, timeout=60)
    assert b"OSError" in broken.stderr and b"free some space" in broken.stderr
    assert not path.read_bytes().endswith(b"\n")
    out.close()
    write(path, event(2), event(3))
    assert numbers(path) == [1, 2, 3]


def test_killed_while_writing_every_event_is_there_once(tmp_path):
    path = tmp_path / "events.jsonl"
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from daemon.domain import Event\n"
        "from plugins.sinks.jsonl import JsonlOptions, JsonlSink\n"
        "sink = JsonlSink(JsonlOptions(path=Path(sys.argv[1])))\n"
        "for n in range(1, 100_000):\n"
        "    sink.publish(Event(n, 'classified', f'2026-05-01T00:{n:09d}', {}))\n"
        "    print(n, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, path], stdout=subprocess.PIPE, start_new_session=True
    )
    with child:
        lines = (int(line) for line in child.stdout)
        delivered = next(number for number in lines if number >= 100)
        child.send_signal(signal.SIGKILL)
    again = [Event(n, "classified", f"2026-05-01T00:{n:09d}") for n in range(90, delivered + 600)]
    write(path, *again)
    assert numbers(path) == list(range(1, delivered + 600))


def test_options_say_what_is_wrong():
    with pytest.raises(ValidationError, match="max_mb"):
        JsonlOptions.model_validate({"path": "x", "max_mb": 0})
