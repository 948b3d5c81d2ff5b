"""The whole plugin contract on one screen.

Every hook but the last takes nothing and returns factories; configuration selects by name.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from daemon.contracts import (
        Backbone,
        Executor,
        Factory,
        Gate,
        Head,
        LabelSource,
        Retrainer,
        Runtime,
        Sink,
        Source,
    )

PROJECT = "classifyd"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_backbones() -> "Iterable[Factory[Backbone]]":  # type: ignore[empty-body]
    """Pretrained feature extractors, chosen by `model.backbone`."""


@hookspec
def register_heads() -> "Iterable[Factory[Head]]":  # type: ignore[empty-body]
    """Trainable classifiers, chosen by `model.head`."""


@hookspec
def register_runtimes() -> "Iterable[Factory[Runtime]]":  # type: ignore[empty-body]
    """What executes a bundle, chosen by `runtime`."""


@hookspec
def register_sources() -> "Iterable[Factory[Source]]":  # type: ignore[empty-body]
    """Where images come from, chosen by each entry of `sources`."""


@hookspec
def register_label_sources() -> "Iterable[Factory[LabelSource]]":  # type: ignore[empty-body]
    """Where labels come from, chosen by `labels.folder` and each entry of `labels.sources`."""


@hookspec
def register_sinks() -> "Iterable[Factory[Sink]]":  # type: ignore[empty-body]
    """Where events go, chosen by each entry of `sinks`."""


@hookspec
def register_retrainers() -> "Iterable[Factory[Retrainer]]":  # type: ignore[empty-body]
    """How a new model version is made from labels, chosen by `models train --strategy`."""


@hookspec
def register_gates() -> "Iterable[Factory[Gate]]":  # type: ignore[empty-body]
    """Who decides whether a challenger may go live, chosen by each entry of `gate`."""


@hookspec
def register_executors() -> "Iterable[Factory[Executor]]":  # type: ignore[empty-body]
    """Who runs the workers, chosen by `executor`."""


@hookspec
def register_commands(cli: "click.Group") -> None:
    """Add click commands to `cli`."""
