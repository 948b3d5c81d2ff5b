"""Every setting with its type, range, default and meaning: the one place that states them.

The default `config.yaml` and the reference page are generated from here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field

from daemon.config.reading import Key
from daemon.config.selection import (
    AUTO,
    BackboneChoice,
    ExecutorChoice,
    GateChoice,
    HeadChoice,
    LabelSourceChoice,
    RetrainerChoice,
    RuntimeChoice,
    Selection,
    SinkChoice,
    SourceChoice,
)
from daemon.config.values import (
    Bytes,
    Confidence,
    Database,
    Formats,
    ImageSize,
    LabelsFolder,
    Novelty,
    PluginLocation,
    Schedule,
    Section,
    StateFolder,
    Threads,
    VersionName,
    Weights,
)
from daemon.preprocessing import Fit


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
    )


class ModelSettings(_Strict):
    """What the next training builds; what serves is always the active model version."""

    backbone: BackboneChoice = Field(
        default=Selection("compact"),
        description="Pretrained feature extractor; `classifyd plugins` lists them all.",
        examples=["{name: mobilenet_v2, alpha: 0.35}"],
    )
    weights: Weights = Field(
        default="auto",
        description="Where its weights come from: auto (the backbone's first choice), one of its "
        "choices (bundled, imagenet, none), or the path of a weights file.",
    )
    head: HeadChoice = Field(
        default=Selection("softmax"),
        description="Trainable classifier behind the features: softmax, linear_svm, prototype, "
        "binary or multilabel; auto lets `models train --strategy auto` choose.",
    )
    image_size: ImageSize = Field(
        default=None,
        description="Input size in pixels, a side or [height, width]; null takes the size that "
        "the weights were made for.",
    )
    fit: Fit = Field(
        default=Fit.STRETCH,
        description="How an image of another shape is fitted: stretch (nothing cut off), crop "
        "(the centred part) or pad (the whole, with grey bars).",
    )
    name: VersionName = Field(
        default=None,
        description="Name for new model versions; null names them after the backbone.",
    )


class BatchSettings(_Strict):
    """How images are gathered while every worker is busy; an idle one takes them at once."""

    max_size: int = Field(
        default=32,
        strict=True,
        ge=1,
        le=1024,
        description="Most images in a batch (1 to 1024); more costs memory.",
    )
    max_delay_ms: int = Field(
        default=200,
        strict=True,
        ge=0,
        le=60_000,
        description="Longest wait in milliseconds for a batch to fill (0 to 60000).",
    )


class DecodeSettings(_Strict):
    """What reading one image may cost; a file past a limit is quarantined with the reason."""

    threads: Threads = Field(
        default="auto", description="Decoding threads of a worker: auto or 1 to 256."
    )
    timeout_s: float = Field(
        default=20.0,
        strict=True,
        gt=0,
        le=3600,
        description="Seconds that one image may take (up to 3600).",
    )
    max_pixels: int = Field(
        default=120_000_000,
        strict=True,
        ge=1,
        le=2_000_000_000,
        description="Most pixels, width times height, that an image may have.",
    )
    max_bytes: Bytes = Field(
        default=ByteSize(200_000_000), description="Largest file: bytes, or a size such as 200MB."
    )
    max_memory_mb: int = Field(
        default=1024,
        strict=True,
        ge=64,
        le=1_048_576,
        description="Memory in megabytes that decoding may take in a worker (64 or more).",
    )
    formats: Formats = Field(
        default=("jpeg", "png", "webp", "avif", "gif", "bmp", "tiff"),
        description="Formats that are opened, known by content and never by extension; heic may "
        "be added where the heic extra is installed. Of a GIF the first frame counts.",
    )


class LabelsSettings(_Strict):
    """Where labels come from beside the commands `label` and `labels import`."""

    folder: LabelsFolder = Field(
        default="labels",
        description="A watched folder whose sub-folders are classes: an image put into "
        "labels/cat is labelled cat. null switches it off.",
    )
    sources: tuple[LabelSourceChoice, ...] = Field(
        default=(), description="Further label sources, each a plugin with its options."
    )

    def selections(self) -> Iterator[tuple[str, Selection]]:
        """Yield every chosen label source as key in this section and selection."""
        if self.folder is not None:
            yield "folder", Selection("class_folder", {"path": self.folder})
        for number, source in enumerate(self.sources):
            yield f"sources.{number}", source


class RetrainSettings(_Strict):
    """When labels start a training run, how it learns, and what it may cost."""

    strategy: RetrainerChoice | None = Field(
        default=Selection("auto"),
        description="How a challenger is made: auto, probe, finetune, recipe; null: only when "
        "asked for (`classifyd retrain --now` then takes auto).",
        examples=["{name: finetune, epochs: 24}"],
    )
    every: Schedule = Field(
        default="24h",
        description="Longest time between runs while labels change: a duration (30m, 24h, 7d) or "
        "a cron expression in UTC (0 3 * * *); null: only when enough labels are new.",
    )
    min_new_labels: int = Field(
        default=50,
        strict=True,
        ge=1,
        description="So many images labelled otherwise than in the last run start one at once.",
    )
    min_per_class: int = Field(
        default=5,
        strict=True,
        ge=1,
        description="Labelled images that a class needs; one with fewer waits.",
    )
    budget: float = Field(
        default=30.0,
        strict=True,
        gt=0,
        le=10_080,
        description="Minutes within which a strategy compares and fits (up to 10080).",
    )
    seed: int = Field(
        default=0, strict=True, ge=0, lt=2**32, description="Seed of every random choice."
    )


class UnknownSettings(_Strict):
    """When an image is called unknown; the limits are found in training and may be overridden."""

    target_error: float = Field(
        default=0.05,
        strict=True,
        gt=0,
        lt=1,
        description="Share of wrong labels aimed at among images that are not unknown; what is "
        "less sure than needed for it is unknown (0 to 1).",
    )
    false_alarms: float = Field(
        default=0.05,
        strict=True,
        gt=0,
        lt=1,
        description="Share of familiar images that may be taken for unlike anything seen in "
        "training (0 to 1).",
    )
    threshold: Confidence = Field(
        default=None,
        description="Least confidence of a label, 0 to 1, in place of the one found in training; "
        "0 accepts any, null takes the model version's own.",
    )
    novelty: Novelty = Field(
        default=None,
        description="Greatest distance from the training images, 0 (seen) to 2 (opposite), in "
        "place of the one found in training; 2 accepts any, null takes the model version's own.",
    )


class LogSettings(_Strict):
    """One line an event, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least weight that is written: debug, info, warning or error."
    )
    format: Literal["text", "json"] = Field(
        default="text", description="text for people, json for programs."
    )


class Settings(_Strict):
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
        default=Selection("keras"), description="What executes the active model version."
    )
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
    log: Annotated[LogSettings, Section] = LogSettings()
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
