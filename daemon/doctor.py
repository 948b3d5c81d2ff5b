"""Judging the surroundings: each check turns facts that others gathered into a finding.

Nothing here looks at the machine, so that every verdict can be tried on any machine.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Verdict(StrEnum):
    """How a check ended: `warn` can wait, `fail` keeps the daemon from its work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    verdict: Verdict
    says: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """What is known of a folder: whether it exists, and what this user may do there."""

    path: Path
    exists: bool
    is_readable: bool
    is_writable: bool
    has_parent: bool = True
    is_on_read_only_disk: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The daemon's last sign of life: `age_s` seconds ago, from a process alive or not."""

    pid: int
    phase: str
    age_s: float
    is_alive: bool


SILENT_S = 15.0
"""How old a heartbeat may be: the daemon beats every five seconds, and a long write may delay
one beat, but not three."""
_SPACE_WARN = 2_000_000_000
_INSTANCES = 8


def ok(check: str, says: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, says)


def warn(check: str, says: str, remedy: str) -> Finding:
    """Something that can wait."""
    return Finding(check, Verdict.WARN, says, remedy)


def fail(check: str, says: str, remedy: str) -> Finding:
    """Something that keeps the daemon from its work."""
    return Finding(check, Verdict.FAIL, says, remedy)


def check_python(version: tuple[int, int, int]) -> Finding:
    """Python must be 3.11 or newer."""
    text = ".".join(map(str, version))
    if version < (3, 11, 0):
        return fail("python", text, "install Python 3.11 or newer and make a new environment")
    return ok("python", text)


def check_distribution(python_daemon: str | None, foreign: Collection[str]) -> Finding:
    """PyPI's python-daemon installs a package of our name over ours.

    `python_daemon` is its installed version, `foreign` are its modules found in our package.
    """
    remedy = (
        "give classifyd an environment of its own; here: pip uninstall python-daemon, "
        "then pip install --force-reinstall --no-deps classifyd"
    )
    if foreign:
        return fail(
            "package", f"files of python-daemon lie in ours: {', '.join(sorted(foreign))}", remedy
        )
    if python_daemon is not None:
        says = f"python-daemon {python_daemon} is installed, whose package `daemon` is ours too"
        return warn("package", says, remedy)
    return ok("package", "`daemon` is classifyd's own")


def check_tensorflow(is_installed: bool) -> Finding:
    """The keras runtime needs TensorFlow."""
    if not is_installed:
        return fail("tensorflow", "is not installed", "pip install tensorflow")
    return ok("tensorflow", "is installed")


def check_processor(cpuinfo: str) -> Finding:
    """TensorFlow's x86 builds stop with an illegal instruction where AVX is missing.

    `cpuinfo` is the text of `/proc/cpuinfo`; other architectures list no `flags`.
    """
    flags = [line.split(":", 1)[1].split() for line in cpuinfo.splitlines() if _is_flags(line)]
    if flags and "avx" not in flags[0]:
        return fail(
            "processor",
            "has no AVX, which TensorFlow needs",
            "use a machine with AVX; in a virtual machine let the host's processor type through",
        )
    return ok("processor", "has AVX" if flags else "is not x86: nothing to check")


def _is_flags(line: str) -> bool:
    return line.split(":", 1)[0].strip() == "flags" and ":" in line


def check_source(folder: Folder) -> Finding:
    """A watched folder must exist and be readable."""
    name = f"source {folder.path}"
    if not folder.exists and folder.has_parent:
        return warn(name, "does not exist", "nothing to do: the daemon makes it")
    if not folder.exists:
        remedy = f"mount it, or mkdir -p {folder.path}; the daemon waits for it"
        return warn(name, f"does not exist, nor does {folder.path.parent}", remedy)
    if not folder.is_readable:
        return fail(
            name,
            "cannot be read by this user",
            f"let this user list it and read its files: chmod -R u+rX {folder.path}",
        )
    return ok(name, "can be read")


def check_place(what: str, folder: Folder, free_bytes: int, least: int) -> Finding:
    """Where the daemon writes: `folder` is the nearest that exists; room is in bytes, and with
    less than `least` no work is taken."""
    name = f"{what} {folder.path}"
    if folder.is_on_read_only_disk:
        remedy = f"mount it for writing, or name another place with `{what}:`"
        return fail(name, "is on a disk that is mounted for reading only", remedy)
    if not folder.is_writable:
        return fail(
            name,
            "cannot be written by this user",
            f"chown it to the daemon's user, or name another place with `{what}:`",
        )
    room = f"{free_bytes / 1e9:.1f} GB free"
    if free_bytes < least:
        says = f"{room}, less than disk.min_free: no files are taken"
        return fail(name, says, "make room (`classifyd prune`), or lower disk.min_free")
    if free_bytes < _SPACE_WARN:
        return warn(name, room, "make room soon: a full disk stops the recording of results")
    return ok(name, f"can be written, {room}")


def check_files(unwritable: Collection[Path]) -> Finding:
    """The database's own files must be writable too, not only their folder."""
    if not unwritable:
        return ok("database files", "can be written")
    names = " ".join(str(path) for path in sorted(unwritable))
    return fail("database files", f"cannot be written by this user: {names}", f"chmod u+w {names}")


def check_weights(trouble: str | None) -> Finding:
    """What the next training builds on; `trouble` says why the weights are not at hand."""
    if trouble is None:
        return ok("weights", "those for the next training are at hand")
    remedy = "without internet, copy them to where Keras keeps them, or take `backbone: compact`"
    return warn("weights", trouble, remedy)


def check_watches(most: int | None, folders: int, is_all: bool) -> Finding:
    """inotify needs one watch a folder; `folders` were counted, `is_all` unless cut short."""
    if most is None:
        return warn(
            "inotify", "is not there", "watch by polling: `watch: polling` in the source's options"
        )
    counted = f"{folders:,}{'' if is_all else ' or more'} folders, {most:,} watches"
    raise_it = f"sysctl fs.inotify.max_user_watches={max(524_288, 2 * folders)}"
    if folders >= most:
        return fail("inotify", counted, f"{raise_it} (and in /etc/sysctl.d/), or watch by polling")
    if folders > most // 2:
        return warn("inotify", counted, f"other programs use watches too: {raise_it}")
    return ok("inotify", counted)


def check_instances(most: int | None, sources: int) -> Finding:
    """Each watched folder takes one inotify instance of this user."""
    if most is not None and most < sources + _INSTANCES:
        return warn(
            "inotify instances",
            f"{most} for {sources} sources and all else of this user",
            "sysctl fs.inotify.max_user_instances=512",
        )
    return ok("inotify instances", "not limited" if most is None else f"{most}")


def check_integrity(problems: list[str] | None) -> Finding:
    """`problems` are SQLite's words, none when sound; None where the look was cut short."""
    if problems is None:
        says = "large: only its beginning was looked at"
        return ok("database integrity", f"{says}; `classifyd db check` reads all of it")
    if problems:
        return fail(
            "database integrity",
            "; ".join(problems[:3]),
            "stop the daemon and restore a backup from the state folder",
        )
    return ok("database integrity", "sound")


def check_daemon(beat: Heartbeat | None) -> Finding:
    """A daemon should be running on this database."""
    start = "start it: `classifyd run`"
    if beat is None:
        return warn("daemon", "has never run", start)
    if beat.phase == "stopped" or not beat.is_alive:
        return warn("daemon", "is not running", start)
    if beat.age_s > SILENT_S:
        return fail(
            "daemon",
            f"process {beat.pid} has given no sign of life for {beat.age_s:.0f} s",
            f"look at its log; kill {beat.pid} and start it again: no file is lost",
        )
    return ok("daemon", f"is {beat.phase} (process {beat.pid})")


def check_metrics(
    port: int | None, trouble: tuple[str, str] | None, holder: int | None, daemon: int | None
) -> Finding:
    """The port of the metrics must be free, or the running daemon's own.

    `trouble` says why it cannot be listened on, and the remedy; `holder` is the process that
    listens there and `daemon` the one that runs, as far as they are known.
    """
    if port is None:
        return ok("metrics", "are switched off")
    if trouble is None:
        return ok("metrics", f"port {port} is free")
    if daemon is not None and holder in (daemon, None):
        return ok("metrics", f"port {port} is the daemon's (process {daemon})")
    return fail("metrics", *trouble)
