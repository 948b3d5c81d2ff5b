"""Every setting with its type, range, default and meaning: the one place that states them.

The default `config.yaml` and the reference page are generated from here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from daemon.config.reading import Key
from daemon.config.sections import (
    AgreementSettings,
    BatchSettings,
    DecodeSettings,
    DiskSettings,
    LabelsSettings,
    LogSettings,
    MetricsSettings,
    ModelSettings,
    RetentionSettings,
    RetrainSettings,
    Strict,
    UnknownSettings,
)
from daemon.config.selection import (
    AUTO,
    ExecutorChoice,
    GateChoice,
    RuntimeChoice,
    Selection,
    SinkChoice,
    SourceChoice,
)
from daemon.config.values import (
    Database,
    PluginLocation,
    Section,
    StateFolder,
)


class Settings(Strict):
    """The whole configuration; relative paths count from the configuration file's folder."""

    database: Database = Field(
        default="state/classifyd.db",
        description="Where everything is recorded: the path of an SQLite file, or its SQLAlchemy "
        "URL.",
    )
    state_dir: StateFolder = Field(
        default=Path("state"),
        description="Folder for what the daemon keeps beside the database: bundles, backups, "
        "downloaded weights.",
    )
    sources: tuple[SourceChoice, ...] = Field(
        default=(Selection("folder", {"path": "inbox"}),),
        description="Where images come from: a list of sources, each with its options; "
        "`classifyd plugins folder` shows them.",
        examples=["[{name: folder, path: inbox}, {name: folder, path: /srv/photos}]"],
    )
    model: Annotated[ModelSettings, Section] = ModelSettings()
    runtime: RuntimeChoice = Field(
        default=Selection(AUTO),
        description="What executes the active model version: openvino, litert, onnx, keras, or "
        "auto, which takes the fastest on this machine that agrees with Keras.",
        examples=["{name: openvino, precision: bf16}"],
    )
    agreement: Annotated[AgreementSettings, Section] = AgreementSettings()
    batch: Annotated[BatchSettings, Section] = BatchSettings()
    decode: Annotated[DecodeSettings, Section] = DecodeSettings()
    labels: Annotated[LabelsSettings, Section] = LabelsSettings()
    retrain: Annotated[RetrainSettings, Section] = RetrainSettings()
    unknown: Annotated[UnknownSettings, Section] = UnknownSettings()
    sinks: tuple[SinkChoice, ...] = Field(
        default=(),
        description="Where events go (classified, failed, model activated).",
        examples=["[{name: jsonl, path: events.jsonl}]"],
    )
    gate: tuple[GateChoice, ...] = Field(
        default=(Selection("holdout"),),
        description="Who decides whether a newly trained model version may go live; all must "
        "agree. An empty list lets every one through.",
        examples=["[{name: holdout, noise: 0.05}]"],
    )
    executor: ExecutorChoice = Field(
        default=Selection("local"),
        description="Who runs the workers.",
        examples=["{name: local, workers: 2}"],
    )
    retention: Annotated[RetentionSettings, Section] = RetentionSettings()
    disk: Annotated[DiskSettings, Section] = DiskSettings()
    log: Annotated[LogSettings, Section] = LogSettings()
    metrics: Annotated[MetricsSettings, Section] = MetricsSettings()
    plugins: tuple[PluginLocation, ...] = Field(
        default=(),
        description="Plugins beside the installed ones: names of modules, or paths of .py files "
        "or of folders of them.",
    )

    def selections(self) -> Iterator[tuple[str, str, Selection]]:
        """Yield every chosen plugin as dotted key, kind (as in the catalogue) and selection."""
        yield "model.backbone", "backbones", self.model.backbone
        if self.model.head.name != AUTO:
            yield "model.head", "heads", self.model.head
        if self.runtime.name != AUTO:
            yield "runtime", "runtimes", self.runtime
        yield "executor", "executors", self.executor
        for number, source in enumerate(self.sources):
            yield f"sources.{number}", "sources", source
        for key, label_source in self.labels.selections():
            yield f"labels.{key}", "label_sources", label_source
        for number, sink in enumerate(self.sinks):
            yield f"sinks.{number}", "sinks", sink
        if self.retrain.strategy is not None:
            yield "retrain.strategy", "retrainers", self.retrain.strategy
        for number, gate in enumerate(self.gate):
            yield f"gate.{number}", "gates", gate

    def items(self) -> Iterator[tuple[Key, Any]]:
        """Yield every key and its plain value; a selection is its name, then its options."""
        return _items(self, ())


def _items(value: object, key: Key) -> Iterator[tuple[Key, Any]]:
    match value:
        case BaseModel():
            for name in type(value).model_fields:
                yield from _items(getattr(value, name), (*key, name))
        case Selection():
            yield key, value.name
            for name, option in value.options.items():
                yield (*key, name), option
        case (Selection(), *_):
            for number, selection in enumerate(value):
                yield from _items(selection, (*key, number))
        case _:
            yield key, value
