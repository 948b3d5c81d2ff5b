"""A real `classifyd run` in a folder of its own, watched through its database from outside."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType

from daemon.testing.process import DaemonProcess, until

_SILENCE_S = 120.0


class Daemon:
    """Runs while in context, warm and watching its inbox; serves a bundle with the defaults."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self._daemon = DaemonProcess(folder, {"runtime": "auto", "plugins": []})
        self._daemon.deploy(bundle)
        self._rows = 0

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._daemon.process is not None
        return self._daemon.process.pid

    @property
    def inbox(self) -> Path:
        """The watched folder."""
        return self._daemon.inbox

    def __enter__(self) -> "Daemon":
        watching = "SELECT title FROM source_state WHERE watching IS NOT NULL"
        try:
            self._daemon.start()
            until(lambda: self._daemon.query(watching), what="the inbox is watched")
        except BaseException:
            self._daemon.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._daemon.stop()

    def take(self, files: Sequence[Path]) -> None:
        """Move files into the inbox, as a program does that has written them elsewhere."""
        for path in files:
            path.rename(self._daemon.inbox / path.name)

    def await_rows(self, count: int, every_s: float = 0.005) -> None:
        """Wait until `latest_prediction` has `count` rows; raises `RuntimeError` if it stalls.

        A look costs next to nothing until somebody has committed.
        """
        version, news = -1, time.monotonic()
        with closing(self.connect()) as connection:
            while self._rows < count:
                before, version = version, _value(connection, "PRAGMA data_version")
                if version == before:
                    self._check(news, f"{self._rows} of {count} rows")
                    time.sleep(every_s)
                    continue
                rows = _value(connection, "SELECT count(*) FROM latest_prediction")
                news = time.monotonic() if rows > self._rows else news
                self._rows = rows

    def database_bytes(self) -> int:
        """Return how large the database is, without its write-ahead log."""
        with closing(self.connect()) as connection:
            pages = _value(connection, "PRAGMA page_count")
            return pages * _value(connection, "PRAGMA page_size")

    def _check(self, news: float, where: str) -> None:
        assert self._daemon.process is not None
        if time.monotonic() - news > _SILENCE_S or self._daemon.process.poll() is not None:
            tail = self._daemon.log.read_text("utf-8", "replace").splitlines()[-20:]
            said = "\n".join(tail)
            raise RuntimeError(f"the daemon does not go on ({where}); it said last:\n{said}")

    def connect(self) -> sqlite3.Connection:
        """Open the database for reading."""
        name = f"file:{self._daemon.database}?mode=ro"
        return sqlite3.connect(name, uri=True, isolation_level=None)


def _value(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])
