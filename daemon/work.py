"""What a worker is told: limits of decoding, and all that it needs to become warm."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What decoding one image may cost; past a limit the file is quarantined with the reason.

    `scaled` lets a JPEG be decoded at a fraction of its size where that is still large enough.
    """

    max_pixels: int
    max_bytes: int
    max_memory_mb: int
    timeout_s: float
    threads: int
    formats: frozenset[str]
    scaled: bool = True


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """All that a worker process needs to become warm: names and values, never objects.

    `plugins` are the configured outside plugins, so that an outside runtime is found there too;
    `base` is the folder that relative paths in `runtime_options` count from. The two limits of
    `unknown` take the place of the bundle's own where they are not None. `compiled` is the folder
    of the bundle's compiled form, where the runtime needs one; `batch_size` is how many images it
    then takes at once the fastest, as measured.
    """

    bundle: Path
    runtime: str
    runtime_options: dict[str, Any]
    limits: DecodeLimits
    max_batch: int
    base: Path
    plugins: tuple[str, ...] = ()
    top_k: int = 5
    unknown_threshold: float | None = None
    unknown_novelty: float | None = None
    compiled: Path | None = None
    batch_size: int | None = None
