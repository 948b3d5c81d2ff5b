"""Every sink in the box keeps the contract, and says nothing of what it must not tell."""

import hashlib
import re
from pathlib import Path

import pytest

import plugins
from daemon.loader import load_plugins
from daemon.testing import check_sink, running_receiver

REGISTERED = {
    factory.name: factory
    for factories in load_plugins(
        [name for name in plugins.BUILTIN if ".sinks." in name], ()
    ).manager.hook.register_sinks()
    for factory in factories
}


@pytest.fixture
def receiver():
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def image(tmp_path):
    image = tmp_path / "in" / "rex.jpg"
    image.parent.mkdir()
    image.write_bytes(b"woof" * 1000)
    return image


def tree(folder: Path) -> dict[str, bytes]:
    """What people see in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("[!.]*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", REGISTERED)
def test_every_sink_keeps_the_contract(name, receiver, image, tmp_path):
    out = tmp_path / "out"
    options, got = {
        "jsonl": ({"path": out}, lambda: out.read_bytes()),
        "webhook": ({"url": receiver.url}, lambda: sorted(set(receiver.numbers()))),
        "sort": ({"folder": out}, lambda: tree(out)),
    }[name]
    factory = REGISTERED[name]
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    check_sink(lambda: factory.build(factory.options(**options)), image, digest, got)
    assert got()


SECRETS = """\
sinks:
  - {name: webhook, url: "http://127.0.0.1:9/hook", secret: hunter2-hunter2,
     headers: {Authorization: Bearer hunter2}}
"""


def test_secrets_are_never_shown(classifyd, tmp_path):
    (tmp_path / "config.yaml").write_text(SECRETS)
    for form in ("table", "json"):
        shown = classifyd("config", "show", "--format", form)
        assert shown.code == 0 and "127.0.0.1:9" in shown.out
        assert "hunter2" not in shown.out + shown.err


@pytest.mark.parametrize(
    "wrong",
    [
        "secret: 2837462",
        "headers: {Authorization: 2837462}",
        "headers: [2837462]",
        "secret: '2837462', secret_env: HOOK",
        "secret: '2837462', secret_file: key.txt",
        "secret: '2837462', events: [classifyed]",
    ],
)
def test_a_wrong_option_is_named_without_the_secret(classifyd, tmp_path, wrong):
    (tmp_path / "config.yaml").write_text(f"sinks: [{{name: webhook, url: 'http://h/', {wrong}}}]")
    checked = classifyd("config", "check")
    assert checked.code == 2 and "config.yaml:1: sinks.0." in checked.err
    assert "2837462" not in checked.out + checked.err


@pytest.mark.parametrize("url", ["ftp://h/x", "h/x", "http://", "https://me:pw@h/x"])
def test_an_address_that_cannot_be_one_is_refused(classifyd, tmp_path, url):
    (tmp_path / "config.yaml").write_text(f"sinks: [{{name: webhook, url: '{url}'}}]")
    assert re.search(
        r"sinks\.0\.url: must (be an address|not hold)", classifyd("config", "check").err
    )


@pytest.mark.parametrize("folder", ["inbox", "inbox/sorted", "link/sorted", "labels/cat"])
def test_a_sorted_folder_that_is_watched_is_refused(classifyd, tmp_path, folder):
    (tmp_path / "inbox").mkdir()
    (tmp_path / "link").symlink_to("inbox")
    (tmp_path / "config.yaml").write_text(f"sinks:\n  - {{name: sort, folder: {folder}}}\n")
    checked = classifyd("config", "check")
    assert checked.code == 2
    assert re.search(
        r"config.yaml:2: sinks.0.folder: .* lies within the watched folder", checked.err
    )
