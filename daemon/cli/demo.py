"""`classifyd demo`: the whole story in a minute, on drawings of its own."""

import click


@click.command()
@click.option("--keep", is_flag=True, help="Keep the folder, and say where it is.")
@click.pass_context
def demo(ctx: click.Context, keep: bool) -> None:
    """Play the whole story in about a minute: classify, label, retrain, query.

    A real daemon works in a temporary folder, on drawings made for it, with the model in the box.
    Nothing is downloaded, nothing outside that folder is touched, and nothing is left behind.
    Ctrl-C ends it at any time.

    \b
    Examples:
      classifyd demo                    watch it
      classifyd demo --keep             look around in the folder afterwards
    """
    from rich.console import Console

    from daemon.clock import SystemClock
    from daemon.demo.stage import temporary_stage
    from daemon.demo.story import Story
    from daemon.demo.telling import Teller
    from daemon.quiet import hush_pillow

    hush_pillow()
    clock, teller = SystemClock(), Teller(Console(highlight=False))
    began, said, kept = clock.elapsed(), "Stopped after", None
    try:
        with temporary_stage(keep) as stage:
            kept = stage.folder if keep else None
            Story(stage, teller, _has(ctx, "explain")).play()
            said = "That took"
    finally:
        left = "The folder is kept:" if kept else "Nothing is left behind."
        teller.say(f"\n{said} {clock.elapsed() - began:.0f} s. {left}")
        if kept:
            teller.command(f"cd {kept}")
    teller.say("Now with images of your own:")
    teller.command("classifyd init photos")


def _has(ctx: click.Context, name: str) -> bool:
    """Tell whether this program has a command."""
    group = ctx.find_root().command
    return isinstance(group, click.Group) and group.get_command(ctx, name) is not None
