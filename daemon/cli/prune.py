"""`classifyd prune`: remove what need not be kept, and say how much that was."""

import time
from pathlib import Path

import click

from daemon.cli.common import config_option, open_database
from daemon.cli.output import Column, Kind, format_option, write_rows

_COLUMNS = (
    Column("what"),
    Column("removed", Kind.NUMBER),
    Column("bytes", Kind.NUMBER),
)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@config_option
@format_option
def prune(dry_run: bool, config: Path | None, form: str) -> None:
    """Remove what is older than `retention` in the configuration keeps it.

    The daemon does the same once a day; both at once are safe. Events, old bundles, cached
    features, backups and logs of training runs may go. Labels, predictions and what is known of
    files and model versions never do.

    \b
    Examples:
      classifyd prune --dry-run         what would go
      classifyd prune --format json     for scripts: what went, and how many bytes
    """
    from daemon.pruning import Pruning

    engine, loaded = open_database(config)
    settings = loaded.settings
    pruning = Pruning(engine, settings.state_dir, settings.retention, time.time(), dry_run)
    rows = ({"what": r.what, "removed": r.count, "bytes": r.size} for r in pruning.run())
    write_rows(rows, _COLUMNS, form)
    if dry_run:
        click.echo("classifyd: nothing was removed (--dry-run)", err=True)
