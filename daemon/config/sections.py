"""The sections of the settings: every key with its type, range, default and meaning."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field

from daemon.config.selection import (
    BackboneChoice,
    HeadChoice,
    LabelSourceChoice,
    RetrainerChoice,
    Selection,
)
from daemon.config.values import (
    Age,
    Bytes,
    Confidence,
    Formats,
    Host,
    ImageSize,
    LabelsFolder,
    Novelty,
    Port,
    Room,
    Schedule,
    Threads,
    VersionName,
    Weights,
)
from daemon.preprocessing import Fit


class Strict(BaseModel):
    """Unknown keys are refused, and nothing is changed later."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
    )


class ModelSettings(Strict):
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


class BatchSettings(Strict):
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


class DecodeSettings(Strict):
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
        description="Memory in megabytes that decoding may take in a worker (64 or more); one that"
        " keeps half of it is replaced.",
    )
    scaled: bool = Field(
        default=True,
        strict=True,
        description="Decode a large JPEG at a half, a quarter or an eighth of its size, where that "
        "is still twice the model's input or more; false decodes every pixel.",
    )
    formats: Formats = Field(
        default=("jpeg", "png", "webp", "avif", "gif", "bmp", "tiff"),
        description="Formats that are opened, known by content and never by extension; heic may "
        "be added where the heic extra is installed. Of a GIF the first frame counts.",
    )


class LabelsSettings(Strict):
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


class AgreementSettings(Strict):
    """How alike the answers of a compiled model and of Keras must be, else Keras serves."""

    labels: float = Field(
        default=1.0,
        strict=True,
        ge=0,
        le=1,
        description="Share of images that must get the same label (0 to 1).",
    )
    difference: float = Field(
        default=0.01,
        strict=True,
        gt=0,
        le=1,
        description="Largest difference of a score that is allowed (0 to 1).",
    )


class RetrainSettings(Strict):
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
    max_memory_mb: int | None = Field(
        default=None,
        strict=True,
        ge=1024,
        le=1_048_576,
        description="Memory in megabytes that a training run may take (1024 or more); null takes "
        "three quarters of the machine's. It counts what is set aside, a third more than is used.",
    )
    seed: int = Field(
        default=0, strict=True, ge=0, lt=2**32, description="Seed of every random choice."
    )


class UnknownSettings(Strict):
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


class RetentionSettings(Strict):
    """What goes by itself, once a day, and by `classifyd prune`; null keeps it for ever. Labels,
    predictions and the rows of files are never removed."""

    events: Age = Field(
        default="30d",
        description="Age at which events go that every sink has got, and requests that were met.",
    )
    undelivered: Age = Field(
        default="180d",
        description="Age at which an event that a sink has not taken is given up.",
    )
    bundles: Age = Field(
        default="90d",
        description="How long bundles stay after the gate refused or another replaced them; those "
        "of the active model version, of the one before it and of candidates always do.",
    )
    backups: Age = Field(
        default="90d",
        description="Age at which backups of the database in the state folder go; the newest "
        "stays.",
    )
    run_logs: Age = Field(
        default="180d",
        description="Age at which the logs of training runs are cut to their first line.",
    )
    features: Room = Field(
        default=ByteSize(5_000_000_000),
        description="Most disk that cached features take; what was unused longest goes first.",
    )


class DiskSettings(Strict):
    """When a disk is too full to go on."""

    min_free: Room = Field(
        default=ByteSize(500_000_000),
        description="Room below which, on the disk of the database or of the state folder, no more "
        "files are taken, no training begins and no backup is made; the daemon goes on by itself "
        "once a quarter more than that is free. null: never.",
    )


class LogSettings(Strict):
    """One line an event, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least weight that is written: debug, info, warning or error."
    )
    format: Literal["text", "json"] = Field(
        default="text", description="text for people, json for programs."
    )


class MetricsSettings(Strict):
    """Figures for Prometheus (`/metrics`) and health checks (`/healthz`), over HTTP."""

    host: Host = Field(
        default="127.0.0.1",
        description="Address that is listened on. No password protects it: give another than this "
        "machine's own only in a network that you trust.",
        examples=["0.0.0.0"],
    )
    port: Port = Field(
        default=9764,
        description="Port that is listened on (1 to 65535); each daemon on a machine needs one of "
        "its own. null switches it off.",
    )
