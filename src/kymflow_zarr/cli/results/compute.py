"""``kymflow-zarr compute``."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kymflow_zarr.cli.options import (
    choice_options,
    dataset_argument,
    debug_option,
    executor_of,
    json_option,
    workers_options,
)

__all__ = ["compute"]


@click.command(short_help="Compute a result where it is missing or out of date.")
@dataset_argument
@click.argument("function", metavar="MODULE:FUNCTION")
@click.option("--name", help="Of the result; that of the function if left out.")
@click.option("--params", metavar="JSON", default="{}", help='Parameters, as {"window": 16}.')
@click.option("--version", "program_version", default="", help="Version of the program.")
@click.option("--variant", help="Keep the result beside others of its name.")
@click.option(
    "--only",
    type=click.Choice(["stale", "missing", "all"]),
    default="stale",
    show_default=True,
    help="What to compute.",
)
@click.option("--roi", metavar="ID|all", help="Of this region, or of each.")
@click.option("--channel", metavar="N|all", help="Of this channel, or of each.")
@click.option("--into", "table", metavar="TABLE", help="A table that holds the rows of all.")
@click.option("--keep", type=click.IntRange(min=0), default=0, help="Replaced results to keep.")
@choice_options
@workers_options
@json_option
@debug_option
@click.pass_context
def compute(
    ctx: click.Context,
    dataset: Path,
    function: str,
    name: str | None,
    params: str,
    program_version: str,
    variant: str | None,
    only: Any,
    roi: str | None,
    channel: str | None,
    table: str | None,
    keep: int,
    ids: tuple[str, ...],
    where: tuple[str, ...],
    workers: int | None,
    processes: int | None,
    as_json: bool,
) -> None:
    """Call MODULE:FUNCTION for each image of DATASET whose result is missing or out of date.

    The module is found in the current folder or where Python finds it. What the function reads
    of its record is remembered, and what it returns is saved.

    \b
    Examples:
      kymflow-zarr compute all.zarr flow:velocity --params '{"window": 16}' --version 1.2
      kymflow-zarr compute all.zarr flow:velocity --roi all --into flow --processes 4

    Exits with 1 if the function failed for an image; the others are computed.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.look.images import chosen_ids
    from kymflow_zarr.cli.output.terminal import print_json, progress_bar

    called = _function(function)
    values = _values(params)
    with (
        ZarrDataset(dataset, mode="r+") as ds,
        executor_of(workers, processes) as executor,
        progress_bar("Computing") as progress,
    ):
        report = ds.compute(
            name or function.rpartition(":")[2].rpartition(".")[2],
            called,
            params=values,
            version=program_version,
            ids=chosen_ids(ds, ids, where),
            only=only,
            roi=_each("--roi", roi),
            channel=_each("--channel", channel),
            variant=variant,
            executor=executor,
            progress=progress,
            table=table,
            keep=keep,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(str(report))
    if not report.ok:
        ctx.exit(1)


def _function(text: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names."""
    module, colon, name = text.partition(":")
    if not colon or not module or not name:
        raise click.UsageError(f"{text!r} is not MODULE:FUNCTION, such as flow:velocity.")
    # As for `python -m`; the workers of --processes get the same list of folders.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        target: Any = importlib.import_module(module)
        for part in name.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError) as error:
        raise click.UsageError(f"there is no function {text!r}: {error}") from error
    if not callable(target):
        raise click.UsageError(f"{text!r} is no function.")
    function: Callable[..., Any] = target
    return function


def _values(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--params is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise click.UsageError('--params is a JSON object, such as {"window": 16}.')
    return values


def _each(option: str, text: str | None) -> Any:
    if text is None or text == "all":
        return text
    try:
        return int(text)
    except ValueError:
        raise click.UsageError(f"{option} is a number or all, not {text!r}.") from None
