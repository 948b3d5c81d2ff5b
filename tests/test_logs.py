"""Log lines: one form for all that speaks in the daemon's process."""

import json
import logging
import os
import sys

import pytest

from daemon import logs
from daemon.log_limit import LogLimit


@pytest.fixture
def set_up(monkeypatch):
    """Sets up the logs, and puts back afterwards what they were."""
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    loggers = [logging.getLogger(name) for name in ("classifyd", "plugins")]
    before = [(each, each.handlers, each.propagate, each.level) for each in loggers]
    yield logs.set_up
    for logger, logger.handlers, logger.propagate, level in before:
        logger.setLevel(level)


def stranger(name):
    """The logger of somebody else's plugin; pytest's own handlers are kept from it."""
    logger = logging.getLogger(name)
    logger.propagate = False
    return logger


def test_plugins_and_strangers_speak_in_the_same_form(set_up, capsys):
    set_up("info", "json")
    logging.getLogger("classifyd").info("one")
    logging.getLogger("plugins.sources.folder").warning("two")
    stranger("one_plugin").warning("three")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["one", "two", "three"]
    assert [line["level"] for line in lines] == ["info", "warning", "warning"]


def test_the_level_holds_for_the_plugins_in_the_box_and_strangers_only_warn(set_up, capsys):
    set_up("error", "text")
    logging.getLogger("plugins.sources.folder").warning("hidden")
    other = stranger("another_plugin")
    other.info("hidden")
    other.warning("shown")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING shown")


class Written:
    """What a limited log wrote, on a clock of the test's."""

    def __init__(self):
        self.now, self.lines = 0.0, []
        self._limit = LogLimit(lambda: self.now)

    def say(self, text, *values, level=logging.WARNING, lineno=1):
        record = logging.LogRecord("classifyd", level, "x.py", lineno, text, values, None)
        if self._limit.filter(record):
            self.lines.append(record.getMessage())


def test_the_same_trouble_is_said_ever_more_seldom_with_a_count():
    log = Written()
    for log.now in range(0, 24 * 3600, 2):
        log.say("sink %s is down", "jsonl")
    assert log.lines[:3] == [
        "sink jsonl is down",
        "sink jsonl is down (29 times more since)",
        "sink jsonl is down (59 times more since)",
    ]
    assert len(log.lines) < 32
    log.now += 3 * 3600
    log.say("sink %s is down", "jsonl")
    log.now += 61
    log.say("sink %s is down", "jsonl")
    assert log.lines[-1] == "sink jsonl is down", "after a rest it is news again"


def test_a_flood_is_cut_short_and_its_end_tells_how_much_is_missing():
    log = Written()
    for number in range(5_000):
        log.say("%s: truncated", number)
        log.say("started", level=logging.INFO, lineno=2)
    assert [line for line in log.lines if "truncated" in line][-1] == "99: truncated"
    assert len(log.lines) == 200
    log.now = 61.0
    log.say("%s: truncated", "x")
    assert log.lines[-1] == "x: truncated (4900 others like it since)"


def test_what_is_different_is_said_and_little_is_remembered():
    log = Written()
    for number in range(3_000):
        log.now += 1.0
        log.say("disk %s", number)
        log.say("chatter", level=logging.DEBUG)
    assert log.lines.count("chatter") == 3_000
    assert sum(line.startswith("disk") for line in log.lines) == 3_000
    assert len(log._limit._troubles) <= 500


def test_no_name_of_a_file_makes_a_line_or_steers_a_terminal(set_up, capsys):
    for form in ("text", "json"):
        set_up("info", form)
        logging.getLogger("classifyd").warning("%s", "a\n\x1b[2J\u009b\u202e.png")
    text, other = capsys.readouterr().err.splitlines()
    assert text.isprintable() and "a\\n\\x1b[2J" in text
    assert other.isprintable() and json.loads(other)["message"] == "a\n\x1b[2J\u009b\u202e.png"


def test_in_the_journal_each_line_has_its_weight_and_no_time(set_up, monkeypatch, capfd):
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    monkeypatch.setattr(sys, "stderr", os.fdopen(os.dup(2), "w", buffering=1))
    set_up("debug", "text")
    log = logging.getLogger("classifyd")
    log.debug("looked")
    log.info("serving")
    log.warning("slow")
    try:
        raise OSError("gone")
    except OSError:
        log.exception("failed")
    sys.stderr.close()
    lines = capfd.readouterr().err.splitlines()
    assert lines[:3] == ["<7>DEBUG   looked", "<6>INFO    serving", "<4>WARNING slow"]
    assert lines[3] == "<3>ERROR   failed" and all(line.startswith("<3>") for line in lines[4:])


@pytest.mark.parametrize("stream", ["", "8:1", "no number"])
def test_a_stream_that_was_redirected_is_no_journal(set_up, monkeypatch, capsys, stream):
    monkeypatch.setenv("JOURNAL_STREAM", stream)
    set_up("info", "text")
    logging.getLogger("classifyd").info("serving")
    assert not capsys.readouterr().err.startswith("<")
