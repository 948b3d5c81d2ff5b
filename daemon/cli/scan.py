"""`classifyd scan`: classify what is there once, with a progress bar, and exit."""

import sys
from pathlib import Path

import click

from daemon.cli.common import config_option, load_config


@click.command()
@click.argument(
    "paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[PATH]..."
)
@click.option(
    "--stale",
    is_flag=True,
    help="Classify again the images whose prediction is not by the active model version.",
)
@config_option
def scan(paths: tuple[Path, ...], stale: bool, config: Path | None) -> None:
    """Classify what is there once: PATHs, or all configured sources.

    Within a configured source's folder its rules hold, as for the daemon. Beside a running daemon
    the files are handed to it, and this command follows its work. Ends with 75 if files are left
    that could not be read now and are to be tried again.

    \b
    Examples:
      classifyd scan                    look once at every configured source
      classifyd scan /media/card1       look at one folder
      classifyd scan --stale            after another model version was activated
    """
    from daemon import app
    from daemon.errors import EXIT_TRY_AGAIN, BusyError
    from daemon.scanning import scan_beside, scan_here

    loaded = load_config(config)
    app.prepare_environment(loaded.settings)
    wiring = app.Wiring(loaded)
    app.make_folders(loaded.settings)
    try:
        with app.open_lock(loaded):
            scanned = scan_here(wiring, paths, stale)
    except BusyError:
        scanned = scan_beside(wiring, paths, stale)
    click.echo(scanned.summary, err=True)
    if scanned.left:
        sys.exit(EXIT_TRY_AGAIN)
