"""The steps of the demonstration, in the order in which a user would take them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from daemon.demo.creatures import KINDS
from daemon.demo.drawing import write, write_scenery
from daemon.demo.stage import CONFIG, Stage
from daemon.demo.telling import Picture, Teller
from daemon.text import printable

LABELLED = 40
"""Pictures of each kind that are labelled."""
_NEW = (100, 101)
_LABELS = "SELECT count(*) FROM labelled WHERE path LIKE '%/labels/%'"
_RESULTS = "SELECT count(*) FROM latest_prediction"
_VERSION = "SELECT name FROM model_version ORDER BY id DESC LIMIT 1"
_BY_LABEL = """\
SELECT label, count(*), round(avg(confidence), 2)
  FROM latest_prediction WHERE model_version = '{version}' AND NOT is_unknown
  GROUP BY label"""

Row = dict[str, Any]


class Story:
    """Tells each step, and takes it."""

    def __init__(self, stage: Stage, teller: Teller, can_explain: bool) -> None:
        self._stage = stage
        self._tell = teller
        self._can_explain = can_explain
        self._version = ""

    def play(self) -> None:
        """Take all steps; raises `ClassifydError` when one fails."""
        self._start()
        self._drop_unknown_things()
        self._label()
        self._retrain()
        self._drop_new_images()
        self._query()
        if self._can_explain:
            self._explain()

    def _start(self) -> None:
        self._tell.step("Start a daemon", "A folder with this config.yaml is all it needs:")
        self._tell.quote(CONFIG)
        self._tell.command(f"cd {self._stage.folder}")
        self._tell.command("classifyd run &")
        self._stage.start()
        self._wait("it makes its database and loads the model in the box", self._stage.serves)
        self._tell.say("It watches inbox/ now, with the small model that is in the box.")

    def _drop_unknown_things(self) -> None:
        self._tell.step("Drop images", f"Drawings of four kinds of creatures: {', '.join(KINDS)}.")
        for kind in KINDS:
            write(self._drawings(kind), kind, range(LABELLED))
        self._drop([self._drawings(kind) / f"{kind}-00.jpg" for kind in KINDS], "drawings/*/*-00")
        self._show("classifyd results")
        self._tell.say(
            "That model knows ten things, from airplane to truck, and these are none of them:"
            " it has to be taught."
        )

    def _label(self) -> None:
        said = f"{LABELLED} drawings of each kind; their folder's name is the label."
        self._tell.step("Label some", said)
        self._tell.command("cp -r drawings/* labels/")
        shutil.copytree(self._stage.folder / "drawings", self._labels, dirs_exist_ok=True)
        many = LABELLED * len(KINDS)
        self._wait("the daemon takes in the labels", lambda: self._count(_LABELS) == many)
        self._wait(
            "the daemon looks at the files", lambda: self._count(_RESULTS) == many + len(KINDS)
        )
        self._tell.say(f"{many} images have a label; a fifth of them are held out to judge by.")

    def _retrain(self) -> None:
        said = "A new model learns beside the daemon, and must pass the gate:"
        self._tell.step("Retrain", said)
        self._tell.command("classifyd retrain --now")
        self._stage.run("retrain", "--now")
        ((self._version,),) = self._stage.select(_VERSION)
        serves = self._stage.serves
        self._wait("the daemon changes over", lambda: serves() == self._version)
        self._tell.say("The daemon has changed over between two batches, without a restart.")

    def _drop_new_images(self) -> None:
        self._tell.step("Drop new images", "Nobody has labelled these, and one shows no creature.")
        folder = self._stage.folder / "new"
        made = [path for kind in KINDS for path in write(folder, kind, _NEW)]
        self._drop([*made, write_scenery(folder)], "new/*")
        rows = self._show(f"classifyd results --model {self._version}", "--model", self._version)
        self._tell.say(_judged(rows))

    def _query(self) -> None:
        self._tell.step("Ask in SQL", "All of it is in one SQLite file:")
        statement = _BY_LABEL.format(version=self._version)
        self._tell.command(f'sqlite3 state/classifyd.db "{statement}"')
        rows = self._stage.select(statement)
        self._tell.quote("\n".join("|".join(map(printable, map(str, row))) for row in rows))

    def _explain(self) -> None:
        self._tell.step("Ask why", "What in the picture decided the label:")
        image, heat = f"inbox/owl-{_NEW[0]}.jpg", "heat.png"
        self._tell.command(f"classifyd explain {image} -o {heat}")
        self._stage.run("explain", image, "-o", heat)
        paths = [self._stage.folder / name for name in (image, heat)]
        self._tell.pictures([Picture(path, (path.name,)) for path in paths])

    def _drop(self, paths: Sequence[Path], told: str) -> None:
        self._tell.command(f"cp {told}.jpg inbox/")
        before = self._count(_RESULTS)
        for path in paths:
            shutil.copy(path, self._stage.inbox)
        many = before + len(paths)
        self._wait("the daemon classifies them", lambda: self._count(_RESULTS) == many)

    def _show(self, told: str, *conditions: str) -> list[Row]:
        self._tell.command(told)
        rows = sorted(self._stage.ask("results", *conditions), key=lambda row: str(row["path"]))
        self._tell.pictures([_picture(row) for row in rows])
        return rows

    def _wait(self, what: str, condition: Callable[[], object]) -> None:
        with self._tell.waiting(what):
            self._stage.until(condition, what)

    def _count(self, statement: str) -> int:
        return next((int(count) for (count,) in self._stage.select(statement)), 0)

    def _drawings(self, kind: str) -> Path:
        return self._stage.folder / "drawings" / kind

    @property
    def _labels(self) -> Path:
        return self._stage.folder / "labels"


def _picture(row: Row) -> Picture:
    path = Path(row["path"])
    said = f"{row['label']} {row['confidence']:.2f}"
    return Picture(path, (path.name, "unknown" if row["is_unknown"] else said))


def _judged(rows: Sequence[Row]) -> str:
    """Say how many labels are right, by the names that the files were given."""
    named = [row for row in rows if not row["is_unknown"]]
    right = sum(Path(row["path"]).name.startswith(row["label"]) for row in named)
    unknown = len(rows) - len(named)
    return (
        f"{right} named rightly, {len(named) - right} wrongly, {unknown} called unknown:"
        " the model would rather not guess."
    )
