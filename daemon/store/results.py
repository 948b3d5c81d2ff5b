"""What was seen, newest first: one query that begins where the fewest rows are.

Ten million predictions allow no scan. Rows are therefore walked newest first along an index of
`file`, unless some condition is met by few rows only: then those are read and sorted. How many
they are is counted up to a bound, so that asking costs less than guessing wrong.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine

from daemon.store.database import reading

COLUMNS = (
    "path",
    "label",
    "confidence",
    "is_unknown",
    "model_version",
    "source",
    "taken_at",
    "classified_at",
)

_SELECT = (
    "SELECT file.id, file.path, file.label, prediction.confidence, prediction.is_unknown,"
    " model_version.name AS model_version, file.source, image.taken_at, file.classified_at"
)
_JOINS = {
    "file": "file",
    "prediction": "prediction ON prediction.id = file.prediction_id",
    "image": "image ON image.id = prediction.image_id",
    "model_version": "model_version ON model_version.id = prediction.model_version_id",
}
_FEW, _FEW_OF_ALL = 20_000, 100_000
_PAGE = 1_000

Row = dict[str, Any]
_Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which results are wanted; None does not matter.

    `since` (inclusive) and `until` (exclusive) are UTC times as the database writes them,
    `taken_since` a camera's local time. Confidences are 0 to 1, both ends included. `path` is
    one file, a folder with all below it, or a pattern with `*`, `?` or `[…]` (`*` crosses `/`).
    """

    label: str | None = None
    since: str | None = None
    until: str | None = None
    taken_since: str | None = None
    source: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    unknown: bool = False
    path: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class _Way:
    """A way into the tables: the index that is walked, what it narrows by, how to reach `file`."""

    table: str
    index: str
    condition: str
    onwards: str = ""

    def tables(self) -> str:
        """Name the tables in the order of the walk; CROSS JOIN makes SQLite keep to it."""
        seen = (self.table, "file")
        rest = [join for table, join in _JOINS.items() if table not in seen]
        return " CROSS JOIN ".join(filter(None, [self._indexed(), self.onwards, *rest]))

    def count_up_to(self, most: int) -> str:
        """Count the rows on this way, but no further than `most`."""
        rows = f"SELECT 1 FROM {self._indexed()} WHERE {self.condition} LIMIT {most}"
        return f"SELECT count(*) FROM ({rows})"

    def _indexed(self) -> str:
        return f"{self.table} INDEXED BY {self.index}"


_BY_PREDICTION = "file INDEXED BY ix_file_prediction_id ON file.prediction_id = prediction.id"
_BY_IMAGE = "file INDEXED BY ix_file_image_id ON file.image_id = image.id"


def results(connection: Connection, wanted: Wanted, limit: int = 0) -> Iterator[Row]:
    """Yield what was seen, newest first, at most `limit` rows (0: all), as they are read."""
    values = _values(wanted)
    few = _FEW if 0 < limit <= _PAGE else _FEW_OF_ALL
    way = _best_way(connection, wanted, values, few)
    statement = (
        f"{_statement(way, wanted)} AND file.is_current = 1"
        " ORDER BY file.classified_at DESC, file.id DESC"
    )
    if limit:
        statement += f" LIMIT {int(limit)}"
    yield from _rows(connection, statement, values)


@dataclass(frozen=True, slots=True)
class Follower:
    """Gives out each new result once, also of a version that was soon replaced by the next.

    Times alone are no safe cursor: two batches can bear the same millisecond, and a clock can be
    set back a little. So the last `overlap_s` seconds are read again at each look, and what was
    there at the look before is left out.
    """

    engine: Engine
    wanted: Wanted
    overlap_s: float = 10.0

    def run(self, wait: Callable[[], bool]) -> Iterator[Row]:
        """Yield new results until `wait`, called between two looks, returns False.

        Those since `wanted.since` come first; without it, only what is new from now on.
        """
        seen: set[_Key] = set()
        mark = self._safe_mark()
        if self.wanted.since is not None:
            yield from self._look(self.wanted.since, mark, seen)
        else:
            deque(self._look(mark, mark, seen), maxlen=0)
        while wait():
            since, mark = mark, self._safe_mark()
            yield from self._look(max(since, self.wanted.since or ""), mark, seen)

    def _look(self, since: str, mark: str, seen: set[_Key]) -> Iterator[Row]:
        """Yield what is not in `seen`; then `seen` is what the next look, from `mark`, omits."""
        before = frozenset(seen)
        seen.clear()
        wanted = replace(self.wanted, since=since)
        way = _ways_in_order(wanted)[0]
        statement = f"{_statement(way, wanted)} AND {_AS_IT_CAME} ORDER BY file.classified_at"
        with reading(self.engine) as connection:
            for row in _rows(connection, f"{statement}, file.id", _values(wanted)):
                key = (row["classified_at"], row["id"])
                if key[0] >= mark:
                    seen.add(key)
                if key not in before:
                    yield row

    def _safe_mark(self) -> str:
        """Return a time before which nothing new is to be expected."""
        with reading(self.engine) as connection:
            newest = connection.exec_driver_sql("SELECT max(classified_at) FROM file").scalar()
        if newest is None:
            return ""
        mark = datetime.fromisoformat(newest) - timedelta(seconds=self.overlap_s)
        return mark.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# An old version that got another model's prediction later is no news of its path.
_AS_IT_CAME = "(file.is_current = 1 OR file.state_at = file.classified_at)"


def _best_way(connection: Connection, wanted: Wanted, values: dict[str, Any], few: int) -> _Way:
    in_order = _ways_in_order(wanted)
    found = {
        way: connection.exec_driver_sql(way.count_up_to(few), values).scalar_one()
        for way in (*in_order, *_narrow_ways(wanted))
        if way.condition != _ANY_TIME
    }
    rarest = min(found, key=found.__getitem__, default=in_order[0])
    return rarest if found.get(rarest, few) < few else in_order[0]


_ANY_TIME = "file.classified_at IS NOT NULL"


def _ways_in_order(wanted: Wanted) -> list[_Way]:
    """Return the indexes that give the newest first, the narrowest likely first."""
    conditions = _conditions(wanted)
    times = [conditions[name] for name in ("since", "until") if name in conditions]
    ways = [
        _Way("file", f"ix_file_{name}_classified", " AND ".join((conditions[name], *times)))
        for name in ("label", "source")
        if name in conditions
    ]
    by_time = " AND ".join(times) or _ANY_TIME
    return [*ways, _Way("file", "ix_file_classified_at", by_time)]


def _narrow_ways(wanted: Wanted) -> Iterator[_Way]:
    """Yield the other indexes that the conditions could use; their rows must be sorted."""
    conditions = _conditions(wanted)
    if wanted.path is not None and _literal_start(wanted.path):
        yield _Way("file", "ix_file_path", _PATH_RANGE)
    if wanted.taken_since is not None:
        yield _Way("image", "ix_image_taken_at", conditions["taken_since"], _BY_IMAGE)
    for names, index in _PREDICTION_INDEXES.items():
        given = [conditions[name] for name in names if name in conditions]
        if given:
            yield _Way("prediction", index, " AND ".join(given), _BY_PREDICTION)


_PREDICTION_INDEXES = {
    ("min_confidence", "max_confidence"): "ix_prediction_confidence",
    ("unknown",): "ix_prediction_unknown",
    ("model",): "ix_prediction_model_version_id",
}
_PATH_RANGE = "file.path >= :path_from AND file.path < :path_to"
_BELOW = "(file.path = :path OR substr(file.path, 1, length(:path) + 1) = :path || '/')"
_CONDITIONS = {
    "label": "file.label = :label",
    "since": "file.classified_at >= :since",
    "until": "file.classified_at < :until",
    "taken_since": "image.taken_at >= :taken_since",
    "source": "file.source = :source",
    "min_confidence": "prediction.confidence >= :min_confidence",
    "max_confidence": "prediction.confidence <= :max_confidence",
    "unknown": "prediction.is_unknown = 1",
    "model": "prediction.model_version_id = (SELECT id FROM model_version WHERE name = :model)",
}


def _conditions(wanted: Wanted) -> dict[str, str]:
    given = {
        name: condition
        for name, condition in _CONDITIONS.items()
        if getattr(wanted, name) not in (None, False)
    }
    if wanted.path is not None:
        matches = "file.path GLOB :path" if _is_pattern(wanted.path) else _BELOW
        given["path"] = f"{_PATH_RANGE} AND {matches}"
    return given


def _values(wanted: Wanted) -> dict[str, Any]:
    values = asdict(wanted)
    if wanted.path is not None:
        start = _literal_start(wanted.path)
        # "0" follows "/": a folder's range ends there.
        end = "\U0010ffff" if _is_pattern(wanted.path) else "0"
        values |= {"path_from": start, "path_to": start + end}
    return values


def _is_pattern(path: str) -> bool:
    return _literal_start(path) != path


def _literal_start(path: str) -> str:
    return re.split(r"[*?[]", path, maxsplit=1)[0]


def _statement(way: _Way, wanted: Wanted) -> str:
    conditions = " AND ".join((_ANY_TIME, *_conditions(wanted).values()))
    return f"{_SELECT} FROM {way.tables()} WHERE {conditions}"


def _rows(connection: Connection, statement: str, values: dict[str, Any]) -> Iterator[Row]:
    found = connection.exec_driver_sql(statement, values).yield_per(_PAGE)
    for row in found.mappings():
        yield {**row, "is_unknown": bool(row["is_unknown"])}
