"""Shell completions of ids, artifacts, tables and columns of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

    from kymflow_zarr import ZarrDataset

__all__ = ["complete_artifacts", "complete_columns", "complete_ids", "complete_tables"]


def complete_ids(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete names and ids of images."""
    return _offer(ctx, incomplete, lambda ds: [*ds.image_names().values(), *ds.list_image_ids()])


def complete_tables(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete names of tables."""
    return _offer(ctx, incomplete, lambda ds: ds.list_table_names())


def complete_artifacts(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete names of artifacts of the image, or of all images if none was named."""

    def names(ds: ZarrDataset) -> list[str]:
        image_id = ctx.params.get("image_id")
        if image_id is None:
            return sorted(
                {name for names in ds.images(["artifacts"])["artifacts"] for name in names}
            )
        record = ds.find(image_id)
        return [info.name for info in record.list_artifacts()] + record.list_array_artifacts()

    return _offer(ctx, incomplete, names)


def complete_columns(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete columns of the list of images, in a comma-separated list after the last comma."""
    before, comma, last = incomplete.rpartition(",")
    names = _offer(ctx, last, lambda ds: list(map(str, ds.images().columns)))
    return [f"{before}{comma}{name}" for name in names]


def _offer(
    ctx: click.Context, incomplete: str, names: Callable[[ZarrDataset], list[str]]
) -> list[str]:
    from kymflow_zarr import ZarrDataset

    try:
        # While an option still lacks its value, click stores the arguments here.
        dataset = ctx.params.get("dataset") or ctx.args[0]
        with ZarrDataset(dataset, mode="r") as ds:
            # A control character could reach the terminal, or split the reply to the shell.
            return [
                name for name in names(ds) if name.startswith(incomplete) and name.isprintable()
            ]
    except Exception:  # noqa: BLE001 - never print an error into the line being typed
        return []
