"""Replays the console blocks of a documentation page with the real program.

A page is read from top to bottom, as its reader would follow it:

- a `python` block whose first line is `# name.py` becomes that file; so does a `yaml` block whose
  first line is `# name.yaml`. Any other `yaml` block replaces those keys in `config.yaml`;
- in a `console` block a line after `$ ` is executed and what follows is what it prints, unless
  nothing does. `...` stands for anything in a line and, alone, for any lines. `^C` interrupts the
  daemon;
- `sh` blocks are not replayed: they fetch packages or need other rights (see `NOT_REPLAYED`).

The daemon listens on a free port, which takes the place of the default one in what is executed.

What cannot be the same twice is not compared: times, numbers with decimals, spaces, and on lines
of the bundled model, whose successor may see otherwise, the label and whether it is unknown.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from daemon.config.sections import MetricsSettings

NOT_REPLAYED = ("cd ", "make ", ". ", "python3.11 -m venv ", "sudo ", "echo ")
HOME = "/home/ada"
_PORT = str(MetricsSettings().port)
DEADLINE_S = 60.0
_LOOK_AGAIN_S = 20.0

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w./-]+\.(?:py|yaml))\n")
_DAEMON = ("make run", "classifyd run")
_LOOKS = ("classifyd results", "classifyd status", "classifyd why", "classifyd failed")
_LOOKS += ("classifyd models list", "sqlite3", "find", "head -n")
_VARIABLE = (
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?"), "TIME"),
    (re.compile(r"\d+\.\d+ ?%?"), "NUMBER"),
    (re.compile(r"-{3,}"), "---"),
)
_BUNDLED = re.compile(
    r"\b(airplane|automobile|bird|cat|deer|dog|frog|horse|ship|truck)\b(?!\.)(?=.*\bcifar10\b)"
)
_UNKNOWN = re.compile(r"\byes\s+(?=/.*\bcifar10\b)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line it begins at."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Step:
    """A command of a console block, and what the page says it prints."""

    command: str
    expected: str
    line: int


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(text)
    ]


def steps(block: Block) -> Iterator[Step]:
    """Split a console block at its prompts; `> ` continues a command."""
    command, expected, line = "", "", block.line
    for number, text in enumerate(block.text.splitlines(), block.line + 1):
        if text.startswith("$ ") or text == "^C":
            if command:
                yield Step(command, expected, line)
            command, expected, line = text.removeprefix("$ "), "", number
        elif text.startswith("> ") and not expected:
            command += "\n" + text.removeprefix("> ")
        else:
            expected += text + "\n"
    yield Step(command, expected, line)


def matches(expected: str, actual: str) -> bool:
    """Tell whether a command printed what the page says."""
    parts = []
    for line in _plain(expected):
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(re.escape(line).replace(r"\.\.\.", ".*") + r"\n")
    return re.fullmatch("".join(parts), "".join(f"{line}\n" for line in _plain(actual))) is not None


def _prints(step: Step, printed: str) -> bool:
    """Tell whether a step printed what it should; files dropped at once come in any order."""
    if matches(step.expected, printed):
        return True
    in_order = ("\n".join(sorted(_plain(text))) for text in (step.expected, printed))
    return step.command.startswith("classifyd results") and matches(*in_order)


def _plain(text: str) -> list[str]:
    for pattern, word in _VARIABLE:
        text = pattern.sub(word, text)
    lines = (_UNKNOWN.sub("", _BUNDLED.sub("LABEL", line)) for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line.strip()]


class Replay:
    """One reader at work in `~/classifyd`, beside whose configuration the page's files go.

    `compiled` holds forms of models that the daemon finds done when it starts.
    """

    def __init__(self, folder: Path, compiled: Path) -> None:
        self.home = folder
        self.work = folder / "classifyd"
        self.work.mkdir()
        self._compiled = compiled
        self._log = folder / "daemon.log"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._read = 0
        self._port = _free_port()

    def page(self, text: str) -> None:
        """Follow a page; fails at the first command that does not print what it says."""
        for block in blocks(text):
            if block.language == "console":
                for step in steps(block):
                    self._do(step)
            elif block.language in ("python", "yaml"):
                self._write(block)

    def close(self) -> None:
        """End the daemon where the page did not."""
        if self._daemon is not None and self._daemon.poll() is None:
            self._daemon.terminate()
            self._daemon.wait(DEADLINE_S)

    def _write(self, block: Block) -> None:
        if named := _FILE.match(block.text):
            path = self.work / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "yaml":
            config = self.work / "config.yaml"
            keys = yaml.safe_load(config.read_text()) | yaml.safe_load(block.text)
            config.write_text(yaml.safe_dump(keys))

    def _do(self, step: Step) -> None:
        if step.command in _DAEMON:
            self._start()
            self._await_log(step)
        elif step.command == "^C":
            self._interrupt()
            self._await_log(step)
        else:
            self._run(step)

    def _run(self, step: Step) -> None:
        """Run a command; one that only looks is run again until what it looks for is there."""
        end = time.monotonic() + _LOOK_AGAIN_S
        while True:
            done = subprocess.run(
                ["bash", "-c", step.command.replace(_PORT, self._port)],
                cwd=self.work,
                env=self._environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=DEADLINE_S,
            )
            printed = done.stdout.replace(str(self.home), HOME).replace(self._port, _PORT)
            if done.returncode == 0 and (not step.expected or _prints(step, printed)):
                return
            if not step.command.startswith(_LOOKS) or time.monotonic() > end:
                raise AssertionError(_difference(step, f"{printed}(exit code {done.returncode})"))

    def _start(self) -> None:
        """Start the daemon as `make run` does (a test holds it to that)."""
        command = [_program("classifyd"), "run", "--config", "config.yaml"]
        shutil.copytree(
            self._compiled, self.work / "state" / self._compiled.name, dirs_exist_ok=True
        )
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(
                command, cwd=self.work, env=self._environment(), stdout=log, stderr=log
            )
        self._read = 0

    def _interrupt(self) -> None:
        assert self._daemon is not None
        self._read = self._log.stat().st_size
        self._daemon.send_signal(signal.SIGINT)
        assert self._daemon.wait(DEADLINE_S) == 0

    def _await_log(self, step: Step) -> None:
        """Wait until the daemon has printed what the page says."""
        assert self._daemon is not None
        end = time.monotonic() + DEADLINE_S
        while not matches(step.expected, printed := self._new_log()):
            if self._daemon.poll() is not None or time.monotonic() > end:
                raise AssertionError(_difference(step, printed))
            time.sleep(0.1)

    def _new_log(self) -> str:
        return self._log.read_bytes()[self._read :].decode().replace(str(self.home), HOME)

    def _environment(self) -> Mapping[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {
            name: value
            for name, value in os.environ.items()
            if "CLASSIFYD" not in name and name != "KERAS_HOME"
        }
        ours = {"HOME": str(self.home), "PATH": path, "COLUMNS": "200"}
        return own | ours | {"CLASSIFYD_METRICS__PORT": self._port}


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _difference(step: Step, printed: str) -> str:
    return (
        f"line {step.line}: $ {shlex.quote(step.command)}\n"
        f"--- the page says\n{step.expected}--- it printed\n{printed}"
    )
