"""The configured label sources, and what the configuration says of labels."""

from pathlib import Path
from typing import TYPE_CHECKING

from daemon.config.origins import DEFAULT, located
from daemon.errors import ConfigError

if TYPE_CHECKING:
    from daemon.catalogue import Catalogue
    from daemon.config import Loaded
    from daemon.contracts import LabelSource

MANY = "independent"
"""The reading of heads under which an image may have several labels."""


def build_label_sources(catalogue: "Catalogue", loaded: "Loaded") -> "list[LabelSource]":
    """Build the configured label sources; raises `ConfigError` where one can never be heard."""
    _check_apart(loaded)
    choices = [choice for _, choice in loaded.settings.labels.selections()]
    return [catalogue.label_sources.build(choice, loaded.base) for choice in choices]


def has_many_labels(catalogue: "Catalogue", loaded: "Loaded") -> bool:
    """Tell whether an image may have several labels: the configured head decides."""
    choice = loaded.settings.model.head
    if choice.name not in catalogue.heads.entries:
        return False
    return catalogue.heads.build(choice, loaded.base).reading == MANY


def labels_folder(loaded: "Loaded") -> Path | None:
    """Return the watched labels folder as an absolute path, None where it is switched off."""
    folder = loaded.settings.labels.folder
    return None if folder is None else _absolute(loaded, folder)


def _absolute(loaded: "Loaded", folder: str) -> Path:
    return Path(loaded.base, Path(folder).expanduser()).absolute()


def _check_apart(loaded: "Loaded") -> None:
    """Refuse a labels folder inside another watched folder, which would find its files first."""
    labels = labels_folder(loaded)
    for number, choice in enumerate(loaded.settings.sources):
        root = choice.options.get("path")
        if labels is None or root is None or choice.options.get("ignore"):
            continue
        if labels.is_relative_to(_absolute(loaded, str(root))):
            is_given = loaded.origins.get("labels.folder") != DEFAULT
            key = "labels.folder" if is_given else f"sources.{number}.path"
            text = (
                f"the labels folder {labels} lies inside the source {root}; name a folder beside it"
                " with `labels.folder`, or leave it out of the source with `ignore`"
            )
            raise ConfigError(located(key, text, loaded.origins))
