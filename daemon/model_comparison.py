"""`models compare`: two model versions on the same held-out images, and the gate between them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from daemon.app import Wiring, bundle_of, decode_limits
from daemon.artifacts import read_manifest
from daemon.config import Selection
from daemon.contracts import Gate
from daemon.errors import TrainingError
from daemon.learning.evidence import Evidence, GateVerdict, judge_all
from daemon.learning.scorecard import Card
from daemon.locating import locate
from daemon.manifest import Manifest
from daemon.quiet import hush_pillow
from daemon.scores import read_scores, split_novelty
from daemon.store.holdout import Holdout, Member
from daemon.store.models import Version
from daemon.store.runs import TrainingRuns
from daemon.training import Item, Progress
from daemon.training.features import CHUNK, read_pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from sqlalchemy import Engine

RUNTIME = "keras"
"""What a comparison runs on, whatever serves: it has every bundle."""


@dataclass(frozen=True)
class Comparison:
    """Both cards cover the same images; `missing` members could not be read any more."""

    challenger: Card
    champion: Card
    verdict: GateVerdict
    missing: int


def compare_versions(
    wiring: Wiring, engine: "Engine", challenger: Version, champion: Version, progress: Progress
) -> Comparison:
    """Score the held-out images whose files are still present through both bundles.

    `progress` is told of the stages `find`, `challenger` and `champion`. Raises
    `TrainingError` where no held-out image is left, `BundleError`, `RuntimeLoadError`.
    """
    hush_pillow()
    members = Holdout(engine).members()
    found = _located(engine, members, progress)
    cards = [
        _card(wiring, version, found, partial(progress, stage))
        for version, stage in ((challenger, "challenger"), (champion, "champion"))
    ]
    both = set(cards[0].sha256s) & set(cards[1].sha256s)
    if not both:
        raise TrainingError(_nothing(len(members)))
    first, second = (card.on(both) for card in cards)
    settled = frozenset(member.sha256 for member in members if member.is_settled)
    verdict = judge_all(gates(wiring), Evidence(first, settled), Evidence(second, settled))
    return Comparison(first, second, verdict, len(members) - len(both))


def gates(wiring: Wiring) -> "Mapping[str, Callable[[], Gate]]":
    """Return how to build each configured gate, by a name of its own."""
    table, base = wiring.catalogue.gates, wiring.loaded.base
    return {
        f"{choice.name} {number}" if number > 1 else choice.name: partial(table.build, choice, base)
        for choice, number in _numbered(wiring.loaded.settings.gate)
    }


def _numbered(choices: Iterable[Selection]) -> Iterator[tuple[Selection, int]]:
    seen: dict[str, int] = {}
    for choice in choices:
        seen[choice.name] = seen.get(choice.name, 0) + 1
        yield choice, seen[choice.name]


def _nothing(members: int) -> str:
    if not members:
        return "no image is held out yet: label images, or train on class folders, first"
    return (
        f"none of the {members} held-out images can be read any more: put the files back where"
        " they were when they were labelled"
    )


def _located(engine: "Engine", members: Sequence[Member], progress: Progress) -> list[Item]:
    """Return the members whose files are there."""
    paths = {member.sha256: member.paths for member in members}
    found = locate(paths, TrainingRuns(engine).folders(), progress)
    return [
        Item(found[member.sha256], member.label, member.sha256)
        for member in members
        if member.sha256 in found
    ]


def _card(
    wiring: Wiring, version: Version, items: Sequence[Item], progress: "Callable[[int, int], None]"
) -> Card:
    settings, base = wiring.loaded.settings, wiring.loaded.base
    bundle = bundle_of(version, settings)
    manifest = read_manifest(bundle, verify=False)  # the runtime verifies it
    run = wiring.catalogue.runtimes.build(Selection(RUNTIME), base).load(bundle, CHUNK)
    read: list[Item] = []
    scores = [np.empty((0, manifest.output_width), np.float32)]
    chunks = read_pixels(items, manifest.geometry, decode_limits(settings))
    for number, chunk in enumerate(chunks, 1):
        if chunk.items:
            read += chunk.items
            scores.append(run(chunk.images))
        progress(min(number * CHUNK, len(items)), len(items))
    return _filled(manifest, read, np.concatenate(scores))


def _filled(manifest: Manifest, items: Sequence[Item], scores: "NDArray[np.float32]") -> Card:
    return Card(
        manifest.classes,
        tuple(item.sha256 for item in items),
        tuple(item.label for item in items),
        _confidences(manifest, scores),
        tuple(str(item.path.parent) for item in items),
    )


def _confidences(manifest: Manifest, scores: "NDArray[np.float32]") -> "NDArray[np.float32]":
    if not len(scores):
        return np.empty((0, len(manifest.classes)), np.float32)
    raw, _ = split_novelty(scores, manifest.has_novelty)
    return read_scores(manifest.reading, raw, manifest.temperature)
