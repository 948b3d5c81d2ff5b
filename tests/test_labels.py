"""The commands `label` and `labels`: in from every format, told before it is done, and out."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from drawing import draw

from daemon.errors import UsageError
from daemon.labels.class_name import class_name
from daemon.labels.reading import read_labels


@pytest.fixture
def photos(filled, tmp_path):
    """Five images of which nothing is known yet, and a text."""
    for number in range(5):
        draw(tmp_path / "photos" / f"{number}.png", number)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


@pytest.fixture
def listed(classifyd):
    """Return the current labels as file name → class."""

    def ask():
        rows = json.loads(classifyd("labels", "list", "--format", "json").out)
        return {Path(row["path"]).name: row["label"] for row in rows}

    return ask


def effects(ran):
    return {row["path"]: row["effect"] for row in json.loads(ran.out)}


# --- label


def test_a_label_needs_no_source_and_no_known_class(classifyd, photos, filled, listed):
    ran = classifyd("label", "photos/0.png", "cat")
    assert (ran.code, ran.out) == (0, "photos/0.png: cat\n")
    assert listed() == {"0.png": "cat"}
    state, source, sha256 = filled.execute(
        "SELECT state, file.source, sha256 FROM file JOIN image ON image.id = image_id"
    )[0]
    assert (state, source, len(sha256)) == ("queued", "label", 64)
    (who,) = filled.execute("SELECT who FROM label")[0]
    assert who
    assert "label         cat" in classifyd("why", "photos/0.png").out


def test_the_same_label_again_confirms_it_another_retracts_it(classifyd, photos, filled):
    classifyd("label", "photos/0.png", "cat")
    assert classifyd("label", "photos/0.png", "cat").out == "photos/0.png: cat already\n"
    assert classifyd("label", "photos/0.png", "dog").out == "photos/0.png: dog (was cat)\n"
    rows = filled.execute("SELECT label, retracted_at IS NULL FROM label ORDER BY id")
    assert rows == [("cat", 0), ("cat", 0), ("dog", 1)]


def test_a_label_belongs_to_the_content_wherever_it_lies(classifyd, photos, filled, listed):
    shutil.copyfile(photos / "0.png", photos / "copy.png")
    classifyd("label", "photos/0.png", "cat")
    assert classifyd("label", "photos/copy.png", "cat").out == "photos/copy.png: cat already\n"
    assert filled.execute("SELECT count(*) FROM image") == [(1,)]


def test_a_file_of_a_watched_folder_is_listed_under_its_source(classifyd, filled, tmp_path):
    draw(tmp_path / "inbox" / "a.png", 3)
    draw(tmp_path / "labels" / "b.png", 4)
    classifyd("label", "inbox/a.png", "cat")
    classifyd("label", "labels/b.png", "cat")
    assert filled.execute("SELECT source FROM file") == [("inbox",), ("labels",)]


def test_a_changed_file_is_another_image(classifyd, photos, filled):
    classifyd("label", "photos/0.png", "cat")
    draw(photos / "0.png", 9, number=77)
    assert classifyd("label", "photos/0.png", "dog").out == "photos/0.png: dog\n"
    assert filled.execute("SELECT count(*) FROM image") == [(2,)]
    assert filled.execute("SELECT label FROM labelled") == [("dog",)]
    rows = json.loads(classifyd("labels", "list", "--format", "json").out)
    assert [row["path"] for row in rows] == [None, str(photos / "0.png")]


def test_a_label_is_taken_back_even_of_a_file_that_is_gone(classifyd, photos, listed):
    classifyd("label", "photos/0.png", "cat")
    (photos / "0.png").unlink()
    assert classifyd("label", "photos/0.png", "--retract").code == 0
    assert listed() == {}
    ran = classifyd("label", "photos/0.png", "--retract")
    assert ran.code == 2 and "no such label" in ran.err


def test_several_classes_where_the_head_is_multi_label(classifyd, photos, tmp_path, filled):
    with (tmp_path / "config.yaml").open("a") as config:
        config.write("model: {head: multilabel}\n")
    classifyd("label", "photos/0.png", "cat", "indoors")
    classifyd("label", "photos/0.png", "asleep")
    classifyd("label", "photos/0.png", "--retract", "indoors")
    rows = filled.execute("SELECT label FROM labelled ORDER BY label")
    assert rows == [("asleep",), ("cat",)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["photos/9.png", "cat"], "photos/9.png: there is no such file"),
        (["photos/notes.txt", "cat"], "photos/notes.txt: text; decode.formats accepts"),
        (["photos", "cat"], "not a regular file"),
        (["photos/0.png", "a/b"], "has a path separator"),
        (["photos/0.png", "  "], "the class is empty"),
        (["photos/0.png", "a\tb"], "has control characters"),
        (["photos/0.png"], "name the class"),
        (["photos/0.png", "cat", "dog"], "one class with head softmax"),
    ],
)
def test_what_cannot_be_labelled_is_refused(classifyd, photos, filled, arguments, says):
    ran = classifyd("label", *arguments)
    assert ran.code == 2 and says in ran.err and "Traceback" not in ran.err
    assert filled.execute("SELECT count(*) FROM label") == [(0,)]


def test_class_names_have_one_spelling():
    assert class_name(" Zu\u0308rich ") == "Z\u00fcrich"
    for wrong in ("", "a/b", "a\\b", "a\nb", ".git", "x" * 201, "\udcff"):
        with pytest.raises(ValueError, match="the class"):
            class_name(wrong)


# --- labels import


def test_an_import_tells_before_it_writes_and_is_idempotent(classifyd, photos, filled, listed):
    classifyd("label", "photos/1.png", "cat")
    classifyd("label", "photos/2.png", "dog")
    (photos / "labels.csv").write_text(
        "path,label,when,who\n0.png,cat,2026-04-01T12:00:00+02:00,ada\n1.png,cat,,\n"
        f"2.png,cat,,\n9.png,cat,,\n{'x' * 300},cat,,\n"
        "notes.txt,cat,,\n3.png,cat,,\n3.png,dog,,\n"
    )
    expected = {
        "0.png": "new",
        "1.png": "unchanged",
        "2.png": "changed",
        "3.png": "conflicting",
        "9.png": "unknown",
        "x" * 300: "unknown",
        "notes.txt": "unknown",
    }
    ran = classifyd("labels", "import", "photos/labels.csv", "--dry-run", "--format", "json")
    assert ran.code == 0 and effects(ran) == expected
    assert "1 new, 1 changed, 1 unchanged, 3 unknown, 2 conflicting" in ran.err
    assert listed() == {"1.png": "cat", "2.png": "dog"}
    ran = classifyd("labels", "import", "photos/labels.csv", "--yes")
    assert ran.code == 0 and "2 labels imported" in ran.err
    assert listed() == {"0.png": "cat", "1.png": "cat", "2.png": "cat"}
    row = filled.execute(
        "SELECT label.source, who, labelled_at FROM label WHERE source LIKE 'import%' AND who='ada'"
    )
    assert row == [("import labels.csv", "ada", "2026-04-01T10:00:00.000Z")]
    before = filled.execute("SELECT count(*) FROM label")
    ran = classifyd("labels", "import", "photos/labels.csv", "--yes")
    assert "0 new, 0 changed, 3 unchanged" in ran.err and "nothing to import" in ran.err
    assert filled.execute("SELECT count(*) FROM label") == before


def test_a_table_shows_what_needs_a_look(classifyd, photos):
    (photos / "labels.csv").write_text("path,label\n0.png,cat\n9.png,cat\n")
    lines = classifyd("labels", "import", "photos/labels.csv", "--dry-run").out.splitlines()
    assert len(lines) == 2 and "there is no such file" in lines[1]
    assert lines[1].endswith("labels.csv:3")


def test_nobody_to_ask_and_nothing_usable_are_failures(classifyd, photos, filled, monkeypatch):
    (photos / "labels.csv").write_text("path,label\n0.png,cat\n")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ran = classifyd("labels", "import", "photos/labels.csv")
    assert ran.code == 2 and "add --yes" in ran.err
    assert filled.execute("SELECT count(*) FROM label") == [(0,)]
    (photos / "labels.csv").write_text("path,label\n9.png,cat\n")
    assert classifyd("labels", "import", "photos/labels.csv", "--yes").code == 1


def test_json_lines_and_class_folders(classifyd, photos, tmp_path, listed):
    (tmp_path / "l.jsonl").write_text(
        f'{{"path": "photos/0.png", "label": "cat", "who": "ada"}}\n\n'
        f'{{"path": "{photos / "1.png"}", "label": ["dog"], "extra": 1}}\n'
    )
    assert classifyd("labels", "import", "l.jsonl", "--yes").code == 0
    assert listed() == {"0.png": "cat", "1.png": "dog"}
    draw(tmp_path / "tree" / "bird" / "deep" / "b.png", 7)
    draw(tmp_path / "tree" / ".hidden" / "h.png", 7)
    draw(tmp_path / "tree" / "beside.png", 8)
    assert classifyd("labels", "import", "tree", "--yes").code == 0
    assert listed() == {"0.png": "cat", "1.png": "dog", "b.png": "bird"}


def test_a_list_of_labels_where_the_head_is_multi_label(classifyd, photos, tmp_path, filled):
    with (tmp_path / "config.yaml").open("a") as config:
        config.write("model: {head: multilabel}\n")
    (tmp_path / "l.jsonl").write_text('{"path": "photos/0.png", "label": ["cat", "indoors"]}\n')
    ran = classifyd("labels", "import", "l.jsonl", "--yes")
    assert "2 new" in ran.err
    assert filled.execute("SELECT label FROM labelled") == [("cat",), ("indoors",)]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("l.csv", b"path,klass\n0.png,cat\n", "l.csv:1: column label is missing (found: path, kl"),
        ("l.csv", b"", "l.csv:1: column path and label is missing (found: none)"),
        ("l.csv", b"path,label\n", "has no labels in it"),
        ("l.csv", b"path,label\n0.png,cat\n1.png,\n", "l.csv:3: the class is empty"),
        ("l.csv", b"path,label\n0.png,a/b\n", "l.csv:2: the class 'a/b' has a path separator"),
        ("l.csv", b"path,label\n0.png,a\x07b\n", "l.csv:2: the class 'a\\x07b' has control char"),
        ("l.csv", b"path,label\n,cat\n", "l.csv:2: the path '' is empty"),
        ("l.csv", b"path,label\na,b.png,cat\n", "l.csv:2: has 3 columns where the first line has"),
        ("l.csv", b"path,label\n0.png,K\xe4fer\n", "l.csv:2: is not UTF-8 text (byte 0xe4)"),
        ("l.csv", "path,label\n".encode("utf-16"), "l.csv:1: is not UTF-8 text"),
        ("l.csv", b'path,label\n"0.png,cat\n', "is no CSV"),
        ("l.csv", b"path,label,when\n0.png,cat,soon\n", "l.csv:2: 'soon' is no time"),
        ("l.jsonl", b'{"path": "0.png", "label": "cat"}\n{"path"\n', "l.jsonl:2: is not JSON"),
        ("l.jsonl", b'{"path": "0.png"}\n', "l.jsonl:1: label is missing"),
        ("l.jsonl", b'{"path": "0.png", "label": 3}\n', "l.jsonl:1: label must be a text, not 3"),
        ("l.jsonl", b"[1]\n", "l.jsonl:1: must be an object"),
        ("l.json", b'[{"id": 1,\n}]', "l.json:2: is not JSON"),
        ("l.json", b'{"a": 1}', "is no Label Studio export"),
        ("l.json", b'[{"id": 7, "image": "a.png", "choice": "cat"}]', "task 7: has no `data`"),
        ("l.json", b"[" * 100_000, "is no Label Studio export"),
        ("l.json", b"[" + b"9" * 5000 + b"]", "is no Label Studio export"),
        ("l.jsonl", b"[" * 100_000, "l.jsonl:1: is not JSON"),
        ("l.txt", b"0.png cat", "is of no known kind"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(classifyd, photos, filled, name, data, says):
    (photos / name).write_bytes(data)
    ran = classifyd("labels", "import", f"photos/{name}", "--yes")
    assert ran.code == 2 and says in ran.err, ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert filled.execute("SELECT (SELECT count(*) FROM label) + count(*) FROM file") == [(0,)]


def test_csv_as_spreadsheets_write_it(classifyd, photos, listed):
    (photos / "l.csv").write_bytes("\ufeffPath;Label\r\n0.png;Käfer\r\n\r\n".encode())
    assert classifyd("labels", "import", "photos/l.csv", "--yes").code == 0
    assert listed() == {"0.png": "Käfer"}


# --- Label Studio


def task(image, *annotations, **values):
    return {"id": 1, "data": {"image": image}, "annotations": list(annotations), **values}


def annotation(*choices, who=1, at="2026-04-01T12:00:00Z", cancelled=False):
    result = {"type": "choices", "from_name": "class", "value": {"choices": list(choices)}}
    box = {"type": "rectanglelabels", "value": {"rectanglelabels": ["eye"]}}
    return {
        "result": [box, result] if choices else [],
        "completed_by": {"id": who, "email": f"{who}@example.org"},
        "updated_at": at,
        "was_cancelled": cancelled,
    }


def test_label_studio_images_are_found_as_it_names_them(photos, tmp_path):
    (photos / "upload" / "3").mkdir(parents=True)
    shutil.copyfile(photos / "0.png", photos / "upload" / "3" / "0123abcd-up.png")
    shutil.copyfile(photos / "0.png", photos / "a b.png")
    images = {
        "/data/local-files/?d=photos/1.png": "1.png",
        "/data/upload/3/0123abcd-up.png": "upload/3/0123abcd-up.png",
        "/data/upload/3/89abcdef-2.png": "2.png",
        "https://example.org/some/3.png?x=1": "3.png",
        "s3://bucket/a%20b.png": "a b.png",
        str(photos / "4.png"): "4.png",
    }
    tasks = [task(image, annotation("cat")) for image in images]
    (photos / "export.json").write_text(json.dumps(tasks))
    lines = read_labels(photos / "export.json")
    found = [next(path for path in line.candidates if path.exists()) for line in lines]
    assert found == [photos / name for name in images.values()]
    assert {line.who for line in lines} == {"1@example.org"}
    assert {line.at for line in lines} == {"2026-04-01T12:00:00.000Z"}


def test_label_studio_annotations_that_count(photos):
    later = "2026-04-02T12:00:00Z"
    tasks = [
        task("0.png", annotation("cat"), annotation("dog", at=later)),
        task("1.png", annotation("cat", cancelled=True)),
        task("2.png", annotation("cat"), annotation("dog", who=2)),
        task("3.png", annotation()),
        task("4.png"),
    ]
    (photos / "export.json").write_text(json.dumps(tasks))
    lines = [(line.path, line.label) for line in read_labels(photos / "export.json")]
    assert lines == [("0.png", "dog"), ("2.png", "cat"), ("2.png", "dog")]


def test_label_studio_with_images_elsewhere(classifyd, photos, tmp_path, listed):
    tasks = [task("/data/upload/1/0123abcd-0.png", annotation("cat"))]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    assert classifyd("labels", "import", "export.json", "--yes").code == 1
    ran = classifyd("labels", "import", "export.json", "--yes", "--root", "photos")
    assert ran.code == 0 and listed() == {"0.png": "cat"}


def test_odd_exports_are_refused(photos):
    for odd in (
        [task("0.png", "no object")],
        [task("0.png", {"result": [1]})],
        [task("0.png", {"result": [{"type": "choices", "value": {"choices": "cat"}}]})],
        [{"data": {"n": 1}}],
        [task("0.png", annotation("a/b"))],
    ):
        (photos / "export.json").write_text(json.dumps(odd))
        with pytest.raises(UsageError, match="task 1"):
            read_labels(photos / "export.json")


# --- labels export


@pytest.fixture
def labelled(classifyd, photos):
    """Three labelled images."""
    classifyd("label", "photos/0.png", "cat")
    classifyd("label", "photos/1.png", "cat")
    classifyd("label", "photos/2.png", "=dog")
    return photos


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_exported_can_be_imported(classifyd, labelled, filled, form, listed):
    assert classifyd("labels", "export", "--format", form, "-o", f"all.{form}").code == 0
    before = listed()
    ran = classifyd("labels", "import", f"all.{form}", "--dry-run")
    assert "0 new, 0 changed, 3 unchanged, 0 unknown" in ran.err
    filled.execute("DELETE FROM label")
    assert classifyd("labels", "import", f"all.{form}", "--yes").code == 0
    assert listed() == before == {"0.png": "cat", "1.png": "cat", "2.png": "=dog"}


def test_an_export_names_when_and_who(classifyd, labelled):
    rows = list(csv.DictReader(io.StringIO(classifyd("labels", "export").out)))
    assert len(rows) == 3 and set(rows[0]) == {"path", "label", "when", "who", "source"}
    assert all(row["when"].endswith("Z") and row["who"] for row in rows)


def test_folders_are_links_or_copies_and_leave_out_what_is_gone(classifyd, labelled, tmp_path):
    (labelled / "other").mkdir()
    draw(labelled / "other" / "0.png", 5)
    classifyd("label", "photos/other/0.png", "cat")
    (labelled / "1.png").unlink()
    ran = classifyd("labels", "export", "--format", "folders", "-o", "out")
    assert "3 labels exported" in ran.err and "1 left out" in ran.err
    found = sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*.png"))
    assert len(found) == 3 and Path("cat/0.png") in found and Path("=dog/2.png") in found
    assert (tmp_path / "out" / "=dog" / "2.png").samefile(labelled / "2.png")
    ran = classifyd("labels", "export", "--format", "folders", "-o", "out")
    assert ran.code == 2 and "is not empty" in ran.err
    classifyd("labels", "export", "--format", "folders", "-o", "copies", "--copy")
    copy = tmp_path / "copies" / "=dog" / "2.png"
    assert copy.read_bytes() == (labelled / "2.png").read_bytes()
    assert not copy.samefile(labelled / "2.png")
    assert classifyd("labels", "export", "--format", "folders").code == 2


# --- status, and what it tells of removals


def test_status_tells_of_removals_that_wait(classifyd, filled, tmp_path):
    for number in range(20):
        path = tmp_path / "labels" / "cat" / f"{number}.jpg"
        filled.seen(path, source="labels", said="cat", removed_at="2026-05-01T13:00:00.000Z")
        row = {"image_id": number + 1, "label": "cat", "source": "labels"}
        filled.insert("label", **row, labelled_at="2026-05-01T12:00:00.000Z")
    out = classifyd("status").out
    assert "the files of 20 labels were removed" in out and "confirm-removals" in out
    assert "labels    20" in out
    assert classifyd("labels", "confirm-removals").out == "20 labels changed\n"
    assert "confirm-removals" not in classifyd("status").out
    assert filled.execute("SELECT count(*) FROM label WHERE retracted_at IS NULL") == [(0,)]
    assert "no removal waits" in classifyd("labels", "confirm-removals").out
