"""The text of a systemd unit: one template, filled with what a configuration needs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import PurePath

_SYSTEM_FOLDERS = {
    "StateDirectory": PurePath("/var/lib"),
    "LogsDirectory": PurePath("/var/log"),
}

_RUNNING = """\
# A model that has to be compiled first, or a database that is upgraded, asks for more time.
TimeoutStartSec=300
# Past 30 seconds the batches in hand are given up; they are queued again at the next start.
TimeoutStopSec=60
# Fed while the oldest batch, the model being loaded and every stage get on.
WatchdogSec=120
Restart=on-failure
RestartSec=30
# A wrong configuration stays wrong.
RestartPreventExitStatus=2
# A worker or a training run that is lost does not end the service; its processes end with it.
OOMPolicy=continue
KillMode=mixed
SyslogIdentifier=%N
UMask=0027

# A quarter is left to others. A training run stays within retrain.max_memory_mb by itself, and
# is what the kernel takes first.
MemoryHigh=75%
MemoryMax=85%
TasksMax=1024
LimitCORE=0
"""

_HARDENED_FOR_ALL = """\
# MemoryDenyWriteExecute= has to be left out: TensorFlow and OpenVINO make code while they run.
NoNewPrivileges=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @mount @reboot @swap @debug @cpu-emulation @obsolete
SystemCallErrorNumber=EPERM
"""

_HARDENED_FOR_SYSTEM = """\
CapabilityBoundingSet=
AmbientCapabilities=
PrivateMounts=yes
PrivateUsers=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
PrivateIPC=yes
ProtectSystem=strict
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
KeyringMode=private
RemoveIPC=yes
"""


class Network(StrEnum):
    """How far a service must reach: not at all, this machine itself, or any other."""

    NONE = "none"
    LOOPBACK = "loopback"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit is made of; paths are absolute, and texts as systemd reads them (`quoted`).

    `command` is the program with what comes before its subcommand; `cache` is the name of a folder
    of its own in /var/cache, for whatever libraries keep there; `keeps` are the folders of
    the state and the database, which are among `writes`. `sees_homes` tells that
    something of all this lies in a person's home. `account` is the user it runs as, None
    for a unit of a user's own manager.
    """

    title: str
    command: tuple[str, ...]
    config: str
    cache: str
    keeps: tuple[str, ...]
    writes: tuple[str, ...]
    reads: tuple[str, ...] = ()
    network: Network = Network.NONE
    sees_homes: bool = False
    account: str | None = None


MARK = "# Made by `classifyd service print`"


def account_text(account: str) -> str:
    """Return what `systemd-sysusers` makes an account of."""
    return f'{MARK}\nu {account} - "classifyd" /var/lib/classifyd\n'


def unit_text(unit: Unit) -> str:
    """Return the whole unit file."""
    return "\n".join(chain(_about(unit), _service(unit), _install(unit))) + "\n"


def quoted(text: str) -> str:
    """Write a path or an argument so that systemd takes it as it is."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    plain = escaped == text.replace("%", "%%") and not any(c.isspace() or c in "';" for c in text)
    return escaped if plain and text else f'"{escaped}"'


def _about(unit: Unit) -> Iterator[str]:
    yield f"{MARK}; put changes of your own into a drop-in:"
    yield "# `systemctl edit` keeps them when this file is written anew."
    yield "[Unit]"
    yield f"Description={unit.title}"
    if unit.network is Network.ANY:
        yield "Wants=network-online.target"
        yield "After=network-online.target"
    if unit.account is not None:
        yield f"RequiresMountsFor={' '.join(unit.keeps)}"
    yield "# Given up after ten minutes of failing at every start."
    yield "StartLimitIntervalSec=30min"
    yield "StartLimitBurst=20"
    yield ""


def _service(unit: Unit) -> Iterator[str]:
    yield "[Service]"
    yield "Type=notify"
    yield f"ExecStart={' '.join(unit.command)} run --config {unit.config}"
    yield "ExecReload=/bin/kill -HUP $MAINPID"
    if unit.account is not None:
        yield f"User={unit.account}"
    yield from _RUNNING.splitlines()
    yield ""
    yield from _HARDENED_FOR_ALL.splitlines()
    if unit.account is not None:
        yield from _HARDENED_FOR_SYSTEM.splitlines()
        yield from _folders(unit)
    yield from _network(unit)
    yield ""


def _folders(unit: Unit) -> Iterator[str]:
    """Yield what may be written and what only read; the rest of the disk is read-only anyway."""
    yield ""
    for key, root in _SYSTEM_FOLDERS.items():
        if names := [*_below(root, unit.writes)]:
            yield f"{key}={' '.join(names)}"
            yield f"{key}Mode=0750"
    yield f"CacheDirectory={unit.cache}"
    yield f"Environment=XDG_CACHE_HOME=/var/cache/{unit.cache}"
    if PurePath(unit.config).parent.is_relative_to("/etc/classifyd"):
        yield "ConfigurationDirectory=classifyd"
    yield f"ProtectHome={'read-only' if unit.sees_homes else 'yes'}"
    if others := own_folders(unit):
        yield f"ReadWritePaths={' '.join(others)}"
    if unit.reads:
        yield f"ReadOnlyPaths={' '.join(f'-{path}' for path in unit.reads)}"


def own_folders(unit: Unit) -> list[str]:
    """Return the folders that are written in and that systemd does not make."""
    made = {
        str(root / name) for root in _SYSTEM_FOLDERS.values() for name in _below(root, unit.writes)
    }
    return [path for path in unit.writes if not any(_is_below(path, PurePath(m)) for m in made)]


def _below(root: PurePath, paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths below a folder of systemd's, relative to it, none of them in another."""
    found: list[PurePath] = []
    for path in sorted(PurePath(path) for path in paths):
        is_new = not any(path.is_relative_to(other) for other in found)
        if is_new and path.is_relative_to(root) and path != root and '"' not in str(path):
            found.append(path)
            yield str(path.relative_to(root))


def _is_below(path: str, folder: PurePath) -> bool:
    return PurePath(path.strip('"')).is_relative_to(folder)


def _network(unit: Unit) -> Iterator[str]:
    """Yield the families of addresses; processes of one service talk over AF_UNIX."""
    is_any = unit.network is Network.ANY
    families = "AF_UNIX" if unit.network is Network.NONE else "AF_UNIX AF_INET AF_INET6"
    yield f"RestrictAddressFamilies={families}{' AF_NETLINK' if is_any else ''}"
    if unit.network is Network.NONE and unit.account is not None:
        yield "PrivateNetwork=yes"
    if not is_any and unit.account is not None:
        yield "IPAddressDeny=any"
    if unit.network is Network.LOOPBACK and unit.account is not None:
        yield "IPAddressAllow=localhost"


def _install(unit: Unit) -> Iterator[str]:
    yield "[Install]"
    yield f"WantedBy={'default' if unit.account is None else 'multi-user'}.target"
