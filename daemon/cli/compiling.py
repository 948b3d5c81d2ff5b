"""`classifyd models compile`, and how what it finds out is shown."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.common import config_option, load_config, open_database
from daemon.cli.output import Column, Kind, format_option, write_rows
from daemon.compiling import SIZES

if TYPE_CHECKING:
    from daemon.compiling import Row
    from daemon.store.models import Models, Version

COLUMNS = (
    Column("runtime"),
    Column("options"),
    Column("same_labels", Kind.CONFIDENCE),
    Column("difference", Kind.NUMBER),
    Column("images", Kind.NUMBER),
    *(Column(f"batch_{size}", Kind.NUMBER) for size in SIZES),
    Column("best_batch", Kind.NUMBER),
    Column("error"),
)


@click.command("compile")
@click.argument("name", required=False)
@click.option("--anew", is_flag=True, help="Also what was compiled and compared before.")
@config_option
@format_option
def compile_model(name: str | None, anew: bool, config: Path | None, form: str) -> None:
    """Compile model version NAME (the active one by default) for this machine, and compare.

    Each way that `runtime` allows is checked against Keras on the newest images, and timed in
    batches of 1, 4, 8 and 32 (images a second of one worker). The daemon does this by itself
    before it serves a model version for the first time, and takes the fastest that agrees.

    \b
    Examples:
      classifyd models compile --anew   find out again which way is the fastest
      classifyd models compile cat-flap before it is activated
    """
    from daemon import app
    from daemon.progress import stages
    from daemon.store.models import Models

    app.prepare_environment(load_config(config).settings)
    engine, loaded = open_database(config)
    from daemon.model_compiling import compile_version

    version = version_named(Models(engine), name)
    with stages({"read": "reading images", "compile": "compiling"}) as progress:
        found = compile_version(app.Wiring(loaded), engine, version, progress, anew)
    write_rows(row_values(found), COLUMNS, form)


def version_named(registry: "Models", name: str | None) -> "Version":
    """Return the model version of this name, the active one for None; raises `UsageError`."""
    from daemon.errors import UsageError

    version = registry.find(name) if name else registry.active()
    if version is None:
        raise UsageError("no model version is active yet; start the daemon once, or train one")
    return version


def row_values(found: "Sequence[Row]") -> list[dict[str, Any]]:
    """Return rows as a listing shows them; speeds are images a second."""
    return [
        {
            "runtime": row.runtime,
            "options": ", ".join(f"{key} {value}" for key, value in row.options.items()),
            "same_labels": None if row.error else row.agreement,
            "difference": None if row.error else row.difference,
            "images": row.images,
            **{f"batch_{size}": _whole(row, size) for size in SIZES},
            "best_batch": row.batch_size,
            "error": row.error,
        }
        for row in found
    ]


def row_lines(found: "Sequence[Row]") -> Iterator[str]:
    """Yield a line for each way of executing a model version on this machine."""
    for row in found:
        name = " ".join([row.runtime, *(f"{key} {value}" for key, value in row.options.items())])
        if row.error:
            yield f"  {name:<16} {row.error}"
            continue
        timed = [size for size in SIZES if _whole(row, size) is not None]
        speeds = ", ".join(f"{_whole(row, size)} in batches of {size}" for size in timed)
        alike = f"{row.agreement:.1%} the same labels, differences up to {row.difference:.1g}"
        yield f"  {name:<16} images a second: {speeds}; {alike}"


def _whole(row: "Row", size: int) -> int | None:
    speed = (row.speed or {}).get(str(size))
    return None if speed is None else round(speed)
