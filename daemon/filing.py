"""Sinks that put images into folders, kept apart from the folders that are watched."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from daemon.config.origins import located
from daemon.contracts import FilingSink, Sink, Source
from daemon.errors import ConfigError


def keep_apart(
    sinks: Iterable[Sink],
    sources: Mapping[str, Source],
    origins: Mapping[str, str],
) -> None:
    """Raise `ConfigError` where a source would find what a sink has put away, and name the label
    folders to the sinks; `sinks` are in the order, `sources` under the keys of the settings."""
    labelled = frozenset(each.title for key, each in sources.items() if key.startswith("labels."))
    for number, sink in enumerate(sinks):
        if isinstance(sink, FilingSink):
            _check(f"sinks.{number}.folder", sink.folder, sources, origins)
            sink.spare(labelled)


def _check(
    key: str, folder: Path, sources: Mapping[str, Source], origins: Mapping[str, str]
) -> None:
    for source in sources.values():
        if any(source.holds(place / "label" / "image") for place in (folder, folder.resolve())):
            text = (
                f"{folder} lies within the watched folder {source.title!r}, so that everything put "
                "there would be classified again; name a folder outside it"
            )
            raise ConfigError(located(key, text, origins))
