"""The page on queries: every command and every SQL text runs, and both find the same paths."""

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "query.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(console|sql)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMANDS = [
    line.removeprefix("$ ")
    for language, body in BLOCK.findall(PAGE)
    if language == "console"
    for line in body.splitlines()
]
STATEMENTS = [body for language, body in BLOCK.findall(PAGE) if language == "sql"]
PAIRS = [
    (console.strip().splitlines()[-1].removeprefix("$ "), sql)
    for console, sql in re.findall(
        r"^```console\n([^`]*?)^```\s+^```sql\n([^`]*?)^```", PAGE, re.DOTALL | re.MULTILINE
    )
    if console.startswith(("$ classifyd results", "$ classifyd failed"))
]


@pytest.fixture
def asked(filled, tmp_path):
    """A database in which every question of the page has some answer, and some that is none."""
    inbox = tmp_path / "inbox"
    now = datetime.now(UTC)

    def ago(**span):
        text = (now - timedelta(**span)).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")

    compact = {"model": "compact"}
    filled.seen(inbox / "cat.jpg", "cat", 0.91, classified_at=ago(hours=2), **compact)
    filled.seen(inbox / "cat2.jpg", "cat", 0.4, classified_at=ago(hours=3), **compact)
    filled.seen(inbox / "old.jpg", "cat", 0.95, classified_at=ago(days=3), **compact)
    filled.seen(
        inbox / "holiday" / "beach.jpg",
        "bird",
        0.3,
        classified_at=ago(hours=1),
        model="other",
        unknown=True,
        taken_at="2026-04-17T10:00:00",
    )
    filled.insert("label", image_id=1, label="dog", source="csv", labelled_at=ago(hours=1))
    filled.file(inbox / "torn.jpg", "quarantined", reason="truncated", attempts=1)
    filled.file(inbox / "notes.txt", "ignored", reason="is text")
    return filled


def test_the_page_has_what_this_test_runs():
    assert len(COMMANDS) > 10 and len(STATEMENTS) > 10 and len(PAIRS) > 7


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_answers(asked, classifyd, command, tmp_path):
    ending = ["--since", "2000-01-01", "--limit", "2"] if "--follow" in command else []
    ran = classifyd(*shlex.split(command)[1:], *ending)
    assert ran.code == 0, ran.err
    written = re.search(r"--output (\S+)", command)
    assert (tmp_path / written[1]).stat().st_size if written else ran.out


@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_statement_answers(asked, statement):
    assert asked.execute(statement)


@pytest.mark.parametrize(("command", "statement"), PAIRS)
def test_both_find_the_same(asked, classifyd, command, statement):
    ran = classifyd(*shlex.split(command)[1:], "--format", "json", "--limit", "0")
    by_command = sorted(row["path"] for row in json.loads(ran.out))
    assert by_command == sorted(row[0] for row in asked.execute(statement))
