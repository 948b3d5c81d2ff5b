"""What is most worth a person's look next: images to label, and labels to check."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, zip_longest

from sqlalchemy import Connection

from daemon.learning.audit import FindingKind
from daemon.store import review
from daemon.store.review import Findings, Row, Viewer

_MOST = 2000
"""Candidates that are ranked by diversity too, of each sort."""
_MOST_COVERING = 5000
"""Labelled images, the newest, that cover what is like them."""

_DOUBTED = (FindingKind.WRONG_LABEL, FindingKind.CONTRADICTION)
_OTHERS = (
    FindingKind.UNREADABLE,
    FindingKind.IMBALANCE,
    FindingKind.NOT_HELD_OUT,
    FindingKind.TINY,
    FindingKind.DUPLICATE,
    FindingKind.NEAR_DUPLICATE,
)


def to_label(connection: Connection, viewer: Viewer, limit: int) -> list[Row]:
    """Return images that are worth a label, at most `limit`, the best first.

    By uncertainty and diversity together (`daemon.learning.ranking`), what is like a labelled
    image later. Images that the model version wavers about, and those unlike anything that it has
    learned from, take turns: neither sort can crowd out the other.
    """
    labelled = review.labelled_hashes(connection, _MOST_COVERING)
    sorts = (
        [_to_label(why, row) for row in _ranked(found, labelled, limit)]
        for why, found in (
            ("uncertain", review.unlabelled(connection, viewer, False, _MOST)),
            ("novel", review.unlabelled(connection, viewer, True, _MOST)),
        )
    )
    in_turn = chain.from_iterable(zip_longest(*sorts))
    return [row for row in in_turn if row is not None][:limit]


def _ranked(rows: Sequence[Row], labelled: Sequence[str], limit: int) -> list[Row]:
    import numpy as np

    from daemon.learning.ranking import by_hashes, worth_labelling

    unsure = np.array([row["doubt"] for row in rows] + [0.0] * len(labelled), np.float32)
    hashes = [*(row["phash"] for row in rows), *labelled]
    covering = range(len(rows), len(hashes))
    return [rows[row] for row in worth_labelling(unsure, by_hashes(hashes), covering, limit)]


def _to_label(why: str, row: Row) -> Row:
    others = [f"{label} {confidence:.2f}" for label, confidence in row["top_k"][1:2]]
    reason = f"or {others[0]}" if others else ""
    if why == "novel":
        reason = "unlike anything it has learned from"
    return _listed("label", why, {**row, "label": None, "prediction": row["label"]}, reason)


def to_check(connection: Connection, version: int | None, limit: int) -> list[Row]:
    """Return labels that may be wrong, at most `limit`, the most doubtful first; each image once.

    What the audit of the last training run found out of fold comes first, then where the model
    version disagrees, then what else the audit remarked.
    """
    findings = review.last_findings(connection)
    rows = chain(
        _found(connection, findings, _DOUBTED, version),
        _disagreeing(connection, version),
        _found(connection, findings, _OTHERS, version),
    )
    return list(islice(_each_image_once(rows), limit))


def _disagreeing(connection: Connection, version: int | None) -> Iterator[Row]:
    if version is not None:
        for row in review.disagreements(connection, version):
            reason = "though unknown to the model" if row["is_unknown"] else ""
            yield _listed("check", "disagreement", row, reason)


def _found(
    connection: Connection,
    findings: Findings,
    kinds: Iterable[FindingKind],
    version: int | None,
) -> Iterator[Row]:
    """Yield the findings of some kinds that still hold, kind by kind."""
    for kind in kinds:
        for finding in findings.found:
            if finding["kind"] == kind and (row := _known(connection, findings, finding, version)):
                yield _listed("check", kind, row, finding["reason"])


def _known(
    connection: Connection, findings: Findings, finding: Row, version: int | None
) -> Row | None:
    """Return what is known of a finding's image; None once somebody has labelled it since."""
    if finding["image"] is None:
        return {"path": finding["path"]}
    row = review.as_found(connection, finding["image"], version, findings.as_of)
    return row and {**row, "path": row["path"] or finding["path"]}


def _each_image_once(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the first row of each image, and those that are of none."""
    seen: set[int] = set()
    for row in rows:
        image_id = row["image_id"]
        if image_id not in seen:
            yield row
        if image_id is not None:
            seen.add(image_id)


def _listed(kind: str, why: str, row: Row, reason: str) -> Row:
    told = ("image_id", "path", "label", "prediction", "confidence")
    return {
        "kind": kind,
        "why": str(why),
        **{name: row.get(name) for name in told},
        "reason": reason,
    }
