"""``kymflow-zarr completion``."""

from __future__ import annotations

import click

from kymflow_zarr.cli.options import debug_option

__all__ = ["completion"]


@click.command(short_help="Print what makes the shell complete commands.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@debug_option
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete commands, options, image ids and tables.

    \b
    Examples:
      eval "$(kymflow-zarr completion bash)"     in ~/.bashrc
      eval "$(kymflow-zarr completion zsh)"      in ~/.zshrc
      kymflow-zarr completion fish > ~/.config/fish/completions/kymflow-zarr.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # click has each of the choices
    program = "kymflow-zarr"
    click.echo(kind(ctx.find_root().command, {}, program, "_KYMFLOW_ZARR_COMPLETE").source())
