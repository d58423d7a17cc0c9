"""``kymflow-zarr pack``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import choice_options, dataset_argument, debug_option, json_option

__all__ = ["pack"]


@click.command(short_help="Write a dataset into one file (.ozx) to mail or archive.")
@dataset_argument
@click.argument("file", type=click.Path(path_type=Path))
@choice_options
@json_option
@debug_option
def pack(
    dataset: Path, file: Path, ids: tuple[str, ...], where: tuple[str, ...], as_json: bool
) -> None:
    """Write DATASET into FILE, whose name ends in .ozx.

    The file is a ZIP without compression, as RFC-9 of OME-Zarr asks. It opens as it is, for
    reading only. With --ids or --where only those images go in, and their rows of the tables.

    \b
    Examples:
      kymflow-zarr pack all.zarr all.ozx
      kymflow-zarr pack all.zarr drug.ozx --where condition=Drug
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.look.images import chosen_ids
    from kymflow_zarr.cli.output.terminal import print_json, progress_bar, screen

    with ZarrDataset(dataset, mode="r") as ds, progress_bar("Packing") as progress:
        chosen = chosen_ids(ds, ids, where)
        ds.pack(file, image_ids=chosen, progress=progress)
        n_images = len(ds) if chosen is None else len(chosen)
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "n_images": n_images, "size_bytes": size})
        return
    screen().print(f"{n_images} images in {file}, {size / 1e6:.1f} MB", soft_wrap=True)
