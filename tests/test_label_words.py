"""What label sources say of files: taken in once, overruled by newer words, never lost."""

import pytest
from filled import at

from daemon.clock import SystemClock
from daemon.contracts import Word, Words
from daemon.labelling import Labelling
from daemon.testing import ManualClock, until
from daemon.watchers import LabelThreads
from plugins.labels.class_folder import ClassFolder, ClassFolderOptions


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def folder(filled, engine, tmp_path, clock):
    """The labels folder of a database, as one to put files into."""
    return Folder(filled, engine, tmp_path / "labels", clock)


class Folder:
    """Rows of files in a labels folder, and the label source that reads them."""

    def __init__(self, filled, engine, root, clock):
        self.filled, self.engine, self.root, self.clock = filled, engine, root, clock
        self.many = False
        self.source = ClassFolder(ClassFolderOptions(path=root))

    def put(self, name, image_id=None):
        """A file that was classified; returns its image."""
        image_id = image_id or self.filled.image()
        known = self.filled.execute("SELECT id FROM prediction WHERE image_id = ?", (image_id,))
        prediction_id = known[0][0] if known else self.filled.prediction(image_id)
        path = self.root / name
        self.filled.file(
            path,
            "done",
            source="labels",
            image_id=image_id,
            prediction_id=prediction_id,
            label="cat",
            classified_at=at(self.clock.elapsed()),
        )
        return image_id

    def remove(self, *names):
        for name in names:
            self.filled.execute(
                "UPDATE file SET removed_at = ? WHERE path = ? AND is_current = 1",
                (at(self.clock.elapsed()), str(self.root / name)),
            )

    def give(self, image_id, label, source="label"):
        now = at(self.clock.elapsed())
        self.filled.execute("UPDATE label SET retracted_at = ? WHERE image_id = ?", (now, image_id))
        row = {"image_id": image_id, "label": label, "source": source, "labelled_at": now}
        self.filled.insert("label", **row)

    def look(self, whole=True, confirmed=False, later=10.0):
        self.clock.advance(later)
        looker = Labelling(self.engine, self.source, self.many, self.clock)
        return looker.look(whole, confirmed)

    def labels(self, image_id):
        query = "SELECT label FROM label WHERE image_id = ? AND retracted_at IS NULL ORDER BY label"
        return [row[0] for row in self.filled.execute(query, (image_id,))]

    def count(self, table="label"):
        return self.filled.execute(f"SELECT count(*) FROM {table}")[0][0]


def test_the_first_folder_on_the_way_is_the_class(folder):
    cat, deep, beside = folder.put("cat/a.jpg"), folder.put("dog/2024/b.jpg"), folder.put("c.jpg")
    assert folder.look() == 2
    assert [folder.labels(image) for image in (cat, deep, beside)] == [["cat"], ["dog"], []]
    (row,) = folder.filled.execute("SELECT source, who, labelled_at FROM label WHERE id = 1")
    assert row == ("labels", None, at(10))


def test_nothing_is_said_twice(folder):
    folder.put("cat/a.jpg")
    assert [folder.look(), folder.look(), folder.look(whole=False)] == [1, 0, 0]
    assert folder.count() == 1


def test_only_recent_files_are_looked_at_between_whole_looks(folder):
    image = folder.put("cat/a.jpg")
    assert folder.look(whole=False, later=100) == 0
    assert folder.look(whole=True) == 1
    assert folder.labels(image) == ["cat"]


def test_a_moved_file_labels_anew_and_keeps_the_history(folder):
    image = folder.put("cat/a.jpg")
    folder.look()
    folder.remove("cat/a.jpg")
    folder.put("dog/a.jpg", image)
    folder.look()
    assert folder.labels(image) == ["dog"]
    rows = folder.filled.execute("SELECT label, retracted_at IS NULL FROM label ORDER BY id")
    assert rows == [("cat", 0), ("dog", 1)]
    assert folder.count("prediction") == 1


def test_a_removed_file_takes_its_label_back_after_a_moment(folder):
    image = folder.put("cat/a.jpg")
    folder.look()
    folder.remove("cat/a.jpg")
    assert folder.look(later=1) == 0 and folder.labels(image) == ["cat"]
    assert folder.look() == 1 and folder.labels(image) == []
    assert folder.count() == 1


def test_a_file_that_comes_back_labels_again(folder):
    image = folder.put("cat/a.jpg")
    folder.look()
    folder.remove("cat/a.jpg")
    folder.look()
    folder.filled.execute("UPDATE file SET removed_at = NULL")
    folder.look()
    assert folder.labels(image) == ["cat"] and folder.count() == 2


def test_a_newer_word_from_elsewhere_stays(folder):
    image = folder.put("cat/a.jpg")
    folder.look()
    folder.give(image, "dog")
    assert folder.look() == 0 and folder.labels(image) == ["dog"]
    folder.remove("cat/a.jpg")
    folder.look()
    assert folder.labels(image) == ["dog"]


def test_a_copy_keeps_the_label_and_another_class_counts_again(folder):
    image = folder.put("cat/a.jpg")
    folder.put("cat/copy.jpg", image)
    folder.look()
    folder.remove("cat/a.jpg")
    folder.look()
    assert folder.labels(image) == ["cat"] and folder.count() == 1
    folder.put("dog/copy.jpg", image)
    folder.look()
    assert folder.labels(image) == ["dog"]
    folder.remove("dog/copy.jpg")
    folder.look(confirmed=True)
    assert folder.labels(image) == ["cat"]


def test_the_same_bytes_written_again_say_nothing_new(folder):
    image = folder.put("cat/a.jpg")
    folder.look()
    folder.give(image, "dog")
    folder.filled.execute("UPDATE file SET is_current = 0")
    folder.put("cat/a.jpg", image)
    assert folder.look() == 0 and folder.labels(image) == ["dog"]


def test_other_bytes_at_the_same_place_take_the_label_over(folder):
    old = folder.put("cat/a.jpg")
    folder.look()
    folder.filled.execute("UPDATE file SET is_current = 0")
    new = folder.put("cat/a.jpg")
    folder.look()
    assert (folder.labels(old), folder.labels(new)) == ([], ["cat"])


def test_where_the_head_is_multi_label_labels_stand_side_by_side(folder):
    folder.many = True
    image = folder.put("cat/a.jpg")
    folder.put("indoors/a.jpg", image)
    folder.look()
    assert folder.labels(image) == ["cat", "indoors"]
    folder.remove("cat/a.jpg")
    folder.look()
    assert folder.labels(image) == ["indoors"]


def test_no_more_than_a_tenth_goes_without_confirmation(folder):
    names = [f"cat/{number}.jpg" for number in range(40)]
    images = [folder.put(name) for name in names]
    folder.look()
    folder.remove(*names[:4])
    assert folder.look() == 4
    folder.remove(*names[4:6])
    assert folder.look() == 0, "with the four before it is more than a tenth"
    assert folder.labels(images[4]) == ["cat"]
    folder.remove(*names[6:])
    assert folder.look(later=3600) == 0
    assert folder.look(confirmed=True) == 36
    assert all(folder.labels(image) == [] for image in images) and folder.count() == 40


def test_a_renamed_class_is_no_removal(folder):
    images = [folder.put(f"cat/{number}.jpg") for number in range(20)]
    folder.look()
    folder.remove(*(f"cat/{number}.jpg" for number in range(20)))
    folder.look()
    for number, image in enumerate(images):
        folder.put(f"kitten/{number}.jpg", image)
    folder.look()
    assert {label for image in images for label in folder.labels(image)} == {"kitten"}
    assert folder.look() == 0


def test_nothing_is_taken_back_while_the_folder_is_not_in_order(folder):
    image = folder.put("cat/a.jpg")
    folder.look()
    folder.remove("cat/a.jpg")
    folder.filled.insert("source_state", title="labels", alarm="labels is gone")
    assert folder.look() == 0 and folder.labels(image) == ["cat"]
    folder.filled.execute("UPDATE source_state SET alarm = NULL")
    assert folder.look() == 1 and folder.labels(image) == []


def test_folders_that_name_no_class_are_told_of_and_left_out(folder, caplog):
    names = (".hidden/a.jpg", " /b.jpg", "ca\nt/c.jpg", "back\\slash/d.jpg")
    images = [folder.put(name) for name in names]
    assert folder.look() == 0
    assert [folder.labels(image) for image in images] == [[], [], [], []]
    assert len(caplog.records) == 4 and "control characters" in caplog.text


# --- a label source of another kind: words since a cursor


class Log:
    """A stranger's label source: a list of words, with numbers as cursors."""

    title = "log"
    folder = None

    def __init__(self, *words):
        self.words = words

    def since(self, cursor, news):
        return Words(self.words[int(cursor or 0) :], str(len(self.words)))


def asked(engine, log, clock):
    return Labelling(engine, log, False, clock).look(whole=True)


def test_a_log_is_heard_from_where_it_was(filled, engine, clock):
    filled.seen("/in/a.jpg")
    log = Log(Word(b"/in/a.jpg", "dog", "ada", at(-60)))
    assert [asked(engine, log, clock), asked(engine, log, clock)] == [1, 0]
    query = "SELECT label, source, who, labelled_at FROM label"
    assert filled.execute(query) == [("dog", "log", "ada", at(-60))]
    assert filled.execute("SELECT cursor FROM source_state WHERE title = 'log'") == [("1",)]
    log.words += (Word(b"/in/a.jpg", None),)
    assert asked(engine, log, clock) == 1
    assert filled.execute("SELECT retracted_at IS NULL FROM label") == [(0,)]


def test_a_word_waits_until_its_file_was_read(filled, engine, clock, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"image")
    log = Log(Word(bytes(path), "dog"), Word(b"/nowhere.jpg", "dog"), Word(bytes(path), "a/b"))
    assert asked(engine, log, clock) == 0
    assert filled.execute("SELECT path, state, source FROM file") == [
        (str(path), "settling", "log")
    ]
    assert asked(engine, log, clock) == 0
    assert filled.execute("SELECT count(*) FROM source_state") == [(0,)]
    image_id = filled.image()
    prediction_id = filled.prediction(image_id)
    filled.execute(
        "UPDATE file SET state = 'done', image_id = ?, prediction_id = ?", (image_id, prediction_id)
    )
    assert asked(engine, log, clock) == 1
    assert filled.execute("SELECT cursor FROM source_state") == [("3",)]


def test_a_label_source_that_fails_is_an_alarm_until_it_is_heard_again(filled, engine, clock):
    class Torn(Log):
        def since(self, cursor, news):
            if not self.words:
                raise ConnectionError("no route")
            return super().since(cursor, news)

    log = Torn()
    threads = LabelThreads([Labelling(engine, log, False, clock)], SystemClock())
    threads.start()
    query = "SELECT alarm FROM source_state WHERE title = 'log'"
    until(lambda: filled.execute(query) == [("its labels: ConnectionError: no route",)])
    filled.seen("/in/a.jpg")
    log.words = (Word(b"/in/a.jpg", "dog"),)
    threads.stop(5.0)
    assert filled.execute("SELECT label FROM label") == [("dog",)]
    assert filled.execute(query) == [(None,)]
