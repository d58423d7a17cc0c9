"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["dataset_argument", "debug_option", "json_option"]


def _remember_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.meta["debug"] = value


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_remember_debug,
    help="Show the traceback of an error.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of text."
)

dataset_argument = click.argument("dataset", type=click.Path(path_type=Path))
