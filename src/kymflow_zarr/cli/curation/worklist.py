"""``kymflow-zarr worklist``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import choice_options, dataset_argument, debug_option, json_option

__all__ = ["worklist"]


@click.command(short_help="Choose images at random, as many of each group.")
@dataset_argument
@click.argument("n", type=click.IntRange(min=1))
@click.option("--balance", metavar="A,B,...", default="", help="As many of each of these groups.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another choice.")
@click.option("--save", "name", metavar="NAME", help="Save the list under this name, for view.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE",
    help="Write a new list file, a CSV that acqstore or kymflow reads.",
)  # fmt: skip
@click.option(
    "--layout", type=click.Choice(["acqstore", "kymflow"]), default="acqstore", show_default=True,
    help="Of --out.",
)  # fmt: skip
@choice_options
@json_option
@debug_option
def worklist(
    dataset: Path,
    n: int,
    balance: str,
    seed: int,
    name: str | None,
    out: Path | None,
    layout: str,
    ids: tuple[str, ...],
    where: tuple[str, ...],
    as_json: bool,
) -> None:
    """Choose N images of DATASET at random, such as those that a person judges.

    The same arguments choose the same images in the same order. The ids are printed, one a line.

    \b
    Examples:
      kymflow-zarr worklist all.zarr 100 --balance condition --save for-ada
      kymflow-zarr view all.zarr --edit --as ada --list for-ada --blind --by condition
      kymflow-zarr worklist all.zarr 20 --where verdict=accepted --seed 3 --out some.csv
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.look.images import chosen_ids
    from kymflow_zarr.cli.output.terminal import print_json, say

    if out is not None and out.exists():
        raise click.UsageError(f"There is {out} already: choose another name for --out.")
    columns = [column.strip() for column in balance.split(",") if column.strip()]
    with ZarrDataset(dataset, mode="r" if name is None else "r+") as ds:
        chosen = ds.worklist(n, balance=columns, seed=seed, ids=chosen_ids(ds, ids, where))
        if name is not None:
            ds.save_worklist(name, chosen)
        if out is not None:
            ds.write_worklist(out, chosen, layout="kymflow" if layout == "kymflow" else "acqstore")
    if as_json:
        print_json(chosen)
        return
    for image_id in chosen:
        say(image_id)
