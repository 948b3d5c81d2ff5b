"""`classifyd run`: the daemon, in the foreground."""

import faulthandler
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.common import config_option, load_config

if TYPE_CHECKING:
    from daemon.config import Loaded
    from daemon.contracts import Source

_UPGRADE_S = 3600.0
"""So long systemd waits for a backup and an upgrade of a large database."""


@click.command()
@config_option
def run(config: Path | None) -> None:
    """Watch the folders and classify what is dropped there.

    Runs in the foreground until SIGTERM or Ctrl-C, then finishes the batch in hand and exits 0.
    SIGHUP reads the configuration again.

    \b
    Examples:
      classifyd run                          watch as ./config.yaml says
      classifyd run --config /etc/cats.yaml  several daemons: one file each
    """
    from daemon import app, logs
    from daemon.clock import SystemClock
    from daemon.errors import BusyDatabaseError
    from daemon.monitoring import monitored
    from daemon.patience import Patience, rest
    from daemon.reloading import Reloader
    from daemon.signals import Signals
    from daemon.systemd import take_systemd

    faulthandler.enable()  # where systemd's watchdog ends a process that hangs, the log tells where
    systemd = take_systemd(os.environ, SystemClock())
    loaded = load_config(config)
    logs.set_up(loaded.settings.log.level, loaded.settings.log.format)
    app.prepare_environment(loaded.settings)
    with Signals() as signals:
        wiring = app.Wiring(loaded)
        sources = wiring.sources()
        app.make_folders(loaded.settings)
        with app.open_lock(loaded), monitored(loaded) as monitor:
            systemd.status("opening the database")
            systemd.wait_for(_UPGRADE_S)
            waiting = Patience(lambda s: rest(s, lambda: signals.stop_asked), BusyDatabaseError)
            engine = waiting.insist(lambda: app.upgraded_engine(loaded))
            service = waiting.insist(lambda: wiring.service(engine, monitor.observer, systemd))
            monitor.watch(engine, service)
            labels = {source.title for source in wiring.label_sources()}
            _greet(loaded, [source for source in sources if source.title not in labels])
            service.follow(sources, Reloader(wiring), signals)


def _greet(loaded: "Loaded", sources: "list[Source]") -> None:
    """Say in a few lines where to drop images and how to query."""
    places = ", ".join(source.title for source in sources) or "nowhere (no sources configured)"
    command, option = _called_as(), ""
    if loaded.path is not None and loaded.path.absolute() != Path("config.yaml").absolute():
        option = f" --config {loaded.path}"
    click.echo(f"classifyd is starting. Drop images into: {places}", err=True)
    click.echo(f"  {command} results{option}     what was seen", err=True)
    click.echo(f"  {command} status{option}      how it is going", err=True)
    click.echo(f"  sqlite3 {loaded.settings.database} 'SELECT * FROM latest_prediction'", err=True)


def _called_as() -> str:
    """Return how this program can be called from here: by name, or by its path."""
    here = Path(sys.argv[0]).absolute()
    if shutil.which("classifyd") == str(here):
        return "classifyd"
    return os.path.relpath(here) if here.name == "classifyd" else "python -m daemon"
