"""The doctor: each verdict on facts made up here, and the whole command on a real folder."""

import hashlib
import json
from pathlib import Path

import pytest
from bundles import make_manifest

from daemon import doctor
from daemon.doctor import Folder, Heartbeat, Verdict
from daemon.manifest import StoredFile

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL
AVX = "processor\t: 0\nflags\t\t: fpu sse4_2 avx avx2\n"


def folder(exists=True, is_readable=True, is_writable=True, **more):
    return Folder(Path("/data/in"), exists, is_readable, is_writable, **more)


def beat(phase="running", age_s=1.0, is_alive=True):
    return Heartbeat(7, phase, age_s, is_alive)


@pytest.mark.parametrize(
    ("finding", "verdict", "says"),
    [
        (doctor.check_python((3, 11, 4)), OK, "3.11.4"),
        (doctor.check_python((3, 10, 9)), FAIL, "install Python 3.11"),
        (doctor.check_distribution(None, []), OK, "own"),
        (doctor.check_distribution("3.1.2", []), WARN, "python-daemon 3.1.2"),
        (doctor.check_distribution("3.1.2", ["pidfile.py"]), FAIL, "pidfile.py"),
        (doctor.check_tensorflow(True), OK, "installed"),
        (doctor.check_tensorflow(False), FAIL, "pip install tensorflow"),
        (doctor.check_processor(AVX), OK, "has AVX"),
        (doctor.check_processor(AVX.replace(" avx avx2", "")), FAIL, "has no AVX"),
        (doctor.check_processor("Features\t: fp asimd\n"), OK, "not x86"),
        (doctor.check_source(folder()), OK, "can be read"),
        (doctor.check_source(folder(exists=False)), WARN, "the daemon makes it"),
        (doctor.check_source(folder(exists=False, has_parent=False)), WARN, "mkdir -p"),
        (doctor.check_source(folder(is_readable=False)), FAIL, "chmod"),
        (doctor.check_place("state_dir", folder(), 10**10, 10**8), OK, "10.0 GB free"),
        (doctor.check_place("state_dir", folder(), 10**9, 10**8), WARN, "make room soon"),
        (doctor.check_place("state_dir", folder(), 10**6, 10**8), FAIL, "no files are taken"),
        (doctor.check_place("database", folder(is_writable=False), 10**10, 0), FAIL, "`database:`"),
        (doctor.check_place("database", folder(is_on_read_only_disk=True), 1, 0), FAIL, "mount"),
        (doctor.check_files([]), OK, "can be written"),
        (doctor.check_files([Path("/data/c.db")]), FAIL, "chmod u+w /data/c.db"),
        (doctor.check_weights(None), OK, "at hand"),
        (doctor.check_weights("vgg16: not here"), WARN, "`backbone: compact`"),
        (doctor.check_watches(8192, 100, True), OK, "100 folders, 8,192 watches"),
        (doctor.check_watches(8192, 5000, True), WARN, "max_user_watches=524288"),
        (doctor.check_watches(8192, 9000, False), FAIL, "9,000 or more folders"),
        (doctor.check_watches(None, 9000, True), WARN, "polling"),
        (doctor.check_instances(128, 2), OK, "128"),
        (doctor.check_instances(8, 2), WARN, "max_user_instances"),
        (doctor.check_integrity([]), OK, "sound"),
        (doctor.check_integrity(None), OK, "classifyd db check"),
        (doctor.check_integrity(["row 3 missing from index x"]), FAIL, "row 3 missing"),
        (doctor.check_daemon(beat()), OK, "running (process 7)"),
        (doctor.check_daemon(None), WARN, "never run"),
        (doctor.check_daemon(beat(phase="stopped")), WARN, "not running"),
        (doctor.check_daemon(beat(is_alive=False)), WARN, "not running"),
        (doctor.check_daemon(beat(age_s=60)), FAIL, "no sign of life for 60 s"),
    ],
)
def test_verdicts(finding, verdict, says):
    assert finding.verdict is verdict
    assert says in f"{finding.says} {finding.remedy}"
    assert (finding.remedy == "") == (verdict is OK)


@pytest.fixture
def bundle_folder(tmp_path):
    """A bundle whose hashes are right; what its model says does not matter here."""
    folder, content = tmp_path / "bundle", b"a model"
    folder.mkdir()
    stored = StoredFile(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    (folder / "model.keras").write_bytes(content)
    manifest = make_manifest(files={"model.keras": stored})
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


def findings(ran):
    return {finding["check"].split()[0]: finding for finding in json.loads(ran.out)}


def test_a_working_installation_passes(classifyd, filled, tmp_path, bundle_folder):
    (tmp_path / "inbox" / "deep" / "er").mkdir(parents=True)
    filled.model(bundle=str(bundle_folder))
    filled.beat()
    ran = classifyd("doctor", "--format", "json")
    assert ran.code == 0
    found = findings(ran)
    assert found["inotify"]["says"]
    for check in ("source", "state_dir", "database", "daemon", "model", "package"):
        assert found[check]["verdict"] == "ok", found[check]
    assert "compact-1 is whole and unaltered" in classifyd("doctor").out


def test_an_altered_bundle_fails(classifyd, filled, bundle_folder):
    filled.model(bundle=str(bundle_folder))
    (bundle_folder / "model.keras").write_bytes(b"other")
    ran = classifyd("doctor")
    assert ran.code == 1
    assert "model.keras was altered" in ran.out and "classifyd models rollback" in ran.out


def test_a_damaged_database_fails(classifyd, filled):
    for number in range(300):
        filled.seen(f"/{number:0100d}.jpg")
    filled.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    filled.connection.close()
    with filled.path.open("r+b") as file:
        file.seek(filled.path.stat().st_size * 3 // 4)
        file.write(b"\xff" * 20_000)
    ran = classifyd("doctor", "--format", "json")
    assert ran.code == 1
    found = {finding["check"]: finding for finding in json.loads(ran.out)}
    assert found["database integrity"]["verdict"] == "fail"


def test_a_wrong_configuration_is_a_finding(classifyd, tmp_path):
    (tmp_path / "config.yaml").write_text("databse: x.db\n")
    ran = classifyd("doctor", "--format", "json")
    assert ran.code == 1
    assert "did you mean database" in findings(ran)["configuration"]["says"]


def test_before_the_first_start_nothing_fails(classifyd, tmp_path):
    (tmp_path / "config.yaml").write_text("{}\n")
    ran = classifyd("doctor", "--format", "json")
    assert ran.code == 0
    assert findings(ran)["database"]["verdict"] == "warn"


def test_going_back_to_an_altered_bundle_is_refused(classifyd, filled, bundle_folder):
    filled.model(bundle=str(bundle_folder))
    filled.model("second")
    (bundle_folder / "model.keras").write_bytes(b"other")
    for command in (("rollback",), ("activate", "compact-1")):
        ran = classifyd("models", *command)
        assert ran.code == 1 and "model.keras was altered" in ran.err
    assert filled.execute("SELECT count(*) FROM deployment") == [(2,)]


@pytest.mark.parametrize("name", ["my birds", "2026", "-x", "a" * 101])
def test_a_name_that_no_model_version_can_have_is_refused_at_once(
    classifyd, filled, tmp_path, name
):
    (tmp_path / "photos").mkdir()
    ran = classifyd("models", "train", "photos", "--name", name)
    assert ran.code == 2 and f"--name {name!r}" in ran.err
