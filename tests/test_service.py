"""The systemd unit: made from the configuration, clean and hardened by systemd's own measure, and
started by a real systemd where the machine allows."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from drawing import draw
from machine import INSTALLED, ROOT, Machine, booted, why_not

from daemon.testing import until
from daemon.unit import quoted

ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


@pytest.fixture
def configure(tmp_path):
    """Writes the configuration beside which commands are called."""

    def write(text: str) -> None:
        (tmp_path / "config.yaml").write_text(text)

    return write


def keys(text: str) -> dict[str, str]:
    """The unit's lines by key; of one given twice the last."""
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"\w+=", line))


LOCAL = "metrics: {port: null}\nstate_dir: /var/lib/classifyd\ndatabase: /var/lib/classifyd/c.db\n"


def test_folders_are_those_of_the_configuration(classifyd, configure):
    configure(
        "state_dir: /var/lib/classifyd\ndatabase: /srv/data base/c.db\n"
        "sources: [{name: folder, path: /srv/in}]\nlabels: {folder: /srv/labels}\n"
        "sinks: [{name: jsonl, path: /var/log/classifyd/events.jsonl}]\n"
    )
    unit = keys(classifyd("service", "print").out)
    assert unit["StateDirectory"] == unit["LogsDirectory"] == "classifyd"
    assert unit["ReadWritePaths"] == '"/srv/data base"'
    assert unit["ReadOnlyPaths"] == "-/srv/in -/srv/labels"
    assert unit["RequiresMountsFor"] == '/var/lib/classifyd "/srv/data base"'
    assert unit["User"] == "classifyd"


@pytest.mark.parametrize(
    ("more", "families", "private"),
    [
        ("", "AF_UNIX", "yes"),
        ("metrics: {port: 9764}", "AF_UNIX AF_INET AF_INET6", None),
        ("metrics: {port: 9764, host: 0.0.0.0}", "AF_UNIX AF_INET AF_INET6 AF_NETLINK", None),
        ("sinks: [{name: webhook, url: 'https://example.org/hook'}]", "AF_NETLINK", None),
        ("model: {backbone: mobilenet_v2, weights: imagenet}", "AF_NETLINK", None),
    ],
)
def test_networks_are_open_as_far_as_the_configuration_needs(
    classifyd, configure, more, families, private
):
    configure((LOCAL if "metrics" not in more else LOCAL.split("\n", 1)[1]) + more)
    unit = keys(classifyd("service", "print").out)
    assert unit["RestrictAddressFamilies"].endswith(families)
    assert unit.get("PrivateNetwork") == private
    is_shut = "AF_NETLINK" not in unit["RestrictAddressFamilies"]
    assert unit.get("IPAddressDeny") == ("any" if is_shut else None)


def test_images_that_are_moved_stay_in_one_mount(classifyd, configure):
    configure(
        LOCAL + "sources: [{name: folder, path: /srv/photos/in}]\nlabels: {folder: null}\n"
        "sinks: [{name: sort, folder: /srv/photos/sorted, mode: move}]\n"
    )
    unit = keys(classifyd("service", "print").out)
    assert unit["ReadWritePaths"] == "/srv/photos"


def test_a_home_is_seen_only_where_something_lies_in_one(classifyd, configure, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    configure(LOCAL + "sources: [{name: folder, path: /srv/in}]\nlabels: {folder: /home/ada/l}\n")
    assert keys(classifyd("service", "print").out)["ProtectHome"] == "read-only"


def test_install_writes_what_print_prints_and_tells_how_to_go_on(
    classifyd, configure, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    configure(LOCAL)
    done = classifyd("service", "install", "--user", "--name", "cats")
    path = tmp_path / "own" / "systemd" / "user" / "classifyd@cats.service"
    assert path.read_text() == classifyd("service", "print", "--user", "--name", "cats").out
    assert f"{path}: written" in done.out
    assert "systemctl --user enable --now classifyd@cats.service" in done.out
    assert classifyd("service", "install", "--user", "--name", "cats").code == 0  # made anew
    path.write_text("[Service]\n")
    again = classifyd("service", "install", "--user", "--name", "cats")
    assert again.code == 2 and "was not made by classifyd" in again.err


def test_without_rights_the_way_out_is_told(classifyd, configure, monkeypatch, tmp_path):
    (tmp_path / "own").write_text("a file is in the way")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    configure(LOCAL)
    done = classifyd("service", "install", "--user")
    assert done.code == 2 and "cannot be written" in done.err and "sudo" in done.err


@pytest.mark.parametrize("option", [("--name", "a/b"), ("--account", "no body")])
def test_names_that_systemd_would_misread_are_refused(classifyd, configure, option):
    configure(LOCAL)
    assert classifyd("service", "print", *option).code == 2


def test_paths_are_written_so_that_systemd_reads_them_back():
    assert quoted("/srv/in") == "/srv/in"
    assert quoted("/srv/my photos/50%") == '"/srv/my photos/50%%"'
    assert quoted('/srv/a"b\\c') == '"/srv/a\\"b\\\\c"'


def shipped(folder: Path, name: str, stands_for: str) -> Path:
    """A unit of `deploy/` with a program that exists here."""
    text = (ROOT / "deploy" / name).read_text()
    path = folder / stands_for
    path.write_text(text.replace("/opt/classifyd/bin/classifyd", "/bin/true"))
    return path


def analyzed(*arguments: str | Path) -> str:
    done = subprocess.run([ANALYZE, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_analyze
@pytest.mark.parametrize(
    ("name", "stands_for"),
    [
        ("classifyd.service", "classifyd.service"),
        ("classifyd@.service", "classifyd@cats.service"),
    ],
)
def test_the_shipped_units_are_clean_and_hardened(tmp_path, name, stands_for):
    path = shipped(tmp_path, name, stands_for)
    assert analyzed("verify", "--man=no", path) == ""
    told = analyzed("security", "--offline=true", "--no-pager", path)
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", told)[1])
    assert exposure <= 2.0, told


@needs_analyze
def test_the_units_of_a_person_are_clean(classifyd, configure, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    configure(LOCAL)
    path = tmp_path / "classifyd.service"
    path.write_text(classifyd("service", "print", "--user").out)
    assert analyzed("--user", "verify", "--man=no", path) == ""


# --- a real systemd

NAME = "classifyd.service"
CONFIG = "/etc/classifyd/config.yaml"
INBOX = "/srv/classifyd/inbox"
QUICKLY = "runtime: keras\nexecutor: {name: local, workers: 1}\n"
HERE = f"[Service]\nEnvironment=PYTHONPATH={INSTALLED}\nRestartSec=1\n"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A machine on which classifyd was installed as its documentation says."""
    reason = why_not()
    if reason is not None:
        pytest.skip(f"no systemd can be booted here: {reason}")
    with booted(tmp_path_factory.mktemp("systemd")) as machine:
        for folder in Path(sys.executable).resolve().parents:
            machine.run("chmod", "o+rx", str(folder))  # Python may lie in somebody's home
        machine.write(CONFIG, (ROOT / "deploy" / "config.yaml").read_text() + QUICKLY)
        machine.out("install", "-d", "-m", "0755", INBOX, "/srv/classifyd/labels")
        classifyd_in(machine, "service", "install", "--config", CONFIG)
        machine.write(f"/etc/systemd/system/{NAME}.d/here.conf", HERE)
        machine.out("systemd-sysusers")
        machine.out("systemctl", "daemon-reload")
        yield machine


def classifyd_in(machine: Machine, *arguments: str) -> str:
    python = f"{INSTALLED}/{Path(sys.executable).relative_to(ROOT)}"
    path = f"PYTHONPATH={INSTALLED}"
    return machine.out("env", path, python, "-B", "-P", "-m", "daemon", *arguments)


def journal(machine: Machine, *options: str) -> dict[str, str]:
    """The service's lines with their weights."""
    lines = machine.out("journalctl", "-u", NAME, "-o", "json", *options).splitlines()
    entries = [json.loads(line) for line in lines]
    return {str(entry["MESSAGE"]): entry["PRIORITY"] for entry in entries}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not Path(sys.executable).is_relative_to(ROOT), reason="needs the checkout's own environment"
)
def test_a_real_systemd_starts_reloads_watches_and_ends_the_service(machine, tmp_path):
    # Started: once the model is warm, as the account, in the sandbox, with TensorFlow in it.
    started = machine.run("systemctl", "start", NAME, timeout_s=280)
    assert started.returncode == 0, machine.out("journalctl", "--no-pager", "-u", NAME)
    assert "cifar10 on keras" in machine.show(NAME, "StatusText")
    main = machine.show(NAME, "MainPID")
    assert machine.out("ps", "-o", "user=", "-p", main) == "classifyd"

    # Works: reads what others dropped, and may not write there.
    image = draw(tmp_path / "one.png", 1).read_bytes().hex()
    machine.out("sh", "-c", f"echo {image} | xxd -r -p > {INBOX}/one.png")
    until(lambda: "1 images" in machine.show(NAME, "StatusText"), 60.0)
    assert "one.png" in classifyd_in(machine, "results", "--config", CONFIG)

    # Reloads, and is then ready again.
    machine.out("systemctl", "reload", NAME)
    until(lambda: machine.show(NAME, "ActiveState") == "active", 60.0)

    # A lost worker does not end it.
    machine.out("sh", "-c", f"pkill -KILL -P {main} -f spawn_main")
    assert machine.show(NAME, "MainPID") == main
    assert machine.show(NAME, "ActiveState") == "active"

    # A main process that hangs is ended by the watchdog and started anew.
    machine.write(f"/etc/systemd/system/{NAME}.d/dog.conf", "[Service]\nWatchdogSec=10\n")
    machine.out("systemctl", "daemon-reload")
    machine.out("systemctl", "restart", NAME)
    hung = machine.show(NAME, "MainPID")
    machine.out("kill", "-STOP", hung)
    until(lambda: machine.show(NAME, "NRestarts") == "1", 60.0, "started anew")
    until(lambda: machine.show(NAME, "ActiveState") == "active", 150.0)
    said = "\n".join(journal(machine))
    assert "Watchdog timeout" in said and "most recent call first" in said

    # Lines have their weight.
    assert journal(machine)["INFO    model cifar10 is active"] == "6"

    # Ends in order; a wrong configuration is not tried again and again.
    machine.out("systemctl", "stop", NAME)
    assert machine.show(NAME, "Result") == "success"
    machine.write(CONFIG, "batch: {max_size: many}\n")
    assert machine.run("systemctl", "start", NAME).returncode != 0
    until(lambda: machine.show(NAME, "ActiveState") == "failed", 60.0)
    assert machine.show(NAME, "ExecMainStatus") == "2"
    assert any("max_size" in line for line in journal(machine, "-p", "err"))
