"""What a bundle says of itself: `manifest.json` as a strict, frozen model."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator
from pydantic_core import from_json

from daemon.errors import BundleError
from daemon.preprocessing import Geometry, Scaling

FORMAT = 1
KERNELS = frozenset({"bilinear-antialias"})

Reading = Literal["probabilities", "binary", "independent", "margins"]
"""How the raw scores of a model become confidences; see `daemon.scores`."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What the name of a model may look like, as a regular expression."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Threshold = Annotated[float, Field(ge=0, le=1)]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Part(_Record):
    """A plugin that a classifier was built from: its name and every option."""

    name: str
    options: dict[str, JsonValue] = {}


class BackbonePart(Part):
    """The backbone, and which weights it started from (`bundled`, `imagenet`, `none`, a file)."""

    weights: str


class StoredFile(_Record):
    """What a file of the bundle must look like: SHA-256 (hex) and size in bytes."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class Unknown(_Record):
    """When this model's verdict is `unknown`, and what the limits were chosen for.

    `threshold`: least confidence, so that at most `target_error` of the accepted images are
    wrong. `novelty`: greatest distance from the training images, which `false_alarms` of familiar
    images exceed. None is no limit: there was nothing to choose it from.
    """

    target_error: Threshold
    false_alarms: Threshold
    threshold: Threshold | None = None
    novelty: Annotated[float, Field(ge=0, le=2)] | None = None


class Manifest(_Record):
    """All that serving needs to know about a model without loading it.

    `classes` are in the order of the scores (`binary`: the second is what its sigmoid is sure
    of). `thresholds` maps a class to the confidence, 0 to 1, from which it counts; a class not
    in it has the default of its reading. `has_novelty`: the model's last column is no score but
    how far the image is from the training images, 0 to 2. `modules` are imported before the model
    is loaded, so that Keras knows their layers. `files`, `modules` and `versions` are filled in
    when the bundle is written. `created_at` is UTC ISO-8601.
    """

    format: int = FORMAT
    name: Annotated[str, Field(pattern=rf"^{NAME}$")]
    created_at: str
    classes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    geometry: Geometry
    colour: Literal["RGB, upright, alpha on white"] = "RGB, upright, alpha on white"
    scaling: Scaling
    backbone: BackbonePart
    head: Part
    reading: Reading
    temperature: Annotated[float, Field(gt=0)] = 1.0
    thresholds: dict[str, Threshold] = {}
    unknown: Unknown | None = None
    has_novelty: bool = False
    metrics: dict[str, JsonValue] = {}
    modules: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")], ...] = ()
    versions: dict[str, str] = {}
    files: dict[Annotated[str, Field(pattern=r"^\w[\w.-]*$")], StoredFile] = {}

    @field_validator("classes")
    @classmethod
    def _each_class_once(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        doubled = sorted({name for name in classes if classes.count(name) > 1})
        if doubled:
            raise ValueError(f"{doubled[0]!r} is listed more than once")
        return classes

    @field_validator("geometry")
    @classmethod
    def _known_kernel(cls, geometry: Geometry) -> Geometry:
        if geometry.kernel not in KERNELS:
            known = ", ".join(sorted(KERNELS))
            raise ValueError(f"resize kernel {geometry.kernel!r} is not one of: {known}")
        return geometry

    @property
    def score_width(self) -> int:
        """How many raw scores the model gives for one image."""
        return 1 if self.reading == "binary" else len(self.classes)

    @property
    def output_width(self) -> int:
        """How many numbers the model gives for one image: its scores, and novelty if it has it."""
        return self.score_width + self.has_novelty


def parse_manifest(data: bytes, bundle: Path) -> Manifest:
    """Read the bytes of a `manifest.json`; raises `BundleError` naming bundle and field."""
    try:
        raw = from_json(data)
    except ValueError as error:
        raise _refusal(bundle, f"manifest.json is no JSON ({error})") from error
    _check_format(raw, bundle)
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise _refusal(bundle, f"manifest.json: {_first(error)}") from error


def _check_format(raw: Any, bundle: Path) -> None:
    number = raw.get("format") if isinstance(raw, dict) else None
    if not isinstance(number, int):
        raise _refusal(bundle, "manifest.json has no format number")
    if number > FORMAT:
        raise BundleError(
            f"bundle {bundle}: format {number} was made by a newer classifyd (this one reads"
            f" format {FORMAT}); upgrade classifyd, or export the model again with this version"
        )
    if number != FORMAT:
        raise _refusal(bundle, f"format {number} is unknown (this classifyd reads {FORMAT})")


def _refusal(bundle: Path, what: str) -> BundleError:
    return BundleError(f"bundle {bundle}: {what}; import or train the model again")


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {re.sub('^Value error, ', '', problem['msg'])}"
