"""Rows of images replaced in a large table, against reading, filtering and writing it all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import Row, interleaved
from kymflow_zarr import ZarrDataset

ROWS_AN_IMAGE = 20


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    images = 5_000 if quick else 50_000
    ids = np.repeat([f"image-{i:06}" for i in range(images)], ROWS_AN_IMAGE)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "image_id": ids,
            "roi_id": rng.integers(0, 4, len(ids)),
            "t_start_s": rng.random(len(ids)),
            "t_end_s": rng.random(len(ids)),
            "event_type": rng.choice(["drop", "rise", "gap"], len(ids)),
            "score": rng.random(len(ids)),
        }
    )
    ds = ZarrDataset(folder / "tables.zarr", mode="w", durability="relaxed")
    ds.save_table("events", table)
    peer = folder / "peer.parquet"
    table.to_parquet(peer)

    def rows(number: int, count: int) -> dict[str, pd.DataFrame]:
        first = ROWS_AN_IMAGE * (37 * number % (images - count))
        part = table.iloc[first : first + ROWS_AN_IMAGE * count].assign(score=float(number))
        return {str(i): frame for i, frame in part.groupby("image_id")}

    repeat = 3 if quick else 7
    one, many = ([rows(n, count) for n in range(repeat + 1)] for count in (1, 1000))

    def pandas(number: int) -> None:
        ((image_id, new),) = one[number].items()
        old = pd.read_parquet(peer)
        kept = old[old["image_id"] != image_id]
        pd.concat([kept, new]).to_parquet(folder / "tmp.parquet")
        (folder / "tmp.parquet").replace(peer)

    times = interleaved(
        {
            "one": lambda n: ds.replace_rows_for_image_ids("events", one[n]),
            "many": lambda n: ds.replace_rows_for_image_ids("events", many[n]),
            "pandas": pandas,
        },
        repeat=repeat,
    )
    name = f"rows of one image in {len(ids)}"
    yield Row(name, "pandas", times["one"], times["pandas"], 0.6, at_most=True)
    yield Row("rows of 1,000 images", "those of one", times["many"], times["one"], 3, at_most=True)
