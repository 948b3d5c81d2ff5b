"""Plugins: where they come from, what happens to broken ones, and how they are looked up."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from textwrap import dedent

import click
import pytest
from click.testing import CliRunner

import plugins as box
from daemon.catalogue import Catalogue
from daemon.cli.config import config as config_command
from daemon.cli.plugins import plugins as plugins_command
from daemon.config import Selection, Settings, load
from daemon.errors import ConfigError, PluginError
from daemon.loader import Plugins, load_plugins

SINK = """
    from daemon.contracts import ConfigPath, Factory, Options
    from daemon.hookspecs import hookimpl

    class TapeOptions(Options):
        path: ConfigPath
        width: int = 80

    @hookimpl
    def register_sinks():
        return [Factory("{name}", lambda options: options, TapeOptions, "onto paper")]
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module into an importable folder; return its path. Imports are undone."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def writer(name: str, source: str = SINK, /, **names: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source.format(**names) if names else source))
        return path

    yield writer
    for name in set(sys.modules) - before:
        del sys.modules[name]


def distribution(folder: Path, name: str, version: str, entry_points: str) -> None:
    """Make a folder look like one where a distribution was installed."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[classifyd]\n{entry_points}\n")


@pytest.fixture(scope="module")
def boxed() -> Catalogue:
    return Catalogue(load_plugins(box.BUILTIN, ()))


def refusal(*extra: str, builtin: tuple[str, ...] = ()) -> str:
    with pytest.raises(PluginError) as caught:
        Catalogue(load_plugins(builtin, extra))
    return str(caught.value)


def test_the_default_configuration_finds_every_plugin_that_it_names(boxed):
    settings = Settings()
    boxed.validate(settings, Path.cwd())
    assert boxed.plugins.broken == {}
    assert boxed.heads.build(settings.model.head, Path.cwd()).name == "softmax"


def test_listing_plugins_imports_no_framework():
    script = dedent("""
        import sys, plugins
        from daemon.catalogue import Catalogue
        from daemon.loader import load_plugins
        Catalogue(load_plugins(plugins.BUILTIN, ()))
        heavy = {'keras', 'tensorflow', 'numpy', 'PIL', 'sqlalchemy', 'watchdog'}
        sys.exit(repr(sorted(heavy & set(sys.modules))))
    """)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert ended.stderr.strip() == b"[]"


def test_plugins_come_from_the_box_modules_files_and_folders(write, tmp_path):
    write("inbox_sink.py", name="boxed")
    write("acme_sink.py", name="acme")
    single = write("one/single.py", name="single")
    write("many/first.py", name="first")
    write("many/second.py", name="second")
    write("many/_helper.py", "raise RuntimeError('helpers are not plugins')")
    catalogue = Catalogue(
        load_plugins(["inbox_sink"], ["acme_sink", str(single), str(tmp_path / "many")])
    )
    assert {name: entry.origin for name, entry in catalogue.sinks.entries.items()} == {
        "boxed": "built-in",
        "acme": "module acme_sink",
        "single": f"file {single}",
        "first": f"file {tmp_path / 'many/first.py'}",
        "second": f"file {tmp_path / 'many/second.py'}",
    }


def test_an_installed_plugin_is_found_by_its_entry_point(write, tmp_path):
    write("papertape.py", name="tape")
    distribution(tmp_path, "acme_tape", "1.2", "tape = papertape")
    plugins = load_plugins((), ())
    assert plugins.provenance == {"tape": "acme_tape 1.2"}
    assert list(Catalogue(plugins).sinks.entries) == ["tape"]


BROKEN = {
    "raise RuntimeError('no licence')": "RuntimeError: no licence",
    "import no_such_thing": "ModuleNotFoundError: No module named 'no_such_thing'",
    "def (": "SyntaxError",
    "raise SystemExit(3)": "SystemExit: 3",
    "def register_sinks(): return []": "has no hook; is @hookimpl missing?",
    """
    from daemon.hookspecs import hookimpl
    @hookimpl
    def register_sinks(): raise OSError("no paper")
    """: "register_sinks: OSError: no paper",
    """
    from daemon.hookspecs import hookimpl
    @hookimpl
    def register_sinks():
        yield from ()
        raise OSError("no paper")
    """: "register_sinks: OSError: no paper",
    """
    from daemon.hookspecs import hookimpl
    @hookimpl
    def register_sinks(): pass
    """: "register_sinks must return factories, got nothing",
    """
    from daemon.hookspecs import hookimpl
    @hookimpl
    def register_sinks(): return ["tape"]
    """: "register_sinks must return factories, got 'tape'",
}


@pytest.mark.parametrize("source", BROKEN)
def test_a_broken_stranger_is_reported_by_name_and_the_rest_load(write, source):
    broken = write("broken.py", source)
    good = write("good.py", name="good")
    catalogue = Catalogue(load_plugins((), [str(broken), str(good)]))
    assert list(catalogue.plugins.broken) == ["broken"]
    assert BROKEN[source] in catalogue.plugins.broken["broken"]
    assert list(catalogue.sinks.entries) == ["good"]


@pytest.mark.parametrize("item", ["no_such_module", "/no/such/file.py", "/no/such/folder"])
def test_a_plugin_that_is_not_there_is_reported(item):
    (reason,) = load_plugins((), [item]).broken.values()
    assert "no such" in reason.lower() or "No module named" in reason


@pytest.mark.parametrize("source", list(BROKEN)[:1] + list(BROKEN)[5:6])
def test_a_broken_built_in_plugin_ends_the_start(write, source):
    write("broken_box.py", source)
    assert "built-in plugin broken_box: " in refusal(builtin=("broken_box",))


def test_an_installed_plugin_that_cannot_be_imported_is_reported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    distribution(tmp_path, "acme_tape", "1.2", "tape = no_such_module")
    assert "No module named" in load_plugins((), ()).broken["tape"]


def test_a_misspelt_hook_ends_the_start_with_the_right_name(write):
    source = """
        from daemon.hookspecs import hookimpl
        @hookimpl
        def register_backbone(): return []
    """
    message = refusal(str(write("typo.py", source)))
    assert "plugin typo (file " in message
    assert "there is no hook register_backbone; did you mean register_backbones?" in message


def test_a_hook_that_wants_unknown_arguments_ends_the_start(write):
    source = """
        from daemon.hookspecs import hookimpl
        @hookimpl
        def register_backbones(settings): return []
    """
    message = refusal(str(write("greedy.py", source)))
    assert "greedy" in message
    assert "settings" in message


def test_two_plugins_of_one_name_are_both_named(write, tmp_path):
    first, second = write("a/tape.py", name="x"), write("b/tape.py", name="y")
    message = refusal(str(first), str(second))
    assert f"plugin tape is there twice: from file {first} and file {second}" in message


def test_one_plugin_by_two_ways_is_named(write, tmp_path):
    write("papertape.py", name="tape")
    distribution(tmp_path, "acme_tape", "1.2", "tape = papertape")
    message = refusal("papertape")
    assert "tape (acme_tape 1.2)" in message
    assert "papertape (module papertape)" in message


def test_two_plugins_that_register_one_name_are_both_named(write):
    first, second = write("one.py", name="tape"), write("two.py", name="tape")
    message = refusal(str(first), str(second))
    assert message.startswith("sink tape is registered twice")
    assert f"one (file {first})" in message
    assert f"two (file {second})" in message


def test_a_plugin_file_is_loaded_anew_each_time(write):
    path = write("tape.py", name="old")
    assert list(Catalogue(load_plugins((), [str(path)])).sinks.entries) == ["old"]
    write("tape.py", name="newer")
    assert list(Catalogue(load_plugins((), [str(path)])).sinks.entries) == ["newer"]


def test_an_unknown_name_lists_the_known_and_the_broken_ones(write):
    good, broken = write("good.py", name="tape"), write("broken.py", "import no_such_thing")
    catalogue = Catalogue(load_plugins((), [str(good), str(broken)]))
    with pytest.raises(PluginError) as caught:
        catalogue.sinks.build(Selection("tapes"), Path("/"))
    message = str(caught.value)
    assert message.startswith("there is no sink tapes; did you mean tape? (known: tape)")
    assert "broken: ModuleNotFoundError" in message


def test_options_are_checked_and_their_paths_count_from_the_base(write):
    catalogue = Catalogue(load_plugins((), [str(write("good.py", name="tape"))]))
    built = catalogue.sinks.build(Selection("tape", {"path": "out"}), Path("/srv"))
    assert (built.path, built.width) == (Path("/srv/out"), 80)
    with pytest.raises(PluginError) as caught:
        catalogue.sinks.build(Selection("tape", {"widht": 3, "width": "wide"}), Path("/srv"))
    assert str(caught.value).splitlines() == [
        "sink tape: path: is required and has no default",
        'sink tape: width: must be a whole number, got "wide"',
        "sink tape: widht: unknown key; did you mean width?",
    ]


def test_wrong_selections_are_named_with_the_line_of_the_file(boxed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(
        "model:\n  backbone: mobilenet_v22\nsources:\n- name: folder\n  path: a\n  recursiv: no\n"
        "runtime: {name: keras, threads: 1}\n"
    )
    loaded = load(None, {"CLASSIFYD_EXECUTOR": "lokal"})
    with pytest.raises(ConfigError) as caught:
        boxed.validate(loaded.settings, loaded.base, loaded.origins)
    backbone, runtime, executor, source = str(caught.value).splitlines()
    assert backbone.startswith("config.yaml:2: model.backbone: there is no backbone mobilenet_v22")
    assert "did you mean mobilenet_v2?" in backbone
    assert runtime.startswith("config.yaml:7: runtime.threads: unknown key")
    assert executor.startswith("CLASSIFYD_EXECUTOR: executor: there is no executor lokal")
    assert source == "config.yaml:6: sources.0.recursiv: unknown key; did you mean recursive?"


BACKBONE = """
    from daemon.contracts import Factory
    from daemon.hookspecs import hookimpl

    @hookimpl
    def register_backbones():
        return [Factory("odd", {build})]
"""


@pytest.mark.parametrize(
    ("build", "says"), [("lambda options: 1 / 0", "ZeroDivisionError"), ("str", "weights_choices")]
)
def test_a_backbone_that_cannot_be_built_is_named(write, tmp_path, build, says):
    write("odd.py", BACKBONE, build=build)
    path = tmp_path / "config.yaml"
    path.write_text("model: {backbone: odd}\nplugins: [./odd.py]\n")
    loaded = load(path, {})
    with pytest.raises(ConfigError, match=rf"config.yaml:1: model.backbone: cannot .*{says}"):
        Catalogue(load_plugins(box.BUILTIN, loaded.settings.plugins)).validate(
            loaded.settings, loaded.base, loaded.origins
        )


COMMAND = """
    import click
    from daemon.hookspecs import hookimpl

    @hookimpl
    def register_commands(cli):
        @cli.command("{name}")
        def command():
            click.echo("from {text}")
        {after}
"""


def commands(write, after: str = "", name: str = "greet") -> tuple[click.Group, Plugins]:
    path = write("greeter.py", COMMAND, name=name, text="afar", after=after)
    plugins = load_plugins((), [str(path)])
    cli = click.Group()
    Catalogue(plugins).commands(cli, taken={"run"})
    return cli, plugins


def test_plugins_add_commands(write):
    cli, _ = commands(write)
    assert CliRunner().invoke(cli, ["greet"]).output == "from afar\n"


def test_a_stranger_that_fails_midway_leaves_no_half_command(write):
    cli, plugins = commands(write, after="raise OSError('no terminal')")
    assert list(cli.commands) == []
    assert "no terminal" in plugins.broken["greeter"]


def test_a_command_that_the_program_has_is_refused(write):
    with pytest.raises(PluginError, match=r"command run is registered twice: .*greeter"):
        commands(write, name="run")


def test_plugins_are_listed_with_their_origin_and_options(write, tmp_path, monkeypatch):
    good, broken = write("good.py", name="tape"), write("broken.py", "import no_such_thing")
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("plugins: [./good.py, ./broken.py]")
    listed = CliRunner().invoke(plugins_command, ["--format", "json"], catch_exceptions=False)
    row = {"kind": "sink", "name": "tape", "origin": f"file {good}", "summary": "onto paper"}
    assert row in json.loads(listed.stdout)
    assert f"broken (file {broken}) is left out: ModuleNotFoundError" in listed.stderr
    one = CliRunner().invoke(plugins_command, ["tape"], catch_exceptions=False)
    title, _, path, width = [line.split() for line in one.stdout.splitlines()]
    assert title[:2] == ["sink", "tape"]
    assert path == ["path", "path", "(required)"]
    assert width == ["width", "whole", "number", "80"]


def test_a_plugin_that_is_unknown_is_named_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(plugins_command, ["mobilenet_v22"])
    said = str(ended.exception)
    assert said.startswith("there is no plugin mobilenet_v22; did you mean mobilenet_v2? (known: ")
    assert "compact, " in said and "softmax" in said


def test_a_broken_plugin_says_why_and_fails_the_check_of_the_configuration(
    write, tmp_path, monkeypatch
):
    write("broken.py", "import no_such_thing")
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("plugins: [./broken.py, ./missing.py]")
    asked = CliRunner().invoke(plugins_command, ["broken"])
    assert "is broken: ModuleNotFoundError: No module named" in str(asked.exception)
    other = CliRunner().invoke(plugins_command, ["tape"])
    assert "there is no plugin tape" in str(other.exception)
    assert "is left out: ModuleNotFoundError" in str(other.exception)
    checked = CliRunner().invoke(config_command, ["check"])
    assert isinstance(checked.exception, ConfigError)
    assert "plugins: broken: broken, missing" in str(checked.exception)
    assert "no such file or folder" in checked.stderr


def test_the_installed_distribution_is_not_its_own_plugin():
    """Built-ins come through `BUILTIN` alone: an entry point of our own would double them."""
    points = metadata.entry_points(group="classifyd")
    assert [point.name for point in points if point.value.startswith("plugins.")] == []
