"""Importing labels: first what they would change, then the change; the same again changes none."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from daemon.domain import Sighting
from daemon.errors import ImageError
from daemon.labels.contents import Content, Contents
from daemon.labels.lines import Line
from daemon.store.contents import ForImage, KnownFiles
from daemon.store.inbox import Inbox


class Effect(StrEnum):
    """What importing one label would do."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    UNKNOWN = "unknown"  # there is no such image
    CONFLICTING = "conflicting"  # the same contents are given two labels


_WRITES = frozenset({Effect.NEW, Effect.CHANGED})
_SAYS = _WRITES | {Effect.UNCHANGED}


@dataclass(frozen=True, slots=True)
class Finding:
    """One label to import, what it would do, and why in words where it would do nothing."""

    line: Line
    effect: Effect
    content: Content | None = None
    before: tuple[str, ...] = ()
    reason: str | None = None

    def row(self) -> dict[str, Any]:
        """Return it as a row of a listing."""
        return {
            "effect": str(self.effect),
            "path": self.line.path,
            "label": self.line.label,
            "before": ", ".join(self.before) or None,
            "reason": self.reason,
            "at": self.line.where,
        }


def examine(
    lines: Sequence[Line],
    contents: Contents,
    known: KnownFiles,
    many: bool,
    progress: Callable[[int], None],
) -> list[Finding]:
    """Return what each label would do; writes nothing."""
    seen: dict[Path, Content | str] = {}
    found: list[tuple[Line, Content | str]] = []
    for done, line in enumerate(lines, 1):
        found.append((line, _look(line, contents, seen)))
        progress(done)
    doubtful = {} if many else _conflicts(found)
    images = {c.image_id for _, c in found if isinstance(c, Content) and c.image_id is not None}
    labels = known.labels(images)
    return [_finding(line, content, doubtful, labels, many) for line, content in found]


def _look(line: Line, contents: Contents, seen: dict[Path, Content | str]) -> Content | str:
    """Return what the first candidate that exists holds, or why that is no image."""
    place = next(filter(_exists, line.candidates), line.candidates[0])
    if place not in seen:
        try:
            seen[place] = contents.of(place)
        except ImageError as error:
            seen[place] = str(error)
    return seen[place]


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  (`Path.exists` fails for names that are too long)


def _conflicts(found: Iterable[tuple[Line, Content | str]]) -> dict[str, list[str]]:
    """Return the contents (SHA-256) that are given more than one label, and which."""
    labels: dict[str, set[str]] = defaultdict(set)
    for line, content in found:
        if isinstance(content, Content):
            labels[content.sha256].add(line.label)
    return {sha256: sorted(names) for sha256, names in labels.items() if len(names) > 1}


def _finding(
    line: Line,
    content: Content | str,
    doubtful: Mapping[str, Sequence[str]],
    labels: Mapping[int, Sequence[str]],
    many: bool,
) -> Finding:
    if isinstance(content, str):
        return Finding(line, Effect.UNKNOWN, reason=content)
    before = tuple(labels.get(content.image_id or 0, ()))
    if content.sha256 in doubtful:
        names = " and ".join(doubtful[content.sha256])
        return Finding(line, Effect.CONFLICTING, content, before, f"the same image is {names}")
    if line.label in before:
        return Finding(line, Effect.UNCHANGED, content, before)
    is_change = bool(before) and not many
    return Finding(line, Effect.CHANGED if is_change else Effect.NEW, content, before)


def counts(findings: Iterable[Finding]) -> Counter[Effect]:
    """Count findings by what they would do."""
    return Counter(finding.effect for finding in findings)


@dataclass(frozen=True)
class Importer:
    """Writes what was examined: rows of files and images where missing, then the labels.

    `title_of` tells under which source a file that nobody has found yet is listed.
    """

    known: KnownFiles
    inbox: Inbox
    title_of: Callable[[Path], str]
    many: bool

    def commit(
        self,
        findings: Iterable[Finding],
        source: str,
        who: str | None,
        now: str,
        again: bool = False,
    ) -> int:
        """Give the new and the changed labels, `again` also those that stand already; returns
        how many were given."""
        wanted = [f for f in findings if f.effect in (_SAYS if again else _WRITES)]
        self._list([f.content for f in wanted if f.content is not None], now)
        labels = [
            ForImage(
                finding.content.path,
                finding.content.stat,
                finding.content.sha256,
                finding.content.facts,
                finding.line.label,
                finding.line.who or who,
                finding.line.at,
            )
            for finding in wanted
            if finding.content is not None
        ]
        return self.known.give(labels, source, self.many, now, again)

    def _list(self, contents: Iterable[Content], now: str) -> None:
        """Put files that the inbox does not have, as they are now, into it."""
        sightings: dict[str, list[Sighting]] = defaultdict(list)
        for content in contents:
            if not content.is_listed:
                title = self.title_of(Path(_text(content.path)))
                sightings[title].append(Sighting(content.path, content.stat, whole=True))
        for title, found in sightings.items():
            for start in range(0, len(found), 500):
                self.inbox.sighted(title, found[start : start + 500], now)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
