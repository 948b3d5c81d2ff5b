"""What a configuration asks of the machine: the folders and the network that its unit allows."""

import os
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.classifier import resolve_weights
from daemon.config import Loaded
from daemon.options import Needs
from daemon.store.database import sqlite_path
from daemon.unit import Network, Unit, quoted

if TYPE_CHECKING:
    from daemon.catalogue import Catalogue

_FETCHED = "imagenet"
_LEAST_COMMON = 3
"""Parts of a path (`/srv/photos` has three) that may be opened as a whole."""


def unit_of(
    loaded: Loaded,
    catalogue: "Catalogue",
    command: Sequence[str],
    programs: Sequence[Path],
    instance: str | None,
    account: str | None,
) -> Unit:
    """Return the unit of a configuration; `account` is None for a user's own manager.

    `programs` are the files that `command` executes: the service must be able to see them.
    """
    settings = loaded.settings
    assert loaded.path is not None
    database = sqlite_path(settings.database)
    needs, paths = _plugins(loaded, catalogue)
    folders = [settings.state_dir, *([database.parent] if database else [])]
    writes = [*folders, *(folder for need in needs for folder in need.writes)]
    if any(need.moves_images for need in needs):
        writes = list(_movable(writes, _watched(loaded, catalogue)))
    written = _outermost(writes)
    reads = {path for path in paths if path not in writes}
    return Unit(
        title="classifyd, classification of images" + (f" ({instance})" if instance else ""),
        command=tuple(quoted(each) for each in command),
        config=quoted(os.fspath(loaded.path.absolute())),
        cache=f"classifyd/{instance}" if instance else "classifyd",
        keeps=tuple(quoted(os.fspath(path)) for path in dict.fromkeys(folders)),
        writes=tuple(quoted(os.fspath(path)) for path in written),
        reads=tuple(quoted(os.fspath(path)) for path in sorted(reads)),
        network=_network(loaded, catalogue, needs),
        sees_homes=any(map(_in_home, [*written, *reads, *programs, loaded.path.absolute()])),
        account=account,
    )


def _in_home(path: Path) -> bool:
    return any(path.is_relative_to(home) for home in ("/home", "/root", "/run/user"))


def _plugins(loaded: Loaded, catalogue: "Catalogue") -> tuple[list[Needs], list[Path]]:
    """Return what the chosen plugins need, and the paths among their options."""
    needs, paths = [], []
    for _, kind, selection in loaded.settings.selections():
        table = catalogue.tables()[kind]
        options = table.options(selection, loaded.base)
        need = table.entries[selection.name].factory.needs(options)
        needs.append(need)
        named = [value for _, value in options if isinstance(value, Path)]
        paths += [path for path in named if not {path, *path.parents} & {*need.writes}]
    return needs, paths


def _watched(loaded: Loaded, catalogue: "Catalogue") -> Iterator[Path]:
    for _, kind, selection in loaded.settings.selections():
        if kind == "sources":
            options = catalogue.sources.options(selection, loaded.base)
            yield from (value for _, value in options if isinstance(value, Path))


def _movable(writes: Iterable[Path], watched: Iterable[Path]) -> Iterator[Path]:
    """Yield what must be written so that images can move or be linked between folders.

    Each folder that systemd opens is a mount of its own, across which nothing can be linked:
    folders of one parent are opened by that.
    """
    sources = list(watched)
    for path in writes:
        commons = [Path(os.path.commonpath([path, source])) for source in sources]
        near = [common for common in commons if len(common.parts) >= _LEAST_COMMON]
        yield from near or [path]
    yield from sources


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Leave out what lies in another; the order stays."""
    unique = list(dict.fromkeys(paths))
    return [path for path in unique if not any(each in path.parents for each in unique)]


def _network(loaded: Loaded, catalogue: "Catalogue", needs: Iterable[Needs]) -> Network:
    model = loaded.settings.model
    backbone = catalogue.backbones.build(model.backbone, loaded.base)
    is_far = sqlite_path(loaded.settings.database) is None
    is_fetched = resolve_weights(backbone, model.weights) == _FETCHED
    if is_far or is_fetched or any(need.network for need in needs):
        return Network.ANY
    metrics = loaded.settings.metrics
    if metrics.port is None:
        return Network.NONE
    return Network.LOOPBACK if _is_loopback(metrics.host) else Network.ANY


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
