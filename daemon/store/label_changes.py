"""How labels have changed: plain rows, without the tables' classes, for quick commands."""

from sqlalchemy import Connection

# Both sides of the difference: what is said now and was not, and what was said and is no more.
_CHANGED = """
    WITH now AS (SELECT image_id, label FROM label WHERE retracted_at IS NULL),
         was AS (SELECT image_id, label FROM label WHERE recorded_at <= :then
                 AND (retracted_at IS NULL OR retracted_at > :then))
    SELECT count(DISTINCT image_id) FROM (
        SELECT * FROM (SELECT * FROM now EXCEPT SELECT * FROM was)
        UNION ALL
        SELECT * FROM (SELECT * FROM was EXCEPT SELECT * FROM now))
"""


def changed_since(connection: Connection, then: str) -> int:
    """Return how many images are labelled otherwise now than at a moment, UTC ISO-8601."""
    return int(connection.exec_driver_sql(_CHANGED, {"then": then}).scalar_one())


def changed_since_number(connection: Connection, newest: int, retracted: int) -> int:
    """Return about how many images are labelled otherwise now than when `fingerprint` was this,
    whatever the clock did: each retraction since counts as an image."""
    fresh = "SELECT count(DISTINCT image_id) FROM label WHERE id > ?"
    given = connection.exec_driver_sql(fresh, (newest,)).scalar_one()
    return int(given) + max(0, fingerprint(connection)[1] - retracted)


def newest_moment(connection: Connection) -> str:
    """Return when the last label was written down or retracted, empty where there is none; it
    lies in the future where the clock has been set back since."""
    statement = "SELECT coalesce(max(max(recorded_at, coalesce(retracted_at, ''))), '') FROM label"
    return str(connection.exec_driver_sql(statement).scalar_one())


def label_counts(connection: Connection) -> dict[str, int]:
    """Return how many images have each label now."""
    statement = (
        "SELECT label, count(DISTINCT image_id) FROM label WHERE retracted_at IS NULL"
        " GROUP BY label"
    )
    return {row[0]: row[1] for row in connection.exec_driver_sql(statement)}


def fingerprint(connection: Connection) -> tuple[int, int]:
    """Return what differs whenever a label was given or retracted."""
    statement = "SELECT coalesce(max(id), 0), count(retracted_at) FROM label"
    newest, retracted = connection.exec_driver_sql(statement).one()
    return newest, retracted
