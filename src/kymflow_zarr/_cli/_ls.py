"""``kymflow-zarr ls``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kymflow_zarr._cli._options import dataset_argument, debug_option, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from kymflow_zarr import ZarrDataset

__all__ = ["list_images", "ls", "print_images"]

_GAP = 2
_MIN_SOURCE = 14


@click.command(short_help="List the images of a dataset.")
@dataset_argument
@json_option
@debug_option
@click.pass_context
def ls(ctx: click.Context, dataset: Path, as_json: bool) -> None:
    """List the images of DATASET, one line each, in the order they were acquired.

    On a terminal an id is shortened to what tells it from the others, which is enough for
    the other commands; in a pipe it is whole.

    \b
    Examples:
      kymflow-zarr ls all.zarr
      kymflow-zarr ls all.zarr | grep 20250722
      kymflow-zarr ls all.zarr --json | jq '.[].image_id'

    Exits with 1 if an image is broken.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr._cli._terminal import print_json, screen

    with ZarrDataset(dataset, mode="r") as ds:
        images = list_images(ds)
    if as_json:
        print_json(images)
    elif images:
        print_images(screen(), images)
    else:
        click.echo(f"{dataset} holds no images yet; kymflow-zarr ingest brings some in.")
    if any("error" in image for image in images):
        ctx.exit(1)


def list_images(dataset: ZarrDataset) -> list[dict[str, Any]]:
    """Return the facts of each image; of a broken one, its id and what is wrong."""
    from kymflow_zarr import KymflowZarrError
    from kymflow_zarr._cli._facts import image_facts

    images = []
    for record in dataset.iter_records(order_by="acquired_local_epoch_ns"):
        try:
            images.append(image_facts(record))
        except KymflowZarrError as error:
            images.append({"image_id": record.image_id, "error": str(error)})
    return images


def print_images(console: Console, images: Sequence[dict[str, Any]]) -> None:
    """Print a table of images, one line each; what a narrow terminal cannot hold is left out."""
    from rich.text import Text

    from kymflow_zarr._cli._facts import shortest_prefixes
    from kymflow_zarr._cli._terminal import add_column, new_table

    ids = [image["image_id"] for image in images]
    shown = shortest_prefixes(ids) if console.is_terminal else {key: key for key in ids}
    rows = {image["image_id"]: _cells(image) for image in images if "error" not in image}
    width = max(map(len, shown.values()))
    titles = _fit(list(rows.values()), console.width - width)
    table = new_table()
    add_column(table, "id", keep=True, style="cyan")
    for title in titles:
        add_column(table, title, keep=True, justify="right" if title == "shape" else "left")
    broken = [image for image in images if "error" in image]
    for image in images:
        cells = rows.get(image["image_id"])
        if cells is None:
            table.add_row(shown[image["image_id"]], Text("broken", "red"))
        else:
            # The end of a file name tells more than its beginning.
            values = [_last(cells[title], room) for title, room in titles.items()]
            table.add_row(shown[image["image_id"]], *values)
    console.print(table)
    for image in broken:
        name = (shown[image["image_id"]], "cyan")
        console.print(Text.assemble(name, " is broken: ", (image["error"], "red")))


def _cells(image: dict[str, Any]) -> dict[str, str]:
    from kymflow_zarr._cli._facts import axes_text, local_minute, shape_text, source_name

    return {
        "shape": shape_text(image["shape"]),
        "dtype": image["dtype"],
        "axes": axes_text(image["axes"]),
        "acquired": (image["acquired"] or "")[:16].replace("T", " "),
        "created": local_minute(image["created_utc"])[:10],
        "source": source_name(image["source"]),
    }


def _fit(rows: Sequence[dict[str, str]], width: int) -> dict[str, int]:
    """Return the columns that fit into a width, and the letters that each may have."""
    if not rows:
        return {}
    room = {title: max(len(title), *(len(row[title]) for row in rows)) for title in rows[0]}

    def excess() -> int:
        return sum(letters + _GAP for letters in room.values()) - width

    for title in ("created", "dtype", "axes", "acquired"):
        if excess() > max(0, room["source"] - _MIN_SOURCE):
            del room[title]
    room["source"] = max(1, room["source"] - max(0, excess()))
    return room


def _last(text: str, room: int) -> str:
    return text if len(text) <= room else "…" + text[len(text) - room + 1 :]
