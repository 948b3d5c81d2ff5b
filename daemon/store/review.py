"""What may be worth a person's look, as plain SQL: images without a label, labels in doubt.

However many million predictions there are, a query looks at `_POOL` of them at most.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

Row = dict[str, Any]

_POOL = 20_000

_THERE = "is_current = 1 AND removed_at IS NULL"
_PATH = (
    "(SELECT path FROM file INDEXED BY ix_file_image_id"
    f" WHERE file.image_id = {{image}} AND {_THERE} ORDER BY id DESC LIMIT 1)"
)
_LABELS = (
    "(SELECT group_concat(label, ', ') FROM (SELECT own.label FROM label own"
    " WHERE own.image_id = {image} AND own.retracted_at IS NULL ORDER BY own.id DESC))"
)

# 1 less the margin between the two surest classes: margin sampling (Scheffer, Decomain and
# Wrobel, "Active Hidden Markov Models for Information Extraction", 2001).
_MARGIN = "1 - json_extract(top_k, '$[0][1]') + coalesce(json_extract(top_k, '$[1][1]'), 0)"
# Where each class has a confidence of its own, the image is as doubtful as its class nearest 0.5.
_NEAREST = "(SELECT max(1 - 2 * abs(json_extract(value, '$[1]') - 0.5)) FROM json_each(top_k))"

_UNLABELLED = f"""
    SELECT image_id, {_PATH.format(image="doubtful.image_id")} AS path, phash, label, confidence,
           top_k, doubt FROM (
        SELECT image_id, label, confidence, top_k, {{doubt}} AS doubt
        FROM prediction INDEXED BY {{index}}
        WHERE model_version_id = :version AND {{sort}}
          AND NOT EXISTS (SELECT 1 FROM label
                          WHERE label.image_id = prediction.image_id AND retracted_at IS NULL)
          AND EXISTS (SELECT 1 FROM file INDEXED BY ix_file_image_id
                      WHERE file.image_id = prediction.image_id AND {_THERE})
        ORDER BY {{order}} LIMIT {_POOL}
    ) AS doubtful JOIN image ON image.id = image_id
    ORDER BY doubt DESC, image_id LIMIT :most
"""

# Somebody who looked at an image after it was classified need not look again.
_DISAGREEMENTS = f"""
    SELECT image_id, path, labels AS label, prediction, confidence, is_unknown FROM (
        SELECT label.image_id, {_PATH.format(image="label.image_id")} AS path,
               {_LABELS.format(image="label.image_id")} AS labels,
               prediction.label AS prediction, confidence, is_unknown
        FROM label JOIN prediction
          ON prediction.image_id = label.image_id AND model_version_id = :version
        WHERE retracted_at IS NULL
          AND NOT (label.source = 'label' AND label.recorded_at >= predicted_at)
          AND label.label IN (SELECT value FROM model_version, json_each(classes)
                              WHERE model_version.id = :version)
          AND NOT EXISTS (SELECT 1 FROM label other WHERE other.image_id = label.image_id
                          AND other.retracted_at IS NULL AND other.label = prediction.label)
        GROUP BY label.image_id
    ) WHERE path IS NOT NULL ORDER BY is_unknown, confidence DESC, image_id
"""

_FINDINGS = (
    "SELECT json_extract(data, '$.findings') AS findings,"
    " coalesce(json_extract(plan, '$.as_of'), started_at) AS as_of FROM training_run"
    " WHERE json_type(data, '$.findings') = 'array' ORDER BY id DESC LIMIT 1"
)
_SAID_SINCE = (
    "SELECT 1 FROM label WHERE image_id = image.id"
    " AND max(recorded_at, coalesce(retracted_at, '')) > :then"
)
_FOUND = f"""
    SELECT image.id AS image_id, {_PATH.format(image="image.id")} AS path,
           {_LABELS.format(image="image.id")} AS label, prediction.label AS prediction, confidence
    FROM image LEFT JOIN prediction
      ON prediction.image_id = image.id AND model_version_id = :version
    WHERE sha256 = :sha256 AND NOT EXISTS ({_SAID_SINCE})
"""


@dataclass(frozen=True, slots=True)
class Viewer:
    """The model version whose predictions are looked at.

    `independent`: every class has a confidence of its own. `threshold`: the confidence, 0 to 1,
    below which it calls an image unknown for lack of it.
    """

    version: int
    independent: bool = False
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class Findings:
    """What the audit of a training run said, and the moment whose labels it looked at."""

    as_of: str
    found: tuple[Row, ...]


def unlabelled(connection: Connection, viewer: Viewer, novel: bool, most: int) -> list[Row]:
    """Return images that have no label, the most doubtful first; `top_k` is a list of [label,
    confidence].

    Those that are `novel`, unknown though sure enough, or all others. Of the novel ones the
    newest `_POOL` are looked at, of the others the least sure; where every class has a confidence
    of its own, the newest.
    """
    sort = "is_unknown = 1 AND confidence >= :threshold"
    index, order = "ix_prediction_unknown", "prediction.id DESC"
    if not novel:
        sort = "(is_unknown = 0 OR confidence < :threshold)"
        index, order = "ix_prediction_confidence", "confidence"
        if viewer.independent:
            index, order = "ix_prediction_model_version_id", "prediction.id DESC"
    doubt = _NEAREST if viewer.independent else _MARGIN
    statement = _UNLABELLED.format(doubt=doubt, index=index, sort=sort, order=order)
    values = {"version": viewer.version, "threshold": viewer.threshold, "most": most}
    return [
        {**row, "top_k": json.loads(row["top_k"])} for row in _rows(connection, statement, **values)
    ]


def labelled_hashes(connection: Connection, most: int) -> list[str]:
    """Return the perceptual hashes of the images that were labelled last."""
    statement = (
        "SELECT DISTINCT phash FROM label JOIN image ON image.id = image_id"
        " WHERE retracted_at IS NULL ORDER BY label.id DESC LIMIT :most"
    )
    return [row["phash"] for row in _rows(connection, statement, most=most)]


def disagreements(connection: Connection, version: int) -> Iterator[Row]:
    """Yield labelled images that a model version takes for another class, the surest first.

    Labels that it does not know, and those given by hand since it looked, are left out.
    """
    yield from _rows(connection, _DISAGREEMENTS, version=version)


def last_findings(connection: Connection) -> Findings:
    """Return what the last audited training run found; nothing where there was none."""
    for row in _rows(connection, _FINDINGS):
        return Findings(row["as_of"], tuple(json.loads(row["findings"])))
    return Findings("", ())


def as_found(connection: Connection, sha256: str, version: int | None, then: str) -> Row | None:
    """Return an image with its label and its prediction by a model version; None where it has
    no label, or was labelled otherwise or again since `then`."""
    rows = _rows(connection, _FOUND, sha256=sha256, version=version, then=then)
    return next((row for row in rows if row["label"] is not None), None)


def _rows(connection: Connection, statement: str, **values: Any) -> Iterator[Row]:
    for row in connection.exec_driver_sql(statement, values).yield_per(500).mappings():
        yield dict(row)
