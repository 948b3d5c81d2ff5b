"""Every metric: name, kind, labels and meaning. The reference page is written out of here."""

from dataclasses import dataclass

MILLISECONDS_TO_MINUTES = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    1800.0,
)  # fmt: skip
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
STAGES = ("waiting", "decoding", "inference", "recording", "delivering")
DATABASE, DAEMON, MACHINE = "the database", "the daemon", "the machine"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric; `kind` is counter, gauge or histogram, `of` tells where its figure comes from.

    As Prometheus has it, a counter's name ends in `_total` where it is read.
    """

    name: str
    kind: str
    of: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def shown(self) -> str:
        """The name by which it is asked for."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


FILES = Family(
    "classifyd_files",
    "counter",
    DAEMON,
    "Files brought to an end, by outcome: classified, known (the same bytes as before), "
    "unreadable, not_image, vanished, changed (settles again), transient or crashed (tried "
    "again).",
    ("outcome",),
)
UNKNOWN = Family(
    "classifyd_unknown_images",
    "counter",
    DAEMON,
    "Images that were classified and called unknown.",
)
FAILED_BATCHES = Family(
    "classifyd_failed_batches",
    "counter",
    DAEMON,
    "Batches that broke as a whole, by a worker's end or an error of the model.",
)
BATCH_FILES = Family(
    "classifyd_batch_files",
    "histogram",
    DAEMON,
    "Files in a batch.",
    buckets=BATCH_SIZES,
)
STAGE_SECONDS = Family(
    "classifyd_stage_seconds",
    "histogram",
    DAEMON,
    "Time in each stage: of a file waiting (from being found to being with a worker), of a batch "
    "decoding (reading included), inference and recording, of an event delivering to a sink.",
    ("stage",),
    MILLISECONDS_TO_MINUTES,
)
SINK_EVENTS = Family(
    "classifyd_sink_events",
    "counter",
    DAEMON,
    "Events offered to a sink, by outcome: delivered or refused (offered again later).",
    ("sink", "outcome"),
)

READY = Family("classifyd_ready", "gauge", DAEMON, "1 while images are classified, as /healthz.")
BUILD = Family("classifyd_build_info", "gauge", DAEMON, "Always 1.", ("version",))
WORKERS = Family("classifyd_workers", "gauge", DAEMON, "Workers that serve the model.")
MODEL_TROUBLE = Family(
    "classifyd_model_trouble",
    "gauge",
    DAEMON,
    "1 while the active model version cannot be loaded or its workers do not work.",
)
MODEL = Family(
    "classifyd_model_info",
    "gauge",
    DAEMON,
    "Always 1; its labels tell which model version is served, and by which runtime.",
    ("version", "backbone", "head", "runtime"),
)
MEMORY = Family(
    "classifyd_resident_memory_bytes",
    "gauge",
    MACHINE,
    "Resident memory: of the main process, of its workers together, of a training run.",
    ("process",),
)
DISK_FREE = Family(
    "classifyd_disk_free_bytes",
    "gauge",
    MACHINE,
    "Room on the disk of a place: database or state_dir.",
    ("place",),
)
DISK_SIZE = Family(
    "classifyd_disk_size_bytes",
    "gauge",
    MACHINE,
    "Size of the disk of a place: database or state_dir.",
    ("place",),
)
DATABASE_BYTES = Family(
    "classifyd_database_bytes",
    "gauge",
    MACHINE,
    "Size of the database's files: main and wal.",
    ("file",),
)

DATABASE_UP = Family(
    "classifyd_database_up",
    "gauge",
    DATABASE,
    "1 if the database answered; while it does not, what comes from it is left out.",
)
QUEUE = Family(
    "classifyd_queue_files",
    "gauge",
    DATABASE,
    "Files that are not done yet, by state: settling, queued, claimed or retry.",
    ("state",),
)
QUARANTINED = Family("classifyd_quarantined_files", "gauge", DATABASE, "Files that were given up.")
OLDEST = Family(
    "classifyd_oldest_waiting_seconds",
    "gauge",
    DATABASE,
    "Age of the oldest waiting file: since when the one at the head of the queue is in it, or "
    "the one that is longest with a worker. 0 when nothing waits.",
)
MODEL_SINCE = Family(
    "classifyd_model_deployed_timestamp_seconds",
    "gauge",
    DATABASE,
    "When the active model version was activated, in seconds since 1970.",
)
RUNS = Family(
    "classifyd_training_runs",
    "gauge",
    DATABASE,
    "Training runs there ever were, by outcome: live, refused (by the gate), allowed (a mere "
    "repetition), trained (nobody judged), failed, interrupted or running.",
    ("outcome",),
)
SOURCE_UP = Family(
    "classifyd_source_up",
    "gauge",
    DATABASE,
    "1 if a source can be watched, 0 while it tells of trouble.",
    ("source",),
)
PENDING = Family(
    "classifyd_sink_pending_events",
    "gauge",
    DATABASE,
    "Events that a sink has not taken yet.",
    ("sink",),
)
REFUSALS = Family(
    "classifyd_sink_refusals",
    "gauge",
    DATABASE,
    "How often a sink has failed in a row; 0 once it has taken an event again.",
    ("sink",),
)
GIVEN_UP = Family(
    "classifyd_sink_given_up_events",
    "gauge",
    DATABASE,
    "Events that a sink has rejected so often that they are offered no more.",
    ("sink",),
)
OLDEST_PENDING = Family(
    "classifyd_sink_oldest_pending_seconds",
    "gauge",
    DATABASE,
    "Age of the oldest event that a sink has not taken yet; 0 when none is pending.",
    ("sink",),
)

COUNTED = (FILES, UNKNOWN, FAILED_BATCHES, BATCH_FILES, STAGE_SECONDS, SINK_EVENTS)
"""What the engine tells as it works."""

GATHERED = (
    READY, BUILD, WORKERS, MODEL_TROUBLE, MODEL, MEMORY, DISK_FREE, DISK_SIZE, DATABASE_BYTES,
    DATABASE_UP, QUEUE, QUARANTINED, OLDEST, MODEL_SINCE, RUNS, SOURCE_UP, PENDING,
    REFUSALS, GIVEN_UP, OLDEST_PENDING,
)  # fmt: skip
"""What is looked up when somebody asks."""
