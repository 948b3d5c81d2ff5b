"""The commands that read: what they print, their exit codes, and what they must not load."""

import csv
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from filled import at

from daemon.cli import cli, main
from daemon.cli.times import moment, utc_text
from daemon.errors import UsageError
from daemon.text import printable

ROOT = Path(__file__).parents[1]


@pytest.fixture
def three(filled, tmp_path):
    """Three results, the newest an unknown one."""
    filled.seen(tmp_path / "inbox" / "a.jpg", "cat", 0.934567, 1, taken_at="2026-04-30T09:15:00")
    filled.seen(tmp_path / "inbox" / "b.jpg", "dog", 0.5, 2)
    filled.seen(tmp_path / "other" / "c.jpg", "bird", 0.21, 3, unknown=True, source="camera")
    return filled


# --- results: formats


def test_results_as_json_have_all_columns_raw(classifyd, three, tmp_path):
    rows = json.loads(classifyd("results", "--format", "json").out)
    assert [Path(row["path"]).name for row in rows] == ["c.jpg", "b.jpg", "a.jpg"]
    assert rows[2] == {
        "classified_at": at(1),
        "label": "cat",
        "confidence": 0.934567,
        "is_unknown": False,
        "path": str(tmp_path / "inbox" / "a.jpg"),
        "model_version": "compact-1",
        "source": "inbox",
        "taken_at": "2026-04-30T09:15:00",
    }


def test_all_formats_say_the_same(classifyd, three, tmp_path):
    import pyarrow.parquet as pq

    rows = json.loads(classifyd("results", "--format", "json").out)
    lines = classifyd("results", "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == rows
    table = list(csv.DictReader(io.StringIO(classifyd("results", "--format", "csv").out)))
    assert [row["path"] for row in table] == [row["path"] for row in rows]
    assert [row["is_unknown"] for row in table] == ["true", "false", "false"]
    assert [row["taken_at"] for row in table] == ["", "", "2026-04-30T09:15:00"]
    assert classifyd("results", "--format", "parquet", "-o", "all.parquet").code == 0
    assert pq.read_table(tmp_path / "all.parquet").to_pylist() == rows


def test_tables_are_for_people(classifyd, three, in_berlin):
    lines = classifyd("results").out.splitlines()
    assert lines[0].split()[:5] == ["classified", "label", "confidence", "unknown", "path"]
    assert lines[3].split()[:4] == ["2026-05-01", "14:00:01", "cat", "0.93"]
    assert lines[1].split()[4] == "yes"
    assert len({line.index("/") for line in lines[1:]}) == 1


def test_a_wide_terminal_gets_a_table_with_the_same_cells(three, tmp_path):
    code = (
        "import os, pty, sys; pid, fd = pty.fork()\n"
        "if pid == 0: os.execv(sys.executable, [sys.executable, '-m', 'daemon', 'results'])\n"
        "import fcntl, struct, termios\n"
        "fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 50, 200, 0, 0))\n"
        "out = b''\n"
        "try:\n"
        "    while chunk := os.read(fd, 4096): out += chunk\n"
        "except OSError: pass\n"
        "sys.stdout.write(out.decode())"
    )
    done = run_python("-c", code, cwd=tmp_path)
    assert str(tmp_path / "inbox" / "a.jpg") in done.stdout
    assert "0.93" in done.stdout and "\x1b[1m" in done.stdout


def test_names_cannot_move_the_cursor_or_start_a_formula(classifyd, filled):
    filled.seen("/in/a\x1b[2Jb\n.jpg", label="=1+1")
    table = classifyd("results").out
    assert "\x1b" not in table and len(table.splitlines()) == 2
    assert "\\x1b[2Jb\\n.jpg" in table
    (row,) = csv.DictReader(io.StringIO(classifyd("results", "--format", "csv").out))
    assert row["label"] == "'=1+1" and row["path"] == "/in/a\x1b[2Jb\n.jpg"
    assert printable("Zürich 猫.jpg") == "Zürich 猫.jpg"


def test_nothing_found_is_an_empty_document_and_a_word_on_stderr(classifyd, filled):
    ran = classifyd("results", "--format", "json")
    assert (ran.code, json.loads(ran.out)) == (0, [])
    assert "nothing has been classified yet" in ran.err
    assert classifyd("results").out == ""
    filled.seen("/a.jpg", "cat")
    ran = classifyd("results", "--label", "dog")
    assert (ran.code, ran.out) == (0, "")
    assert "no image is labelled 'dog' so far" in ran.err


def test_a_listing_that_was_cut_says_so_unless_asked_for(classifyd, filled):
    for number in range(51):
        filled.seen(f"/{number}.jpg", seconds=number)
    ran = classifyd("results", "--format", "jsonl")
    assert len(ran.out.splitlines()) == 50 and "--limit 0 for all" in ran.err
    ran = classifyd("results", "--format", "jsonl", "--limit", "0")
    assert len(ran.out.splitlines()) == 51 and ran.err == ""
    ran = classifyd("results", "--format", "jsonl", "--limit", "2")
    assert len(ran.out.splitlines()) == 2 and ran.err == ""


def test_a_file_that_cannot_be_written_is_named(classifyd, three):
    ran = classifyd("results", "--format", "csv", "-o", "no/such/folder.csv")
    assert ran.code == 2 and "no/such/folder.csv" in ran.err and "Traceback" not in ran.err


# --- results: conditions


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--label", "cat"], "a"),
        (["--unknown"], "c"),
        (["--source", "camera"], "c"),
        (["--min-confidence", "0.5"], "ba"),
        (["--max-confidence", "0.5"], "cb"),
        (["--since", "2026-05-01T12:00:02Z"], "cb"),
        (["--until", "2026-05-01T12:00:02Z"], "a"),
        (["--since", "2026-05-01"], "cba"),
        (["--taken-since", "2026-04-30T09:15"], "a"),
        (["--taken-since", "2026-04-30T09:16"], ""),
        (["--path", "inbox"], "ba"),
        (["--path", "inbox/*.jpg", "--label", "dog"], "b"),
        (["--path", "*/c.jpg"], "c"),
        (["--path", "inb"], ""),
        (["--model", "compact-1", "--limit", "1"], "c"),
    ],
)
def test_conditions(classifyd, three, arguments, names):
    ran = classifyd("results", "--format", "json", *arguments)
    assert ran.code == 0, ran.err
    assert "".join(Path(row["path"]).stem for row in json.loads(ran.out)) == names


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--since", "tomorrowish"], "'tomorrowish' is no time"),
        (["--taken-since", "1x"], "'1x' is no time"),
        (["--label", "catt"], "there is no class 'catt'; did you mean cat?"),
        (["--label", "zzz"], "known: bird, cat, dog"),
        (["--model", "compact-9"], "did you mean compact-1?"),
        (["--source", "inbx"], "did you mean inbox?"),
        (["--min-confidence", "80"], "0<=x<=1"),
        (["--follow", "-o", "x.csv"], "--follow"),
        (["--follow", "--format", "json"], "jsonl"),
    ],
)
def test_bad_values_are_refused_with_what_is_close(classifyd, three, arguments, says):
    ran = classifyd("results", *arguments)
    assert ran.code == 2
    assert says in ran.err and "Traceback" not in ran.err


def test_times_as_people_write_them(in_berlin):
    now = datetime(2026, 5, 2, 12, tzinfo=UTC)
    assert moment("90m", now) == now - timedelta(minutes=90)
    assert moment("2 w", now) == now - timedelta(days=14)
    assert utc_text(moment("2026-05-01T14:00", now)) == "2026-05-01T12:00:00.000Z"
    assert utc_text(moment("2026-05-01", now)) == "2026-04-30T22:00:00.000Z"
    assert utc_text(moment("2026-05-01T12:00:00.123456Z", now)) == "2026-05-01T12:00:00.123Z"
    for wrong in ("", "d", "-1d", "99999999999d", "2026-13-01", "yesterday"):
        with pytest.raises(UsageError):
            moment(wrong, now)


# --- results: as a process


def run_python(*arguments, **options):
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environ,
        **options,
    )


def test_following_prints_at_once_and_ends_well_on_ctrl_c(three, tmp_path):
    command = "-m daemon results --follow --format jsonl --since 2026-05-01"
    process = subprocess.Popen(
        [sys.executable, *command.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        past = [json.loads(process.stdout.readline())["label"] for _ in range(3)]
        three.seen("/new.jpg", "dog", seconds=4)
        assert json.loads(process.stdout.readline())["path"] == "/new.jpg"
        assert past == ["cat", "dog", "bird"]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
    finally:
        process.kill()
        process.communicate()


def test_following_as_a_table_and_as_csv(classifyd, three):
    following = ("results", "--follow", "--since", "2026-05-01", "--limit", "3")
    lines = classifyd(*following).out.splitlines()
    assert [line.split()[2] for line in lines[1:]] == ["cat", "dog", "bird"]
    assert len(classifyd(*following, "--format", "csv").out.splitlines()) == 4


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_failure(filled, tmp_path):
    for number in range(2000):
        filled.seen(f"/{number:0200d}.jpg", image_id=1 if number else None, model=str(number))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m daemon results --limit 0 | head -1"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_reading_commands_load_no_heavy_library(three, tmp_path):
    script = """
import sys
from daemon.cli import cli, main
for command in ("results", "why inbox/a.jpg", "failed", "retry --all", "status", "db backup"):
    for form in ("", " --format json"):
        sys.argv = ["classifyd", *(command + form).split()]
        try: main()
        except SystemExit: pass
heavy = "tensorflow keras numpy PIL pyarrow rich alembic pluggy daemon.store.schema".split()
sys.stdout.write("\\nloaded: " + " ".join(name for name in heavy if name in sys.modules))
"""
    done = run_python("-c", script, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "loaded: ", done.stderr


# --- why


def test_why_tells_a_whole_story(classifyd, filled, tmp_path, in_berlin):
    image = filled.image(taken_at="2026-04-30T09:15:00")
    filled.file(tmp_path / "a.jpg", "quarantined", is_current=False, reason="truncated", attempts=3)
    filled.model("tiny-2")
    filled.prediction(image, "dog", 0.4, model="tiny-2", unknown=True)
    filled.seen(tmp_path / "a.jpg", "cat", 0.93, 5, image_id=image, removed_at=at(99))
    filled.insert("label", image_id=image, label="dog", source="csv", who="ann", labelled_at=at(7))
    out = classifyd("why", "a.jpg").out
    for part in (
        str(tmp_path / "a.jpg"),
        "Now: done since 2026-05-01 14:00:05",
        "deleted       2026-05-01 14:01:39",
        "640 x 480 pixels, taken 2026-04-30 09:15:00",
        "cat 0.93, bird 0.04, by compact-1",
        "dog 0.40, bird 0.30 (unknown: fits no class well), by tiny-2",
        "dog, 2026-05-01 14:00:07 from csv by ann",
        "An earlier version: quarantined",
        "reason        truncated",
        "attempts      3",
    ):
        assert part in out
    story = json.loads(classifyd("why", "a.jpg", "--format", "json").out)
    assert [version["state"] for version in story["versions"]] == ["done", "quarantined"]
    shown = [row["is_shown"] for row in story["versions"][0]["image"]["predictions"]]
    assert shown == [True, False]


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("settling", "may still be written"),
        ("queued", "waits for a worker"),
        ("retry", "next try      2026-"),
        ("quarantined", "classifyd retry"),
        ("ignored", "rule: *.tmp"),
        ("gone", "vanished before it was read"),
    ],
)
def test_why_explains_every_state(classifyd, filled, tmp_path, state, says):
    filled.file(tmp_path / "a", state, reason="rule: *.tmp", next_try_at=at(60))
    assert says in classifyd("why", tmp_path / "a").out


def test_why_finds_names_that_are_no_text_and_ways_through_links(classifyd, filled, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    filled.file(os.fsencode(tmp_path) + b"/real/\xff\n.jpg", "queued")
    ran = classifyd("why", os.fsdecode(b"link/\xff\n.jpg"))
    assert ran.code == 0
    assert "real/\\xff\\n.jpg" in ran.out


def test_why_says_what_may_be_wrong_with_a_path_never_seen(classifyd, filled, tmp_path):
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "new.jpg").touch()
    (tmp_path / "else.jpg").touch()
    for path, says in (
        ("inbox/new.jpg", f"in the watched folder {tmp_path / 'inbox'}"),
        ("else.jpg", f"in none of the watched folders ({tmp_path / 'inbox'})"),
        ("missing.jpg", "does not exist"),
        ("inbox", "is a folder"),
    ):
        ran = classifyd("why", path)
        assert ran.code == 1 and "never seen" in ran.err and says in ran.err


# --- failed, retry


@pytest.fixture
def failures(filled):
    filled.file("/bad/1.jpg", "quarantined", reason="truncated", attempts=1, state_at=at(1))
    filled.file(
        "/bad/2.jpg", "retry", reason="I/O error", attempts=2, next_try_at=at(99), state_at=at(2)
    )
    filled.file("/bad/3.jpg", "quarantined", state_at=at(3), removed_at=at(4), attempts=5)
    filled.file("/bad/old.jpg", "quarantined", is_current=False)
    filled.seen("/good.jpg")
    return filled


def states(filled):
    rows = filled.execute("SELECT path, state, attempts, next_try_at, reason FROM file")
    return {path: tuple(rest) for path, *rest in rows}


def test_failed_lists_what_waits_and_what_is_given_up(classifyd, failures):
    rows = json.loads(classifyd("failed", "--format", "json").out)
    assert [row["path"] for row in rows] == ["/bad/3.jpg", "/bad/2.jpg", "/bad/1.jpg"]
    assert rows[1]["reason"] == "I/O error" and rows[1]["next_try_at"] == at(99)
    assert len(classifyd("failed", "--limit", "1", "--format", "jsonl").out.splitlines()) == 1
    failures.execute("DELETE FROM file WHERE state IN ('retry', 'quarantined')")
    ran = classifyd("failed")
    assert (ran.code, ran.out) == (0, "") and "no file has failed" in ran.err


def test_status_tells_of_the_files_given_up_last_not_of_those_found_last(classifyd, filled):
    filled.file("/tried/again.jpg", "quarantined", reason="truncated", state_at=at(9))
    filled.file("/found/later.jpg", "quarantined", reason="damaged", state_at=at(1))
    told = json.loads(classifyd("status", "--format", "json").out)["last_failures"]
    assert [failure["path"] for failure in told] == ["/tried/again.jpg", "/found/later.jpg"]


def test_a_wrong_command_is_told_what_is_close(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["classifyd", "rsults"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "there is no command rsults; did you mean results?" in capsys.readouterr().err


def test_retry_gives_a_file_all_its_tries_again(classifyd, failures):
    ran = classifyd("retry", "/bad/1.jpg", "/bad/2.jpg")
    assert (ran.code, ran.out) == (0, "2 files queued again\n")
    after = states(failures)
    assert after["/bad/1.jpg"] == after["/bad/2.jpg"] == ("queued", 0, None, None)
    assert after["/bad/3.jpg"][0] == after["/bad/old.jpg"][0] == "quarantined"


def test_retry_all(classifyd, failures):
    assert classifyd("retry", "--all").out == "2 files queued again\n"
    assert classifyd("retry", "--all").out == "0 files queued again\n"
    assert states(failures)["/good.jpg"][0] == "done"


def test_retry_says_of_each_other_path_why_not(classifyd, failures):
    ran = classifyd("retry", "/bad/1.jpg", "/good.jpg", "/bad/3.jpg", "/nowhere.jpg")
    assert (ran.code, ran.out) == (1, "1 file queued again\n")
    for says in ("/good.jpg: has not failed, it is done", "/bad/3.jpg: was deleted"):
        assert says in ran.err
    assert "/nowhere.jpg: the daemon has never seen this file" in ran.err
    assert classifyd("retry").code == classifyd("retry", "--all", "/bad/1.jpg").code == 2


# --- status


def test_status_of_a_healthy_daemon(classifyd, failures):
    failures.beat(workers=2, runtime="keras", images=512, images_per_minute=48.0, last_error=None)
    failures.insert("source_state", title="inbox", watching="inotify", listed_at=at())
    out = classifyd("status").out
    for part in (
        f"running (process {os.getpid()}",
        "compact-1 (backbone compact, head softmax)",
        "1 waiting (1 retry), 1 done, 2 quarantined",
        "512 files since the start, 48 in the last minute",
        "inbox (inotify, listed",
        "/bad/1.jpg: truncated",
    ):
        assert part in out
    ran = classifyd("status", "--check")
    assert (ran.code, ran.out) == (0, "")
    report = json.loads(classifyd("status", "--format", "json").out)
    assert report["problems"] == [] and report["daemon"]["detail"]["images"] == 512
    assert report["files"]["quarantined"] == 2 and report["files"]["is_exact"]


@pytest.mark.parametrize(
    ("beat", "says"),
    [
        (None, "the daemon has never run"),
        ({"phase": "stopped"}, "the daemon stopped"),
        ({"pid": 2**22 + 1}, "the daemon ended unexpectedly"),
        ({"beat_at": at()}, "has given no sign of life since"),
        ({"model_error": "bundle x: altered"}, "model: bundle x: altered"),
    ],
)
def test_status_check_fails_with_the_reason(classifyd, three, beat, says):
    if beat is not None:
        three.beat(**beat)
    ran = classifyd("status", "--check")
    assert ran.code == 1 and says in ran.out
    assert says in classifyd("status").out and classifyd("status").code == 0


def test_status_tells_of_alarms_and_of_a_missing_model(classifyd, filled):
    filled.beat()
    filled.insert("source_state", title="photos", alarm="/mnt/photos is not there", alarm_at=at())
    ran = classifyd("status", "--check")
    assert ran.code == 1
    assert "source photos: /mnt/photos is not there" in ran.out
    assert "no model version is active" in ran.out


def test_status_says_when_the_configuration_would_train_something_else(classifyd, three, tmp_path):
    with (tmp_path / "config.yaml").open("a") as file:
        file.write("model: {backbone: mobilenet_v2}\n")
    assert "the configuration names backbone mobilenet_v2" in classifyd("status").out
    assert "head" in json.loads(classifyd("status", "--format", "json").out)["configured"]


def test_status_estimates_where_counting_would_take_long(classifyd, three, monkeypatch):
    monkeypatch.setattr("daemon.store.queries._COUNTED_EXACTLY", 2)
    assert "about 3 done" in classifyd("status").out


# --- db


def test_db_upgrade_makes_a_database_and_says_so(classifyd, tmp_path):
    (tmp_path / "config.yaml").write_text("database: new/folder/my.db\n")
    ran = classifyd("results")
    assert ran.code == 1 and "classifyd db upgrade" in ran.err
    assert "made with schema" in classifyd("db", "upgrade").out
    assert "nothing to do" in classifyd("db", "upgrade").out
    assert classifyd("results").code == 0


def test_db_backup_is_a_whole_database_and_replaces_nothing(classifyd, three, tmp_path):
    ran = classifyd("db", "backup")
    (copy,) = (tmp_path / "state" / "backups").iterdir()
    assert ran.code == 0 and str(copy) in ran.out
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM latest_prediction").fetchone() == (3,)
    assert classifyd("db", "backup", "mine.db").code == 0
    ran = classifyd("db", "backup", "mine.db")
    assert ran.code == 1 and "exists already" in ran.err


def test_an_existing_file_is_taken_by_its_exact_name(classifyd, filled, tmp_path):
    for name in ("photo[1].jpg", "photo1.jpg"):
        filled.seen(tmp_path / name, "cat")

    def found() -> list[str]:
        rows = json.loads(classifyd("results", "--path", "photo[1].jpg", "--format", "json").out)
        return [Path(row["path"]).name for row in rows]

    assert found() == ["photo1.jpg"]
    (tmp_path / "photo[1].jpg").write_bytes(b"x")
    assert found() == ["photo[1].jpg"]


# --- help


def all_commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for inner in command.list_commands(click.Context(cli)):
            found = command.get_command(click.Context(cli), inner)
            yield from all_commands(f"{name} {inner}".strip(), found)
    else:
        yield name, command


def test_every_command_that_takes_something_has_an_example_in_its_help():
    usual = {"config", "form", "help"}
    for name, command in all_commands("", cli):
        takes = {parameter.name for parameter in command.params} - usual
        if takes:
            assert re.search(rf"^ +classifyd {name}\b", command.help, re.MULTILINE), name
