"""`classifyd models export` and `import`: model versions from one machine to another."""

from pathlib import Path

import click

from daemon.cli.common import config_option, load_config, open_database


@click.command("export")
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
def export_model(name: str, file: Path | None, config: Path | None) -> None:
    """Write model version NAME into FILE, a ZIP archive (by default NAME.zip, here).

    \b
    Examples:
      classifyd models export cat-flap
      classifyd models export cat-flap /media/stick/cat-flap.zip
    """
    from daemon.app import bundle_of, check_bundle
    from daemon.carrying import pack
    from daemon.store.models import Models

    engine, loaded = open_database(config)
    version = Models(engine).find(name)
    check_bundle(version, loaded.settings)
    file = Path(f"{version.name}.zip") if file is None else file
    pack(bundle_of(version, loaded.settings), file)
    click.echo(f"{file}: {version.name}, {file.stat().st_size / 1e6:.1f} MB")


@click.command("import")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@config_option
def import_model(source: Path, config: Path | None) -> None:
    """Take in a model version from SOURCE: what `models export` wrote, or a bundle's folder.

    Every file is compared with the hashes that its manifest lists. It becomes a candidate, which
    nothing is classified by before `classifyd models activate`.

    \b
    Example:
      classifyd models import cat-flap.zip
    """
    from contextlib import nullcontext

    from daemon import app
    from daemon.carrying import unpacked
    from daemon.clock import SystemClock, utc_text
    from daemon.store.models import Models

    loaded = load_config(config)
    app.make_folders(loaded.settings)
    engine = app.upgraded_engine(loaded)
    registry = Models(engine)
    known = registry.bundles()
    folder = loaded.settings.state_dir / "models"
    is_folder = source.is_dir()
    with nullcontext(source) if is_folder else unpacked(source, folder) as bundle:
        now = utc_text(SystemClock().now())
        version = app.register_bundle(registry, bundle, loaded.settings, now)
    if version.bundle in known:
        click.echo(f"{version.name} is this model version already; its bundle is whole.")
        return
    click.echo(f"{version.name}: {len(version.classes)} classes, backbone {version.backbone}")
    click.echo(f"Make it the active one with: classifyd models activate {version.name}")
