"""The command line: one small module a command, each imported only when it is called.

Nothing is taken from `daemon/__init__.py`: PyPI's python-daemon overwrites that file, and
`classifyd doctor` must still run to say so.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from daemon.errors import EXIT_TRY_AGAIN, ClassifydError, is_full
from daemon.text import printable

_COMMANDS = {
    "run": "daemon.cli.run",
    "scan": "daemon.cli.scan",
    "results": "daemon.cli.results",
    "why": "daemon.cli.why",
    "failed": "daemon.cli.failed",
    "retry": "daemon.cli.failed",
    "label": "daemon.cli.label",
    "labels": "daemon.cli.labels",
    "review": "daemon.cli.review",
    "status": "daemon.cli.status",
    "sinks": "daemon.cli.sinks",
    "doctor": "daemon.cli.doctor",
    "retrain": "daemon.cli.retrain",
    "runs": "daemon.cli.runs",
    "models": "daemon.cli.models",
    "advise": "daemon.cli.advise",
    "config": "daemon.cli.config",
    "plugins": "daemon.cli.plugins",
    "db": "daemon.cli.db",
    "service": "daemon.cli.service",
    "prune": "daemon.cli.prune",
    "init": "daemon.cli.init",
    "demo": "daemon.cli.demo",
    "completion": "daemon.cli.completion",
}


_PLUGINS = "classifyd.plugin_commands"


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for.

    Plugins' own commands are looked up only for a name that is not built in, and for `--help`,
    so that everyday commands need not load plugins.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the built-in commands in their order, then those of plugins."""
        return [*_COMMANDS, *sorted(_plugin_commands(ctx))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, None when nobody offers it."""
        if cmd_name not in _COMMANDS:
            return _plugin_commands(ctx).get(cmd_name)
        module = importlib.import_module(_COMMANDS[cmd_name])
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was asked for; click knows no names but those imported already,
        so what is close to a wrong one is told here."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            from daemon.config.problems import nearest

            ctx.fail(f"there is no command {name}{nearest(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def _plugin_commands(ctx: click.Context) -> Mapping[str, click.Command]:
    """Load the commands of plugins, once for each call of the program."""
    from daemon.app import add_plugin_commands

    if _PLUGINS not in ctx.meta:
        group = click.Group()
        try:
            add_plugin_commands(group, tuple(_COMMANDS))
        except ClassifydError as error:
            if not ctx.resilient_parsing:  # completing, where nothing may be said
                click.echo(f"classifyd: commands of plugins are left out: {error}", err=True)
        ctx.meta[_PLUGINS] = group.commands
    commands: Mapping[str, click.Command] = ctx.meta[_PLUGINS]
    return commands


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="classifyd", prog_name="classifyd")
def cli() -> None:
    """Classify the images dropped into watched folders; query what was seen.

    \b
    Begin with:
      classifyd demo                    watch the whole story in a minute
      classifyd init                    write a commented config.yaml, make folders
      classifyd run                     start the daemon
      cp photos/*.jpg inbox/            drop images into a watched folder
      classifyd results                 read labels and confidences
    """


def main() -> None:
    """Run the command line; errors a user can mend are printed in one line, without traceback."""
    try:
        cli.main(standalone_mode=False)
    except ClassifydError as error:
        said = "\n".join(map(printable, f"classifyd: {error}".split("\n")))
        click.echo(_as_error(said), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has gone: not an error; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if not is_full(error):
            raise
        where = error.filename2 or error.filename or "a file"
        click.echo(f"classifyd: {where}: {error.strerror}; make room on its disk", err=True)
        sys.exit(EXIT_TRY_AGAIN)


def _as_error(text: str) -> str:
    """Return a text as an error of systemd's journal, where it goes there."""
    import logging

    from daemon.logs import to_journal, with_priority

    return with_priority(text, logging.ERROR) if to_journal() else text


def config_from_arguments(arguments: list[str]) -> Path | None:
    """Find `--config FILE` among raw arguments, for what must know it before click parses."""
    for position, argument in enumerate(arguments):
        if argument == "--config" and position + 1 < len(arguments):
            return Path(arguments[position + 1])
        if argument.startswith("--config="):
            return Path(argument.split("=", 1)[1])
    return None
