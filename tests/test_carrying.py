"""Model versions travel between machines as archives, and strangers' archives do no harm."""

import json
import zipfile

import pytest

from daemon.artifacts import MANIFEST_FILE, MODEL_FILE, digest
from daemon.carrying import pack, unpacked
from daemon.durable import LEFTOVERS
from daemon.errors import BundleError, UsageError
from daemon.testing import stub_bundle

CONFIG = "database: classifyd.db\nstate_dir: state\nsources: []\n"


@pytest.fixture
def bundle(tmp_path):
    return stub_bundle(tmp_path / "bundles")


@pytest.fixture
def machines(tmp_path, classifyd, monkeypatch):
    """Two machines; tells the program to run on one of them."""

    def on(name, *arguments):
        home = tmp_path / name
        home.mkdir(exist_ok=True)
        (home / "config.yaml").write_text(CONFIG)
        monkeypatch.chdir(home)
        return classifyd(*arguments)

    return on


def listed(ran):
    return {row["name"]: row["status"] for row in json.loads(ran.out)}


def test_a_version_goes_to_another_machine(machines, bundle, tmp_path):
    assert machines("here", "models", "import", bundle).code == 0
    exported = machines("here", "models", "export", "stub", tmp_path / "stick.zip")
    assert exported.code == 0
    assert "stick.zip: stub, " in exported.out
    taken = machines("there", "models", "import", tmp_path / "stick.zip")
    assert (taken.code, taken.err) == (0, "")
    assert "classifyd models activate stub" in taken.out
    rows = json.loads(machines("there", "models", "list", "--format", "json").out)
    assert [(row["name"], row["has_bundle"]) for row in rows] == [("stub", True)]
    again = machines("there", "models", "import", tmp_path / "stick.zip")
    assert again.code == 0
    assert "already" in again.out
    assert "stub is active" in machines("there", "models", "activate", "stub").out


def test_the_archive_is_named_after_the_version(machines, bundle, tmp_path):
    machines("here", "models", "import", bundle)
    machines("here", "models", "export", "stub")
    second = machines("here", "models", "export", "stub")
    assert second.code == 2
    assert "stub.zip is there already" in second.err
    nowhere = machines("here", "models", "export", "stub", "no/such/folder/stub.zip")
    assert nowhere.code == 2
    assert "no folder no/such/folder" in nowhere.err
    assert [path.name for path in (tmp_path / "here").glob("*.zip")] == ["stub.zip"]
    assert not list((tmp_path / "here").glob(".*"))


def test_what_is_unpacked_is_what_was_packed(bundle, tmp_path):
    pack(bundle, tmp_path / "stub.zip")
    with unpacked(tmp_path / "stub.zip", tmp_path / "models") as found:
        assert digest(found) == digest(bundle)
        assert (found / MODEL_FILE).read_bytes() == (bundle / MODEL_FILE).read_bytes()
    assert not list((tmp_path / "models").iterdir())


def rewritten(bundle, archive, change):
    """Pack a bundle's files after a change to them, a mapping from names to bytes."""
    files = {f"stub/{path.name}": path.read_bytes() for path in bundle.iterdir()}
    change(files)
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)


def climbing(files):
    manifest = json.loads(files[f"stub/{MANIFEST_FILE}"])
    manifest["files"] |= {"../../outside": manifest["files"][MODEL_FILE]}
    files[f"stub/{MANIFEST_FILE}"] = json.dumps(manifest).encode()
    files["stub/../../outside"] = files[f"stub/{MODEL_FILE}"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda files: files.update({f"stub/{MODEL_FILE}": b"no modem"}), "was altered"),
        (lambda files: files.update({f"stub/{MODEL_FILE}": bytes(1 << 26)}), "of 9 bytes"),
        (lambda files: files.pop(f"stub/{MODEL_FILE}"), "model.keras is missing"),
        (lambda files: files.pop(f"stub/{MANIFEST_FILE}"), "holds 0 files manifest.json"),
        (lambda files: files.update({MANIFEST_FILE: b"{}"}), "holds 2 files manifest.json"),
        (lambda files: files.update({f"stub/{MANIFEST_FILE}": b"{}"}), "no format number"),
        (climbing, "manifest.json: files"),
    ],
    ids=["altered", "bomb", "no model", "no manifest", "two", "empty", "climbing"],
)
def test_a_strangers_archive_is_refused_and_leaves_nothing(bundle, tmp_path, change, says):
    archive = tmp_path / "in" / "stub.zip"
    archive.parent.mkdir()
    rewritten(bundle, archive, change)
    with (
        pytest.raises(BundleError, match=says),
        unpacked(archive, tmp_path / "state" / "models"),
    ):
        raise AssertionError("was taken")
    assert not list((tmp_path / "state" / "models").glob("*"))
    assert not list((tmp_path / "state" / "models").glob(LEFTOVERS))
    assert not list(tmp_path.rglob("outside"))


def test_what_is_no_archive_is_told(machines, bundle, tmp_path):
    (tmp_path / "photo.zip").write_bytes(b"\xff\xd8 no archive")
    ran = machines("here", "models", "import", tmp_path / "photo.zip")
    assert ran.code == 1
    assert "photo.zip: cannot be read as a ZIP archive" in ran.err
    pack(bundle, tmp_path / "cut.zip")
    whole = (tmp_path / "cut.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in machines("here", "models", "import", tmp_path / "cut.zip").err
    with pytest.raises(UsageError, match="is there already"):
        pack(bundle, tmp_path / "cut.zip")
