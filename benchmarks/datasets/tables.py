"""Rows replaced in a large table, joins of tables, and one artifact of many images."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Row, Skipped, interleaved
from kymflow_zarr import ZarrDataset

ROWS_AN_IMAGE = 20
JOINS = {
    "a join of {rows:,} rows with the list of {images:,} images": (
        "select condition, count(*) as n, avg(score) as score "
        "from events join groups using (image_id) group by condition order by condition"
    ),
    "a join of {rows:,} rows with {rows:,}": (
        "select events.event_type, count(*) as n, avg(weight * score) as score "
        "from events join weights using (event_id) "
        "group by events.event_type order by events.event_type"
    ),
}


def run(folder: Path, *, quick: bool) -> Iterator[Row | Skipped]:
    """Yield the comparisons; everything is written below `folder`."""
    images = 5_000 if quick else 50_000
    repeat = 3 if quick else 7
    with ZarrDataset(folder / "tables.zarr", mode="w", durability="relaxed") as ds:
        yield from _whole(ds, folder, images, repeat)
        yield from _replaced(ds, folder, images, repeat)
        yield from _joined(ds, images, repeat)
    yield from _gathered(folder, 200 if quick else 1000, repeat)


def events(images: int) -> pd.DataFrame:
    """Return a table of 20 rows for each of some images."""
    ids = np.repeat([f"image-{i:06}" for i in range(images)], ROWS_AN_IMAGE)
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "image_id": ids,
            "roi_id": rng.integers(0, 4, len(ids)),
            "t_start_s": rng.random(len(ids)),
            "t_end_s": rng.random(len(ids)),
            "event_type": rng.choice(["drop", "rise", "gap"], len(ids)),
            "score": rng.random(len(ids)),
        }
    )


def _whole(ds: ZarrDataset, folder: Path, images: int, repeat: int) -> Iterator[Row]:
    table = events(images)
    peer = folder / "whole.parquet"
    table.to_parquet(peer)
    ds.save_table("whole", table)
    times = interleaved(
        {
            "load": lambda _: ds.load_table("whole"),
            "read": lambda _: pd.read_parquet(peer),
            "save": lambda _: ds.save_table("whole", table),
            "write": lambda _: table.to_parquet(peer),
        },
        repeat=repeat,
    )
    rows = f"{len(table):,} rows"
    yield Row(f"load_table, {rows}", "pandas", times["load"], times["read"], 1.2)
    yield Row(f"save_table, {rows}", "pandas", times["save"], times["write"], 1.2)


def _replaced(ds: ZarrDataset, folder: Path, images: int, repeat: int) -> Iterator[Row]:
    table = events(images)
    tenth = table.iloc[: len(table) // 10]
    names = {"one": table, "near": table, "far": table, "tenth": tenth}
    for name, frame in names.items():
        ds.save_table(name, frame)
    peer = folder / "peer.parquet"
    table.to_parquet(peer)

    def rows(number: int, count: int, step: int = 1) -> dict[str, pd.DataFrame]:
        first = 37 * number % (images // 10 - count // 10)
        chosen = [first + step * i for i in range(count)]
        return {
            f"image-{i:06}": table.iloc[ROWS_AN_IMAGE * i : ROWS_AN_IMAGE * (i + 1)].assign(
                score=float(number)
            )
            for i in chosen
        }

    # Those far from each other are in every part of the table.
    numbers = range(repeat + 1)
    one = [rows(n, 1) for n in numbers]
    near = [rows(n, 1000) for n in numbers]
    far = [rows(n % (images // 1000), 1000, images // 1000) for n in numbers]

    def pandas(number: int) -> None:
        ((image_id, new),) = one[number].items()
        old = pd.read_parquet(peer)
        kept = old[old["image_id"] != image_id]
        pd.concat([kept, new]).to_parquet(folder / "tmp.parquet")
        (folder / "tmp.parquet").replace(peer)

    def arrow(_: int) -> None:
        # What nobody can leave out whose rows are in every part of the file.
        whole = pq.read_table(peer)
        pq.write_table(whole, folder / "arrow.parquet", compression="zstd")

    times = interleaved(
        {
            "arrow": arrow,
            "one": lambda n: ds.replace_rows_for_image_ids("one", one[n]),
            "near": lambda n: ds.replace_rows_for_image_ids("near", near[n]),
            "far": lambda n: ds.replace_rows_for_image_ids("far", far[n]),
            "tenth": lambda n: ds.replace_rows_for_image_ids("tenth", one[n]),
            "pandas": pandas,
        },
        repeat=repeat,
    )
    all_rows = f"{len(table):,} rows"
    yield Row(f"rows of one image in {all_rows}", "pandas", times["one"], times["pandas"], 0.6)
    yield Row(
        "rows of 1,000 images, next to each other", "one image", times["near"], times["one"], 3
    )
    yield Row(
        "rows of 1,000 images, all over the table", "one image", times["far"], times["one"], 3
    )
    yield Row(
        "rows of 1,000 images, all over the table",
        "Arrow reading and writing it",
        times["far"],
        times["arrow"],
    )
    yield Row(
        f"rows of one image in {all_rows}", f"in {len(tenth):,}", times["one"], times["tenth"]
    )


def _joined(ds: ZarrDataset, images: int, repeat: int) -> Iterator[Row | Skipped]:
    rng = np.random.default_rng(1)
    table = events(images)
    order = rng.permutation(len(table))
    ids = table["image_id"].unique()
    ds.save_table("events", table.assign(event_id=np.arange(len(table))))
    ds.save_table("weights", pd.DataFrame({"event_id": order, "weight": rng.random(len(order))}))
    ds.save_table(
        "groups", pd.DataFrame({"image_id": ids, "condition": rng.choice(["a", "b"], len(ids))})
    )
    time.sleep(2.1)  # What changed a moment ago is read again for each query.
    for name, query in JOINS.items():
        name = name.format(rows=len(table), images=images)
        if importlib.util.find_spec("duckdb") is None:
            yield Skipped(name, "DuckDB is not installed")
            continue
        times = interleaved(
            {"ours": _asked(ds, query), "bare": _asked_bare(ds.path / "tables", query)},
            repeat=2 * repeat,
            warm=2,
        )
        yield Row(name, "DuckDB on the bare files", times["ours"], times["bare"], 1.25)


def _asked(ds: ZarrDataset, query: str) -> Callable[[int], Any]:
    return lambda _: ds.sql(query, as_="arrow")


def _asked_bare(tables: Path, query: str) -> Callable[[int], Any]:
    import duckdb

    def asked(_: int) -> Any:
        with duckdb.connect(":memory:") as connection:
            for file in tables.glob("*.parquet"):
                if file.stem in query:
                    connection.execute(
                        f"create view {file.stem} as select * from read_parquet('{file}')"
                    )
            return connection.sql(query).to_arrow_table()

    return asked


def _gathered(folder: Path, images: int, repeat: int) -> Iterator[Row]:
    rows = events(images).drop(columns="image_id")
    with ZarrDataset(folder / "artifacts.zarr", mode="w", durability="relaxed") as ds:
        for i in range(images):
            rec = ds.add_image(np.zeros((4, 4), "uint16"), image_id=f"image-{i:06}")
            part = rows.iloc[ROWS_AN_IMAGE * i : ROWS_AN_IMAGE * (i + 1)]
            rec.save_df_parquet("events", part.reset_index(drop=True))
        files = {
            image_id: ds.path / "images" / image_id / "analysis" / "events.parquet"
            for image_id in ds.list_image_ids()
        }

        def bare(_: int) -> Any:
            tables = []
            for image_id, file in files.items():
                table = pq.read_table(pa.BufferReader(file.read_bytes()), use_threads=False)
                ids = pa.array([image_id] * len(table))
                tables.append(table.replace_schema_metadata().add_column(0, "image_id", ids))
            return pa.concat_tables(tables).combine_chunks()

        times = interleaved(
            {
                "gather": lambda _: ds.gather("events", as_="arrow"),
                "dataset": lambda _: ds.gather("events", as_="dataset"),
                "bare": bare,
            },
            repeat=repeat,
        )
    name = f"gather() of {images:,} images"
    yield Row(f"{name}, as Arrow", "pyarrow on the bare files", times["gather"], times["bare"])
    yield Row(f"{name}, lazily", "pyarrow on the bare files", times["dataset"], times["bare"])
