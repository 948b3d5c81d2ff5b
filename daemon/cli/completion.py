"""`classifyd completion`: what makes a shell complete commands and options."""

import click


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands and options with the tab key.

    \b
    bash, in ~/.bashrc:
      eval "$(classifyd completion bash)"
    zsh, in ~/.zshrc, after compinit:
      eval "$(classifyd completion zsh)"
    fish:
      classifyd completion fish > ~/.config/fish/completions/classifyd.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(ctx.find_root().command, {}, "classifyd", "_CLASSIFYD_COMPLETE").source())
