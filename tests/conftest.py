"""What many tests share: an empty database of the newest schema, and the command line."""

import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from filled import Filled

from daemon import cli, priority
from daemon.store.database import open_engine
from daemon.store.migrate import upgrade


@pytest.fixture(scope="session", autouse=True)
def keras_folder(tmp_path_factory):
    """Where Keras writes its settings and downloads: it asks once, when it is first imported,
    and would take the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("keras")
        patch.setenv("KERAS_HOME", str(home))
        yield home


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Let Ctrl-C reach what tests start: whoever runs them in the background hands down that it
    is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """An empty database, made once; copy it, do not write to it."""
    folder = tmp_path_factory.mktemp("migrated")
    upgrade(str(folder / "empty.db"), folder)
    return folder / "empty.db"


@pytest.fixture
def filled(migrated, tmp_path):
    """A database to be filled with rows, beside a configuration that names it."""
    shutil.copyfile(migrated, tmp_path / "classifyd.db")
    (tmp_path / "config.yaml").write_text(
        "database: classifyd.db\nstate_dir: state\nsources: [{name: folder, path: inbox}]\n"
    )
    filled = Filled(tmp_path / "classifyd.db")
    yield filled
    filled.connection.close()


@pytest.fixture
def engine(filled):
    """The filled database, opened as the program opens it."""
    engine = open_engine(str(filled.path))
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def keras():
    """Keras, imported before a test captures output: its log would go on writing to that."""
    from daemon.quiet import import_keras

    import_keras()


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def classifyd(tmp_path, monkeypatch, capsys):
    """Run the command line in this process, in the folder of `filled`'s configuration.

    What a command changes of its own process is undone: niceness could not be taken back, and
    would slow every test after it.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(priority, "yield_to_others", lambda: None)
    monkeypatch.setattr(priority, "limit_memory", lambda megabytes: None)
    monkeypatch.setenv("CLASSIFYD_METRICS__PORT", "null")  # a daemon here may have the default
    on_terminate = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["classifyd", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, on_terminate)
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def in_berlin(monkeypatch):
    """A machine whose clock is two hours ahead of UTC in summer."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
