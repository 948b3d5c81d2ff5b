"""`classifyd service`: a systemd unit made from the configuration."""

import os
import pwd
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from daemon.cli.common import config_option
from daemon.errors import UsageError, way_out

if TYPE_CHECKING:
    from daemon.unit import Unit

ACCOUNT = "classifyd"
_SYSTEM = Path("/etc/systemd/system")
_ACCOUNTS = Path("/etc/sysusers.d/classifyd.conf")
Function = TypeVar("Function", bound=Callable[..., Any])


@click.group()
def service() -> None:
    """Print or install a systemd unit for the daemon."""


def _unit_options(command: Function) -> Function:
    for option in (
        config_option,
        click.option(
            "--account",
            metavar="USER",
            default=ACCOUNT,
            show_default=True,
            help="Whose rights a system unit has.",
        ),
        click.option(
            "--name", metavar="NAME", help="One of several: the unit is classifyd@NAME.service."
        ),
        click.option(
            "--user", "own", is_flag=True, help="For your own systemd, without other rights."
        ),
    ):
        command = option(command)
    return command


@service.command(name="print")
@_unit_options
def print_(config: Path | None, own: bool, name: str | None, account: str) -> None:
    """Print the unit; its paths and addresses are what the configuration needs.

    \b
    Examples:
      classifyd service print --config /etc/classifyd/config.yaml
      classifyd service print --user            for your own systemd
    """
    from daemon.unit import unit_text

    click.echo(unit_text(_unit(config, name, None if own else account)), nl=False)


@service.command()
@_unit_options
def install(config: Path | None, own: bool, name: str | None, account: str) -> None:
    """Write the unit where systemd looks, and say how to go on; nothing is started.

    \b
    Examples:
      sudo classifyd service install --config /etc/classifyd/config.yaml
      classifyd service install --user                      for your own systemd
      sudo classifyd service install --name cats --config /etc/classifyd/cats.yaml
    """
    from daemon.unit import account_text, unit_text

    unit = _unit(config, name, None if own else account)
    path = _folder(own) / f"classifyd{f'@{name}' if name else ''}.service"
    _write(path, unit_text(unit))
    is_new = not own and not _is_known(account)
    if is_new:
        _write(_ACCOUNTS, account_text(account))
    click.echo("Next:")
    for line in _next_steps(unit, path.name, is_new):
        click.echo(f"  {line}")


def _unit(config: Path | None, name: str | None, account: str | None) -> "Unit":
    from daemon.app import make_catalogue
    from daemon.config import load
    from daemon.unit_needs import unit_of

    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9:_.-]*", name):
        raise UsageError(f"--name {name!r} must be letters, digits and any of : _ . -")
    if account is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", account):
        raise UsageError(f"--account {account!r} must be the name of a user")
    loaded = load(config, {})  # the service will not have the variables of this shell
    catalogue = make_catalogue(loaded.settings)
    catalogue.validate(loaded.settings, loaded.base, loaded.origins)
    command = _command()
    programs = [Path(command[0]), Path(sys.executable).resolve()]
    return unit_of(loaded, catalogue, command, programs, name, account)


def _command() -> tuple[str, ...]:
    """Return how systemd, which knows no environment, calls this program."""
    here = shutil.which(sys.argv[0])
    if here is not None and Path(here).name == "classifyd":
        return (str(Path(here).absolute()),)
    return (sys.executable, "-m", "daemon")


def _folder(own: bool) -> Path:
    if not own:
        return _SYSTEM
    home = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(home) / "systemd" / "user"


def _write(path: Path, text: str) -> None:
    """Write a file of ours whole or not at all; one that somebody else made is left alone."""
    from daemon.unit import MARK

    try:
        if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
            raise UsageError(
                f"{path}: was not made by classifyd; remove it, or print the unit and put it where"
                " you want it: classifyd service print"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written ({error.strerror}); {way_out(error)}: call it with sudo,"
            " or install for your own systemd: classifyd service install --user"
        ) from error
    click.echo(f"{path}: written")


def _is_known(account: str) -> bool:
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True


def _next_steps(unit: "Unit", name: str, is_new: bool) -> Iterator[str]:
    from daemon.unit import own_folders

    manager = "systemctl" if unit.account else "systemctl --user"
    if is_new:
        yield f"systemd-sysusers                   make the account {unit.account}"
    if unit.account is not None:
        for path in own_folders(unit):
            yield f"install -d -o {unit.account} -g {unit.account} {path}"
        for path in unit.reads:
            yield f"setfacl -R -m u:{unit.account}:rX {path}   where {unit.account} may not read it"
        if unit.sees_homes:
            yield f"chmod o+x HOME                     part of it is in one: let {unit.account} in"
    else:
        yield "loginctl enable-linger             run without being logged in"
    yield f"{manager} daemon-reload"
    yield f"{manager} enable --now {name}"
    yield f"{manager} status {name}"
    journal = "journalctl" if unit.account else "journalctl --user"
    yield f"{journal} -u {name} -f"
