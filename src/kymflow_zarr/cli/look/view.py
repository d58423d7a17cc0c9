"""``kymflow-zarr view``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kymflow_zarr.cli.complete import complete_ids
from kymflow_zarr.cli.options import dataset_argument, debug_option, json_option

if TYPE_CHECKING:
    from kymflow_zarr import ZarrDataset, ZarrImageRecord

__all__ = ["view"]


@click.command(short_help="Look at a dataset in the browser.")
@dataset_argument
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where it listens. Any other than this machine asks for the token in the address.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="A free one if left out, or 0.",
)
@click.option("--edit", is_flag=True, help="Images can be judged, regions and notes changed.")
@click.option("--as", "who", metavar="NAME", help="Name for the history; yours by default.")
@click.option("--blind", is_flag=True, help="Hide names, dates and metadata; images have codes.")
@click.option(
    "--by",
    metavar="COLUMNS",
    help="What is hidden, as the history names it: condition,date. All metadata if left out.",
)
@click.option(
    "--list",
    "worklist",
    metavar="NAME",
    help="Show the images of a saved worklist, or of a list file (.csv), in its order.",
)
@click.option("--read-only", is_flag=True, help="Write nothing at all, not even thumbnails.")
@click.option("--no-browser", is_flag=True, help="Print the address and open nothing.")
@click.option(
    "--url",
    "image_id",
    metavar="ID",
    shell_complete=complete_ids,
    help="Print the address of an image as OME-Zarr, for other viewers, and serve it.",
)
@json_option
@debug_option
def view(
    dataset: Path,
    host: str,
    port: int,
    edit: bool,
    who: str | None,
    blind: bool,
    by: str | None,
    worklist: str | None,
    read_only: bool,
    no_browser: bool,
    image_id: str | None,
    as_json: bool,
) -> None:
    """Serve a page that shows DATASET in a browser, from this machine, until Ctrl-C.

    \b
    Examples:
      kymflow-zarr view all.zarr
      kymflow-zarr view all.zarr --edit --as "J. Doe"
      kymflow-zarr view all.zarr --edit --as ada --blind --by condition,date
      kymflow-zarr view all.zarr --url 3f9a        OME-Zarr for any other viewer
      kymflow-zarr view all.zarr --host 0.0.0.0    for others too, with a token
    """
    from kymflow_zarr.cli.output.terminal import print_json

    if edit and read_only:
        raise click.UsageError("Give one of --edit and --read-only.")
    if by is not None and not blind:
        raise click.UsageError("--by says what --blind hides; give both.")
    if blind and image_id is not None:
        raise click.UsageError("A blind page serves no OME-Zarr. Give one of --blind and --url.")
    hidden = blind if by is None else [name.strip() for name in by.split(",") if name.strip()]
    with _opened(dataset, edit=edit, read_only=read_only) as ds:
        shown = None if image_id is None else _ome_zarr_image(ds.find(image_id))
        browser = not no_browser and shown is None
        try:
            only = (
                ds.read_worklist(worklist, skip_missing=True)
                if worklist is not None and worklist.casefold().endswith(".csv")
                else worklist
            )
            with ds.view(
                worklist=only,
                host=host,
                port=port,
                edit=edit,
                who=who,
                open_browser=browser,
                blind=hidden,
            ) as viewer:
                ome_zarr = None if shown is None else viewer.ome_zarr_url(shown)
                if as_json:
                    print_json({"url": viewer.url, "ome_zarr": ome_zarr})
                else:
                    click.echo(ome_zarr or viewer.url)
                click.echo("Ctrl-C ends it.", err=True)
                viewer.wait()
        except KeyboardInterrupt:
            click.echo("ended", err=True)  # Ctrl-C is the normal way to stop.


def _ome_zarr_image(record: ZarrImageRecord) -> str:
    """Return the id of an image that can be served as OME-Zarr."""
    from kymflow_zarr.api.internals import stored_image_of
    from kymflow_zarr.errors import NotFoundError, UnsupportedDataError

    try:
        stored_image_of(record).file_sum("zarr.json")
    except NotFoundError as error:
        raise UnsupportedDataError(
            "the image is in format version 1, which is no OME-Zarr",
            where=record.image_id,
            hint="kymflow-zarr migrate carries the dataset over to version 2.",
        ) from error
    return record.image_id


def _opened(dataset: Path, *, edit: bool, read_only: bool) -> ZarrDataset:
    """Open the dataset, writable if possible, so that thumbnails and the index can be stored."""
    import os

    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.errors import FormatVersionError, ReadOnlyError

    if read_only:
        return ZarrDataset(dataset, mode="r")
    if edit or os.access(dataset, os.W_OK):
        try:
            return ZarrDataset(dataset, mode="r+")
        except (FormatVersionError, ReadOnlyError):
            # A dataset of version 1 is opened read-only.
            if edit:
                raise
    return ZarrDataset(dataset, mode="r")
