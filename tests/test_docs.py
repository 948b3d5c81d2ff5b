"""The documentation is followed by a machine: its commands, its links, its tables, its figures."""

import inspect
import json
import re
import subprocess
from pathlib import Path
from random import Random

import click
import pytest
from learning import open_shop
from PIL import Image, ImageDraw
from transcripts import NOT_REPLAYED, Replay, blocks, matches, steps

import plugins
from daemon import cli, hookspecs
from daemon.app import ensure_active_model
from daemon.clock import utc_text
from daemon.serving import compiled_root, serving_setup
from daemon.store.models import Models

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RUNTIME = "openvino"
OPEN_SHOP = "database: classifyd.db\nstate_dir: state\nsources: []\n"
QUICK = ("README.md",)
ELSEWHERE = {"docs/how-to/query.md": "test_query_page.py"}
CAT_FLAP = {"cat": "saddlebrown", "empty": "lightgrey"}
FLOWERS = {"daisy": "white", "rose": "darkred", "tulip": "gold"}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def pages_to_replay():
    return [
        pytest.param(page, id=name(page), marks=() if name(page) in QUICK else pytest.mark.slow)
        for page in PAGES
        if "```console" in page.read_text() and name(page) not in ELSEWHERE
    ]


def draw(path: Path, seed: int, ground: str) -> None:
    """Draw a picture that looks like no other: discs on a coloured ground."""
    image = Image.new("RGB", (160, 120), ground)
    random = Random(f"{ground} {seed}")
    for _ in range(7):
        x, y, size = random.randrange(130), random.randrange(90), random.randrange(15, 45)
        colour = tuple(random.randrange(256) for _ in range(3))
        ImageDraw.Draw(image).ellipse((x, y, x + size, y + size), fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def draw_classes(folder: Path, classes: dict[str, str], count: int = 24) -> None:
    for label, ground in classes.items():
        for number in range(count):
            draw(folder / label / f"{number:02}.jpg", number, ground)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """The state folder's compiled forms of the bundled model, made once for all pages."""
    folder = tmp_path_factory.mktemp("compiled")
    wiring, engine = open_shop(folder, f"{OPEN_SHOP}runtime: {RUNTIME}\n")
    version = ensure_active_model(Models(engine), wiring.loaded.settings, utc_text(0))
    assert serving_setup(wiring, version).runtime == RUNTIME
    engine.dispose()
    return compiled_root(wiring)


@pytest.fixture
def reader(tmp_path, compiled):
    """A reader with some photographs and the default configuration, who follows a page.

    But for the runtime: a model is compiled for one alone, and the bundled one is already.
    """
    replay = Replay(tmp_path, compiled)
    default = (ROOT / "daemon" / "default.yaml").read_text("utf-8")
    assert "\nruntime: auto\n" in default
    named = default.replace("\nruntime: auto\n", f"\nruntime: {RUNTIME}\n")
    (replay.work / "config.yaml").write_text(named, "utf-8")
    for number, title in enumerate(("bird", "dog", "frog", "turtle")):
        draw(tmp_path / "Pictures" / f"{title}.jpg", number, "seagreen")
    draw_classes(tmp_path / "Pictures" / "cat-flap", CAT_FLAP)
    draw_classes(replay.work / "photos", FLOWERS)
    yield replay
    replay.close()


@pytest.mark.parametrize("page", pages_to_replay())
def test_every_command_of_a_page_prints_what_the_page_says(page, reader):
    reader.page(page.read_text())


def test_pages_replayed_elsewhere_are():
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / "tests" / test).read_text()


def test_make_run_is_the_command_that_is_replayed_for_it():
    shown = subprocess.run(
        ["make", "--no-print-directory", "-n", "run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert shown.stdout.splitlines()[-1].endswith("classifyd run --config config.yaml")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_that_are_not_replayed_need_the_network_or_other_rights(page):
    for block in blocks(page.read_text()):
        assert block.language not in ("bash", "shell"), "write `console` (replayed) or `sh`"
        if block.language == "sh":
            for line in block.text.splitlines():
                assert line.startswith(NOT_REPLAYED) or "/bin/" in line, line
                if line.startswith("make "):
                    dry = ["make", "--no-print-directory", "-n", *line.split()[1:]]
                    subprocess.run(dry, cwd=ROOT, capture_output=True, timeout=30, check=True)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text()), target


def anchors(text: str) -> set[str]:
    """Return the anchors that a Markdown reader makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
            waiting += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert set(PAGES) == reached


def commands() -> dict[str, click.Command]:
    """Return every command by the words that call it."""
    group = cli.cli
    context = click.Context(group)
    found = {}
    for title in group.list_commands(context):
        command = group.get_command(context, title)
        found[title] = command
        if isinstance(command, click.Group):
            found |= {f"{title} {inner}": each for inner, each in command.commands.items()}
    return found


def called(text: str) -> list[str]:
    """Return every call of classifyd on a page, in console blocks and in the running text."""
    lines = [
        step.command
        for block in blocks(text)
        if block.language == "console"
        for step in steps(block)
    ]
    lines += re.findall(r"`(classifyd [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [call for line in lines for call in re.findall(r"classifyd (?:[^|;&\"]+)", line)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_and_option_named_exists(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    known = commands()
    own = set(re.findall(r"@click\.command\(\"(\w+)\"\)", page.read_text()))
    for call in called(page.read_text()):
        words = call.split()[1:]
        if words[0] in own or words[0].startswith("-"):
            continue
        group = known.get(words[0])
        command = known.get(" ".join(words[:2]), group)
        assert command is not None, call
        if isinstance(group, click.Group) and len(words) > 1 and "|" not in words[1]:
            assert command is not group, call
        options = {option for parameter in command.params for option in parameter.opts}
        for option in re.findall(r"(?<=\s)--[\w-]+", call):
            assert option in options | {"--help"}, call


def test_the_table_of_hooks_is_the_contract():
    page = (ROOT / "docs" / "how-to" / "write-a-plugin.md").read_text()
    told = re.findall(r"^\| `(register_\w+\(.*?)` \|", page, re.MULTILINE)
    hooks = {title: f for title, f in vars(hookspecs).items() if title.startswith("register_")}
    assert told == [signature(hook) for hook in hooks.values()]


def signature(hook) -> str:
    text = f"{hook.__name__}{inspect.signature(hook)}"
    return text.replace("'", "").replace('"', "")


def test_the_readme_is_honest_about_the_bundled_model():
    bundle = Path(plugins.__file__).parent / "bundled" / "cifar10"
    manifest = json.loads((bundle / "manifest.json").read_text())
    text = " ".join((ROOT / "README.md").read_text().split())
    assert f"knows ten classes: {', '.join(manifest['classes'])}." in text
    metrics = manifest["metrics"]
    told = f"right on {metrics['test_top1']:.0%}".replace("%", " %")
    assert f"{told} of the {metrics['test_images']:,} test images" in text


@pytest.mark.parametrize(
    ("says", "prints", "is_so"),
    [
        ("a  1.5", "a 0.7\n", True),
        ("a 15", "a 16\n", False),
        ("at 2026-11-24 09:14:07 ok", "at 2027-01-01T00:00:00.000Z ok\n", True),
        ("first\n...\nlast", "first\nlast\n", True),
        ("first\n...\nlast", "first\nx\ny\nlast\n", True),
        ("first\n...\nlast", "first\nlast\nmore\n", False),
        ("done ... ago", "done 3 s ago\n", True),
        ("frog.jpg frog cifar10", "frog.jpg ship cifar10\n", True),
        ("frog.jpg frog mine", "frog.jpg ship mine\n", False),
    ],
)
def test_a_transcript_is_compared_but_for_what_varies(says, prints, is_so):
    assert matches(says, prints) is is_so
