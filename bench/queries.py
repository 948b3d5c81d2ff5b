"""How long `results` takes over very many predictions."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median

from sqlalchemy import Engine

from bench.commands import COLUMNS, make_place, timed
from bench.filling import CLASSES
from bench.plan import Plan, Say, scratch
from bench.report import Section, Table
from daemon.clock import utc_text
from daemon.store.database import open_engine, reading
from daemon.store.results import Wanted, results

_LIMIT = 50
_COMMANDS = (("results", "--limit", "5"), ("results", "--label", "cat", "--since", "1d"))
_NEWEST = "SELECT * FROM latest_prediction ORDER BY classified_at DESC LIMIT 50"
_BY_LABEL = (
    "SELECT * FROM latest_prediction WHERE label = 'cat' AND confidence >= 0.8"
    " AND classified_at >= :since ORDER BY classified_at DESC LIMIT 50"
)


def measure(plan: Plan, say: Say) -> Section:
    """Fill a database and time the common queries, and two commands, on it."""
    rows = max(plan.rows)
    with scratch() as folder:
        began = time.perf_counter()
        config = make_place(folder, rows)
        database = folder / "state" / "classifyd.db"
        size = database.stat().st_size
        say(f"queries: {rows:,} rows made in {time.perf_counter() - began:.0f} s")
        tables = [_queries(database, plan.repeats, say), _views(database, plan.repeats)]
        timings = [timed(config, command, plan.repeats) for command in _COMMANDS]
        tables.append(Table("Whole commands", COLUMNS, timings))
    notes = (
        f"{rows:,} predictions in {size / 1e9:.2f} GB ({size / rows:.0f} bytes each), made by SQL;"
        " the file lies in the page cache.",
        f"`first`: asked for the first time; `then`: the median of {plan.repeats} times more.",
    )
    return Section("queries", f"Queries over {rows:,} predictions", tables, notes)


def _questions() -> dict[str, Wanted]:
    now = datetime.now(UTC)
    day, month = utc_text((now - timedelta(days=1)).timestamp()), now.strftime("%Y/%m")
    taken = [(now - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S") for days in (740, 2000)]
    folder = f"/srv/photos/{(now - timedelta(days=1)).strftime('%Y/%m/%d')}"
    return {
        "newest": Wanted(),
        "a label since a day, sure": Wanted(label="cat", since=day, min_confidence=0.8),
        "a rare label, very sure": Wanted(label=CLASSES[-1], min_confidence=0.9999),
        "all labels, very unsure": Wanted(max_confidence=0.00001),
        "unknown": Wanted(unknown=True),
        "below a day's folder": Wanted(path=folder),
        "below a month's folder": Wanted(path=f"/srv/photos/{month}"),
        "a pattern": Wanted(path=f"{folder}/*7.jpg"),
        "taken in the last two years": Wanted(taken_since=taken[0]),
        "taken long ago or later, a label": Wanted(taken_since=taken[1], label="ship"),
    }


def _queries(database: Path, repeats: int, say: Say) -> Table:
    engine = open_engine(str(database))
    rows = []
    for what, wanted in _questions().items():
        rows.append((what, *_timed(partial(_ask, engine, wanted), repeats)))
        say(f"queries: {what}: {rows[-1][2]:.1f} ms")
    engine.dispose()
    return Table(f"`daemon.store.results`, at most {_LIMIT} rows", _COLUMNS, rows)


_COLUMNS = ("question", "first, ms", "then, ms", "rows")


def _ask(engine: Engine, wanted: Wanted) -> int:
    with reading(engine) as connection:
        return len(list(results(connection, wanted, _LIMIT)))


def _views(database: Path, repeats: int) -> Table:
    since = utc_text((datetime.now(UTC) - timedelta(days=1)).timestamp())
    rows = []
    with closing(sqlite3.connect(database)) as connection:
        for what, statement in (("newest", _NEWEST), ("a label since a day, sure", _BY_LABEL)):
            ask = partial(_look, connection, statement, {"since": since})
            rows.append((what, *_timed(ask, repeats)))
    return Table("The view `latest_prediction` in `sqlite3`", _COLUMNS, rows)


def _look(connection: sqlite3.Connection, statement: str, values: Mapping[str, str]) -> int:
    return len(connection.execute(statement, values).fetchall())


def _timed(ask: Callable[[], int], repeats: int) -> tuple[float, float, int]:
    """Return milliseconds of the first run and of the median of the others, and the rows."""
    first, count = _once(ask)
    return first, median(_once(ask)[0] for _ in range(repeats)), count


def _once(ask: Callable[[], int]) -> tuple[float, int]:
    began = time.perf_counter()
    count = ask()
    return 1000 * (time.perf_counter() - began), count
