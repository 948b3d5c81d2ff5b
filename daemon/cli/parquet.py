"""Rows as Parquet, group by group; pyarrow is imported only when it is asked for."""

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, BinaryIO

from daemon.cli.output import Column, Kind, Row

_ROW_GROUP = 20_000


def write_parquet(rows: Iterable[Row], columns: Sequence[Column], sink: BinaryIO) -> None:
    """Write rows; in a column of text, what is no text is written as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {Kind.NUMBER: pa.int64(), Kind.CONFIDENCE: pa.float64(), Kind.FLAG: pa.bool_()}
    schema = pa.schema([(c.name, types.get(c.kind, pa.string())) for c in columns])
    texts = {column.name for column in columns if column.kind not in types}
    rows = iter(rows)
    with pq.ParquetWriter(sink, schema) as writer:
        while group := list(islice(rows, _ROW_GROUP)):
            values = {
                name: [_text(row[name]) if name in texts else row[name] for row in group]
                for name in schema.names
            }
            writer.write_table(pa.table(values, schema=schema))


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
