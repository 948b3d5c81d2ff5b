"""The configuration as a user meets it: values, origins, and what is said of mistakes."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from daemon.cli.config import config as config_command
from daemon.config import DEFAULT_TEMPLATE, Selection, Settings, load
from daemon.config.schema import json_schema
from daemon.contracts import ConfigPath, Options
from daemon.errors import ConfigError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write config.yaml into an empty current folder and return its path, as a user names it."""
    monkeypatch.chdir(tmp_path)

    def writer(content: str | bytes) -> Path:
        path = Path("config.yaml")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


def complaint(path: Path | None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return str(caught.value)


def generator():
    sys.path.insert(0, str(ROOT / "docs"))  # as for a script
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_file_says_what_the_program_does_without_one(write):
    path = write(DEFAULT_TEMPLATE.read_bytes())
    assert load(path, {}).settings == Settings()


def test_the_shipped_file_comments_every_key():
    lines = DEFAULT_TEMPLATE.read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if line and line.lstrip()[0] not in "#"]
    assert all(lines[number - 1].lstrip().startswith("#") for number in keys)


def test_generated_files_are_current():
    generate = generator()
    stale = [path for path, text in generate.pages().items() if not generate.is_current(path, text)]
    assert not stale, "run `make docs`"


def test_an_empty_file_or_section_means_the_defaults(write):
    assert load(write(""), {}).settings == Settings()
    assert load(write("batch:\n  # max_size: 8\nlog:\n"), {}).settings == Settings()


def test_relative_paths_count_from_the_folder_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    (tmp_path / "more").mkdir()
    path = tmp_path / "config.yaml"
    path.write_text(
        "database: data/a.db\nstate_dir: ~/state\nmodel: {weights: w/net.weights.h5}\n"
        "plugins: [acme.vision, ./one.py, more]\n"
    )
    settings = load(path, {}).settings
    assert settings.database == str(tmp_path / "data/a.db")
    assert settings.state_dir == Path("/home/ann/state")
    assert settings.model.weights == str(tmp_path / "w/net.weights.h5")
    assert settings.plugins == ("acme.vision", str(tmp_path / "one.py"), str(tmp_path / "more"))


def test_values_are_read_as_people_write_them(write):
    settings = load(
        write(
            "database: postgresql://ann@db/photos\n"
            "decode: {max_bytes: 64MiB, threads: 3, formats: [jpeg, heic], timeout_s: 5}\n"
            "model: {image_size: 96, weights: imagenet}\n"
            "executor: {name: local, workers: 2}\n"
            "sinks: [jsonl, {name: jsonl, path: out.jsonl}]\n"
        ),
        {},
    ).settings
    assert settings.database == "postgresql://ann@db/photos"
    assert (settings.decode.max_bytes, settings.decode.threads) == (64 * 1024**2, 3)
    assert settings.decode.formats == ("jpeg", "heic")
    assert settings.model.image_size == (96, 96)
    assert settings.model.weights == "imagenet"
    assert settings.executor == Selection("local", {"workers": 2})
    assert settings.sinks == (Selection("jsonl"), Selection("jsonl", {"path": "out.jsonl"}))


def test_an_sqlite_url_is_its_file(write, tmp_path):
    assert load(write("database: sqlite:///a.db"), {}).settings.database == str(tmp_path / "a.db")
    assert "plain path" in complaint(write("database: 'sqlite://'"))


WRONG = {
    "batch:\n  max_sise: 3\n": "config.yaml:2: batch.max_sise: unknown key; did you mean max_size?",
    "max_size: 3\n": "config.yaml:1: max_size: unknown key; did you mean batch.max_size?",
    "zebra: 3\n": "config.yaml:1: zebra: unknown key; known here: database, state_dir,",
    "\nbatch: {max_size: 0}\n": "config.yaml:2: batch.max_size: must be greater than or equal",
    "batch: {max_size: 5000}": "must be less than or equal to 1024, got 5000",
    "batch: {max_size: '8'}": 'batch.max_size: must be a whole number, got "8"',
    "batch: {max_size: true}": "batch.max_size: must be a whole number, got true",
    "batch: 3\n": "config.yaml:1: batch: must be keys with values, got 3",
    "decode: {timeout_s: 0}": "decode.timeout_s: must be greater than 0, got 0",
    "decode: {timeout_s: .nan}": "decode.timeout_s: must be",
    "decode: {threads: 0}": "decode.threads: must be auto or a whole number from 1 to 256, got 0",
    "decode: {max_bytes: 2QB}": 'decode.max_bytes: must be a size such as 200MB, got "2QB"',
    "decode: {max_bytes: 3}": "decode.max_bytes: must be from 1KB to 100GB, got 3",
    "decode:\n  formats:\n  - png\n  - jpg\n": "config.yaml:4: decode.formats.1: must be 'jpeg',",
    "decode: {formats: [jpg]}": "did you mean jpeg?",
    "decode: {formats: []}": "decode.formats: must be a list of at least one format",
    "log: {level: inf}": "log.level: must be 'debug', 'info', 'warning' or 'error', got \"inf\"",
    "model: {image_size: [96, 8]}": "must be null, a side or [height, width], 16 to 4096 pixels",
    "model: {image_size: [64]}": "must be null, a side or [height, width], 16 to 4096 pixels",
    "model: {fit: stretched}": "did you mean stretch?",
    "model: {name: a/b}": "must be 1 to 100 letters, digits, dots, dashes or underscores",
    "model: {name: ..}": "a letter or digit first, and no number, got",
    "model: {name: '12'}": "a letter or digit first, and no number, got",
    "state_dir: config.yaml": "config.yaml:1: state_dir: must be a folder, not a file",
    'state_dir: "a\\0"': "config.yaml:1: state_dir: must be a path",
    "state_dir: ' '": 'config.yaml:1: state_dir: must be a path, got " "',
    "database: ' '": 'config.yaml:1: database: must be a path, got " "',
    "database: /dev/null": "config.yaml:1: database: must be the path of a file, not of a folder",
    "model: {backbone: [1]}": "model.backbone: must be a plugin's name, or a mapping of `name`",
    "sources: {name: folder}": 'sources: must be a list, got {"name": "folder"}',
    "sources:\n- path: inbox\n": "config.yaml:2: sources.0: must be a plugin's name, or a mapping",
    "sinks:\n": "config.yaml:1: sinks: must be a list, got nothing",
    "state_dir: 3": "state_dir: must be a path, got 3",
    "database: ''": "database: must",
    "database: ':memory:'": "config.yaml:1: database: must be the path of a file, since one in",
    "database: 'sqlite:///:memory:'": "database: must be the path of a file",
    "database: .": "config.yaml:1: database: must be the path of a file, not of a folder",
    "labels: {path: labels}": "labels.path: unknown key",
    "batch: {max_size: 8}\nlog: {}\nbatch: {}\n": "config.yaml:3: batch: is there twice, first on",
    "batch:\n\tmax_size: 3": "config.yaml:2: a tab in the indentation",
    "batch: [1\n": "is not valid YAML",
    "- batch\n": "config.yaml:1: expected keys with values, such as `batch:`",
    "just words": "config.yaml:1: expected keys with values",
    "log: {}\n---\nlog: {}\n": "config.yaml:2: a second document",
    "on: 3": "config.yaml:1: on: is no word; write the key in quotes",
    "sinks: &all [*all]": "an alias that contains itself",
    "log: !!python/object:os.system x": "is not valid YAML",
    "log: 2024-13-45": "an impossible date",
    "sources: " + "[" * 1000: "config.yaml: is nested too deeply",
    "a: &a [" + "x, " * 999 + "]\nb: [" + "*a, " * 999 + "]\n": "its aliases (`*name`) make 1",
    "log: {}\nsinks: \x07": "config.yaml:2: holds a control character",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_named_with_its_line_and_remedy(write, text):
    assert WRONG[text] in complaint(write(text))


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file(write):
    text = "log: {level: loud}\nbatch:\n  max_sise: 3\n  max_delay_ms: soon\nmodel: {fit: 3}\n"
    lines = complaint(write(text)).splitlines()
    assert [line.split(": ")[0:2] for line in lines] == [
        ["config.yaml:1", "log.level"],
        ["config.yaml:3", "batch.max_sise"],
        ["config.yaml:4", "batch.max_delay_ms"],
        ["config.yaml:5", "model.fit"],
    ]


def test_a_file_in_another_encoding_is_refused(write):
    path = write("# Übung\nlog: {level: info}\n".encode("latin-1"))
    assert "config.yaml:1: is not UTF-8 text" in complaint(path)


def test_a_file_saved_with_a_byte_order_mark_is_read(write):
    assert load(write(b"\xef\xbb\xbfbatch: {max_size: 8}"), {}).settings.batch.max_size == 8


def test_an_unreadable_file_is_named(tmp_path):
    folder = tmp_path / "config.yaml"
    folder.mkdir()
    assert f"{folder}: cannot be read: Is a directory" in complaint(folder)


def test_a_missing_file_ends_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = complaint(None)
    assert message.startswith("config.yaml: no such configuration file")
    assert message.endswith("classifyd init")
    assert load(None, {}, required=False).settings == Settings()


def test_a_file_that_was_asked_for_must_be_there_even_where_none_is_required(tmp_path):
    for path, environ in [(tmp_path / "no.yaml", {}), (None, {"CLASSIFYD_CONFIG": "/no.yaml"})]:
        with pytest.raises(ConfigError, match=r"no\.yaml: no such"):
            load(path, environ, required=False)


def test_the_environment_overrides_the_file_and_names_it(write, tmp_path):
    write("batch: {max_size: 8}\nsources:\n- name: folder\n  path: a\n")
    loaded = load(
        None,
        {
            "CLASSIFYD_CONFIG": str(tmp_path / "config.yaml"),
            "CLASSIFYD_BATCH__MAX_SIZE": "16",
            "CLASSIFYD_BATCH__MAX_DELAY_MS": "5",
            "CLASSIFYD_SOURCES": "[{name: folder, path: b}]",
            "CLASSIFYD_LOG__LEVEL": "debug",
            "PATH": "/bin",
        },
    )
    assert loaded.settings.batch.max_size == 16
    assert loaded.settings.sources == (Selection("folder", {"path": "b"}),)
    assert loaded.settings.log.level == "debug"
    assert loaded.origins["batch.max_size"] == "CLASSIFYD_BATCH__MAX_SIZE"
    assert loaded.origins["sources.0.path"] == "CLASSIFYD_SOURCES"


def test_every_value_tells_where_it_is_from(write):
    path = write(
        "batch:\n  max_size: 8\nmodel:\n  backbone: {name: mobilenet_v2, alpha: 0.35}\n"
        "sources:\n- folder\n- name: folder\n  path: b\n"
    )
    loaded = load(path, {"CLASSIFYD_DATABASE": "x.db"})
    assert {key: place for key, place in loaded.origins.items() if place != "default"} == {
        "database": "CLASSIFYD_DATABASE",
        "batch.max_size": "config.yaml:2",
        "model.backbone": "config.yaml:4",
        "model.backbone.alpha": "config.yaml:4",
        "sources.0": "config.yaml:6",
        "sources.1": "config.yaml:7",
        "sources.1.path": "config.yaml:8",
    }
    assert loaded.origins["batch.max_delay_ms"] == "default"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CLASSIFYD_BATCH__MAX_SIS", "3", "did you mean CLASSIFYD_BATCH__MAX_SIZE?"),
        ("CLASSIFYD_SOURCES__0", "3", "give CLASSIFYD_SOURCES the whole value"),
        ("CLASSIFYD_BATCH__MAX_SIZE", "many", "CLASSIFYD_BATCH__MAX_SIZE: batch.max_size: must be"),
        ("CLASSIFYD_SINKS", "[a", "CLASSIFYD_SINKS: is not a YAML value"),
    ],
)
def test_a_wrong_variable_is_named(write, name, value, expected):
    assert expected in complaint(write(""), {name: value})


def test_a_variable_does_not_hide_a_section_that_is_wrong(write):
    message = complaint(write("batch: 3"), {"CLASSIFYD_BATCH__MAX_SIZE": "3"})
    assert message == "config.yaml:1: batch: must be keys with values, got 3"


def test_the_schema_describes_options_of_plugins():
    class Inner(Options):
        deep: int = 1

    class FolderOptions(Options):
        path: ConfigPath
        inner: Inner = Inner()

    schema = json_schema({"sources": {"folder": FolderOptions, "bare": Options}})
    names, folder, bare = schema["$defs"]["sources"]["oneOf"]
    assert names == {"enum": ["bare"]}, "a plugin with a required option has no bare name"
    assert folder["required"] == ["name", "path"]
    assert folder["properties"]["inner"]["$ref"].removeprefix("#/$defs/") in schema["$defs"]
    assert bare["properties"] == {"name": {"const": "bare"}}
    assert schema["properties"]["sources"]["items"] == {"$ref": "#/$defs/sources"}
    assert schema["properties"]["sources"]["default"] == [{"name": "folder", "path": "inbox"}]
    json.dumps(schema)


def test_the_schema_knows_every_key_of_the_shipped_file():
    schema = json_schema({})
    shipped = yaml.safe_load(DEFAULT_TEMPLATE.read_text())
    assert set(shipped) == set(schema["properties"])
    for name, value in shipped.items():
        if isinstance(value, dict):
            section = schema["properties"][name]["$ref"].rpartition("/")[2]
            assert set(value) == set(schema["$defs"][section]["properties"])


def test_config_check_names_mistakes_in_plugin_options_too(write):
    write("sources:\n- name: folder\n  pth: a\n")
    ended = CliRunner().invoke(config_command, ["check"])
    assert isinstance(ended.exception, ConfigError)
    assert "config.yaml:3: sources.0.pth: unknown key; did you mean path?" in str(ended.exception)
    write("")
    assert CliRunner().invoke(config_command, ["check"]).output == "config.yaml: nothing is wrong\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "sources:\n- {name: folder, path: a}\n- {name: folder, path: b, title: a}\n",
            "config.yaml:3: sources.1: is called 'a' like sources.0; give it another `title`",
        ),
        (
            "sources: [{name: folder, path: a, title: labels}]\n",
            "labels.folder: is called 'labels' like sources.0",
        ),
        (
            "sources:\n- name: folder\n  path: .\n",
            "config.yaml:3: sources.0.path: the labels folder",
        ),
        ("labels:\n  folder: inbox/a\n", "config.yaml:2: labels.folder: the labels folder"),
        ("executor: {name: local, workers: yes}\n", "workers: must be a number, got true"),
        ("sinks: [{name: jsonl, path: .}]\n", "sinks.0.path: must be the path of a file, not of a"),
        ("sinks: [{name: jsonl, path: x, max_mb: .inf}]\n", "max_mb: must be a finite number"),
        ("sources: [{name: folder, path: ' '}]\n", 'sources.0.path: must be a path, got " "'),
        (
            "sources: [{name: folder, path: a, title: []}]\n",
            "0.title: must be text, got []",
        ),
        ("database: postgresql://host/name\n", "'postgresql' is not supported"),
        ("metrics: {port: 0}\n", "metrics.port: must be a whole number from 1 to 65535, or null"),
        ("metrics: {host: 'a b'}\n", "metrics.host: must be an address"),
        (
            "retrain: {strategy: {name: auto, strategies: [probe, finetun]}}\n",
            "strategies.1: there is no retrainer finetun; did you mean finetune? (known: auto,",
        ),
        ("retrain: {strategy: {name: auto, favourite: a}}\n", "favourite: there is no retrainer a"),
        (
            "retrain: {strategy: {name: auto, strategies: [auto]}}\n",
            "strategy.strategies: auto cannot try itself",
        ),
    ],
)
def test_config_check_refuses_what_would_end_the_start(write, text, says):
    write(text)
    ended = CliRunner().invoke(config_command, ["check"])
    assert isinstance(ended.exception, ConfigError) and says in str(ended.exception)


SMALL = "{name: mobilenet_v2, alpha: 0.3}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "model:\n  backbone: vgg16\n  weights: imagnet\n",
            "config.yaml:3: model.weights: must be auto, imagenet, none (all that backbone 'vgg16' "
            'offers) or the path of an existing file, got "imagnet"; did you mean imagenet?',
        ),
        ("model: {weights: image-net, backbone: vgg16}\n", "did you mean imagenet?"),
        (
            "model: {weights: imagenet}\n",
            "config.yaml:1: model.weights: must be auto, bundled, none",
        ),
        ("model: {weights: w/no.weights.h5}\n", 'w/no.weights.h5"; there is no such file: put'),
        ("model: {image_size: [64, 32]}\n", "config.yaml:1: model.image_size: must be at least 48"),
        (
            f"model:\n  backbone: {SMALL}\n",
            "config.yaml:2: model.backbone: backbone 'mobilenet_v2' with alpha 0.3 has no ImageNet "
            "weights: choose alpha 0.35, 0.5,",
        ),
    ],
)
def test_config_check_refuses_a_model_whose_parts_do_not_fit(write, text, says):
    write(text)
    ended = CliRunner().invoke(config_command, ["check"])
    assert isinstance(ended.exception, ConfigError) and says in str(ended.exception)


def test_weights_of_a_file_and_a_width_without_weights_are_fine(write, tmp_path):
    (tmp_path / "small.h5").touch()
    for weights in ("none", "small.h5"):
        write(f"model: {{backbone: {SMALL}, weights: {weights}}}\n")
        assert CliRunner().invoke(config_command, ["check"]).exception is None


def test_config_show_lists_values_in_force_with_their_origin(write, tmp_path, monkeypatch):
    write("sources:\n- name: folder\n  path: a\n")
    monkeypatch.setenv("CLASSIFYD_BATCH__MAX_SIZE", "16")
    ended = CliRunner().invoke(config_command, ["show", "--format", "json"], catch_exceptions=False)
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(ended.stdout)}
    assert rows["batch.max_size"] == (16, "CLASSIFYD_BATCH__MAX_SIZE")
    assert rows["sources.0"] == ("folder", "config.yaml:2")
    assert rows["sources.0.path"] == (str(tmp_path / "a"), "config.yaml:3")
    assert rows["sources.0.recursive"] == (True, "default"), "options not given are shown too"
    table = CliRunner().invoke(config_command, ["show"]).stdout.splitlines()
    assert table[0].split() == ["key", "value", "origin"]
    assert len(table) == len(rows) + 1


def test_config_schema_needs_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    schema = json.loads(CliRunner().invoke(config_command, ["schema"]).stdout)
    variants = schema["$defs"]["backbones"]["oneOf"]
    assert "alpha" in next(v for v in variants if v.get("title") == "mobilenet_v2")["properties"]


def test_reading_the_configuration_loads_nothing_heavy():
    heavy = "{'keras', 'tensorflow', 'numpy', 'PIL', 'sqlalchemy', 'plugins'}"
    script = f"import sys, daemon.config; sys.exit(repr(sorted({heavy} & set(sys.modules))))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert ended.stderr.strip() == b"[]"
