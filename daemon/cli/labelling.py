"""What the commands `label` and `labels` share: the database and how contents are looked at."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.app import Wiring, decode_limits, make_folders, upgraded_engine
from daemon.cli.common import load_config
from daemon.clock import utc_text
from daemon.label_sources import has_many_labels
from daemon.labels.contents import Contents
from daemon.labels.importing import Importer
from daemon.labels.siding import settle_sides
from daemon.store.contents import KnownFiles
from daemon.store.inbox import Inbox

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass(frozen=True)
class Desk:
    """All that is needed to label images by hand."""

    wiring: Wiring
    engine: "Engine"
    many: bool
    contents: Contents
    known: KnownFiles
    importer: Importer

    @property
    def head(self) -> str:
        """The configured head's name."""
        return self.wiring.loaded.settings.model.head.name


@contextmanager
def open_desk(config: Path | None) -> Iterator[Desk]:
    """Open the database, making it where there is none: labels may come before the first start.

    What was labelled is put on its side of the split in the end.
    """
    wiring = Wiring(load_config(config))
    make_folders(wiring.loaded.settings)
    engine = upgraded_engine(wiring.loaded)
    known = KnownFiles(engine)
    many = has_many_labels(wiring.catalogue, wiring.loaded)
    contents = Contents(known, decode_limits(wiring.loaded.settings))

    sources = wiring.sources()

    def title_of(path: Path) -> str:
        return next((source.title for source in sources if source.holds(path)), "label")

    importer = Importer(known, Inbox(engine, "label"), title_of, many)
    try:
        yield Desk(wiring, engine, many, contents, known, importer)
        settle_sides(engine, utc_text(wiring.clock.now()))
    finally:
        engine.dispose()


def user() -> str | None:
    """Return who gives this command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
