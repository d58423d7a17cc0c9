"""``kymflow-zarr info``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kymflow_zarr.api.internals import open_dataset_of
from kymflow_zarr.cli.options import dataset_argument, debug_option, json_option

if TYPE_CHECKING:
    from kymflow_zarr import ZarrDataset

__all__ = ["info"]


@click.command(short_help="What a dataset holds, how large it is, since when, who judged.")
@dataset_argument
@json_option
@debug_option
def info(dataset: Path, as_json: bool) -> None:
    """Say what DATASET holds: images, verdicts, artifacts, tables; its size; since when; who.

    \b
    Examples:
      kymflow-zarr info all.zarr
      kymflow-zarr info all.zarr --json
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.terminal import print_json, say

    with ZarrDataset(dataset, mode="r") as ds:
        facts = _facts(ds)
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {n}" for key, n in value.items()) or "none"
        say(f"{name.replace('_', ' '):<14} {value}")


def _facts(ds: ZarrDataset) -> dict[str, Any]:
    from kymflow_zarr.cli.look.tables import table_facts
    from kymflow_zarr.cli.output.facts import shape_text

    images = ds.images(["image_id", "shape", "verdict", "acquired", "artifacts", "error"])
    judged = images["verdict"].value_counts()
    acquired = images["acquired"].dropna()
    by: Counter[str] = Counter()
    for image_id in images.loc[images["verdict"].notna(), "image_id"]:
        by.update({entry.who for entry in ds.record(image_id).curation().history})
    storage = open_dataset_of(ds).storage
    sizes = [stat.size for _, stat in storage.walk("")]
    return {
        "location": ds.location,
        "dataset_id": ds.dataset_id,
        "created_utc": ds.created_utc,
        "images": len(images),
        "damaged": int(images["error"].notna().sum()),
        "shapes": dict(Counter(map(shape_text, images["shape"].dropna())).most_common(5)),
        "acquired": f"{acquired.min()} to {acquired.max()}" if len(acquired) else "unknown",
        "verdicts": {
            "accepted": int(judged.get("accepted", 0)),
            "rejected": int(judged.get("rejected", 0)),
            "undecided": int(images["verdict"].isna().sum()),
        },
        "judged_by": dict(by.most_common()),
        "artifacts": dict(Counter(name for each in images["artifacts"] for name in each)),
        "tables": {
            facts["name"]: facts.get("rows", "damaged")
            for facts in (table_facts(ds, name) for name in ds.list_table_names())
        },
        "files": len(sizes),
        "size_mb": round(sum(sizes) / 1e6, 1),
    }
