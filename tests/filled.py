"""A migrated database on disk, filled with rows by hand, as the daemon would have left it."""

import json
import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 5, 1, 12, tzinfo=UTC)


def at(seconds: float = 0.0) -> str:
    """A time of the database, so many seconds after 12:00 on 1 May 2026."""
    moment = START + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Filled:
    """Writes rows; every method returns the new row's id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA foreign_keys=ON")
        self.connection.execute("PRAGMA synchronous=OFF")
        self._models: dict[str, int] = {}
        self._contents = 0

    def execute(self, statement, values=()):
        return self.connection.execute(statement, values).fetchall()

    def insert(self, table, **values) -> int:
        if table == "label":
            values = {"recorded_at": values["labelled_at"]} | values
        values = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in values.items()}
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        return self.connection.execute(statement, values).lastrowid

    def model(self, name="compact-1", classes=("bird", "cat", "dog"), active=True, **values) -> int:
        row = {"digest": name, "bundle": f"/models/{name}", "backbone": "compact"}
        row |= {"head": "softmax", "metrics": {}, "created_at": at()}
        model_id = self.insert("model_version", name=name, classes=list(classes), **row | values)
        self._models[name] = model_id
        if active:
            self.insert("deployment", model_version_id=model_id, deployed_at=at(), reason="by hand")
        return model_id

    def image(self, taken_at=None) -> int:
        self._contents += 1
        return self.insert(
            "image",
            sha256=f"{self._contents:064x}",
            size=1000 + self._contents,
            format="jpeg",
            width=640,
            height=480,
            taken_at=taken_at,
            phash=f"{self._contents:016x}",
            first_seen_at=at(),
        )

    def prediction(
        self, image_id, label="cat", confidence=0.9, model="compact-1", unknown=False
    ) -> int:
        if model not in self._models:
            self.model(model)
        return self.insert(
            "prediction",
            image_id=image_id,
            model_version_id=self._models[model],
            label=label,
            confidence=confidence,
            top_k=[[label, confidence], ["bird", round((1 - confidence) / 2, 3)]],
            is_unknown=unknown,
            predicted_at=at(),
        )

    def file(self, path, state="queued", **values) -> int:
        name = path if isinstance(path, bytes) else os.fsencode(path)
        row = {
            "source": "inbox",
            "path": name.decode("utf-8", "backslashreplace"),
            "path_bytes": name,
            "is_current": True,
            "size": 1234,
            "mtime_ns": 1,
            "inode": 1,
            "state": state,
            "found_at": at(),
            "state_at": at(),
        }
        return self.insert("file", **row | values)

    def seen(self, path, label="cat", confidence=0.9, seconds=0.0, **values) -> int:
        """A classified file; `values` are columns of `file`, `model`, `unknown`, `taken_at`."""
        image_id = values.pop("image_id", None) or self.image(values.pop("taken_at", None))
        told = {name: values.pop(name) for name in ("model", "unknown") if name in values}
        row = {
            "image_id": image_id,
            "prediction_id": self.prediction(image_id, label, confidence, **told),
            "label": label,
            "classified_at": at(seconds),
            "state_at": at(seconds),
        }
        return self.file(path, "done", **row | values)

    def beat(self, pid=None, phase="running", beat_at=None, **detail) -> int:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return self.insert(
            "heartbeat",
            pid=pid or os.getpid(),
            phase=phase,
            started_at=at(),
            beat_at=beat_at or now,
            detail=detail,
        )
