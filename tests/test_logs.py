"""Log lines: one form for all that speaks in the daemon's process."""

import json
import logging

import pytest

from daemon import logs


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
