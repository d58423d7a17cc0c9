"""What each call costs as the dataset grows, against the smallest dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from benchmarks.datasets.lists import make_dataset
from benchmarks.measure import Row, interleaved
from kymflow_zarr import ZarrDataset

PIXELS = np.random.default_rng(0).integers(0, 4096, (20, 8), dtype=np.uint16)
ROWS_AN_IMAGE = 20
Call = Callable[[int], object]
FAST = {"open the dataset", "load_array", "load_json", "save_json", "add_image", "delete_image"}


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield a row for each call; everything is written below `folder`."""
    if quick:
        yield from grow(folder, (100, 500), repeat=2)
        yield refresh(folder, (50, 150), repeat=2)
    else:
        yield from grow(folder, (100, 1_000, 10_000, 100_000), repeat=7)
        yield refresh(folder, (100, 1_000, 10_000), repeat=7)


def grow(folder: Path, sizes: Sequence[int], *, repeat: int) -> Iterator[Row]:
    """Measure calls on datasets of several sizes, which take turns; the last size is the row's."""
    datasets = {size: ZarrDataset(_made(folder, size), "r+") for size in sizes}
    for ds in datasets.values():
        ids = ds.list_image_ids()
        ds.save_table("events", _rows(ids))
        for image_id in {_some(ids, n) for n in range(40)}:
            ds[image_id].save_json("note", {"good": True})
    time.sleep(2.1)  # What changed a moment ago is not trusted by any index.
    for ds in datasets.values():
        ds.update_manifest()
    calls = {size: _calls(ds) for size, ds in datasets.items()}
    for name in calls[sizes[0]]:
        # What takes seconds is measured less often, and not on the largest dataset.
        few = [size for size in sizes if name != "gather" or size <= 10_000]
        times = 5 * repeat if name in FAST else repeat
        yield _row(name, interleaved({str(n): calls[n][name] for n in few}, repeat=times))
    for ds in datasets.values():
        ds.close()


def refresh(folder: Path, sizes: Sequence[int], *, repeat: int) -> Row:
    """Measure scanning a folder again in which nothing has changed."""
    calls = {}
    for size in sizes:
        source = folder / f"tiffs-{size}"
        source.mkdir()
        for i in range(size):
            tifffile.imwrite(source / f"{i:06}.tif", PIXELS + np.uint16(i))
        ds = ZarrDataset(folder / f"from-tiffs-{size}.zarr", durability="relaxed")
        ds.ingest_legacy_folder(source)
        calls[str(size)] = lambda _, ds=ds, source=source: ds.refresh_from_folder(source)
    time.sleep(2.1)
    return _row("refresh_from_folder, no change", interleaved(calls, repeat=repeat))


def _made(folder: Path, size: int) -> Path:
    """Return a dataset of that size: what the lists were measured on, or a new one."""
    path = folder.with_name("lists") / f"{size}.zarr"
    if not path.exists():
        path = folder / path.name
        make_dataset(path, size)
    return path


def _calls(ds: ZarrDataset) -> dict[str, Call]:
    ids = ds.list_image_ids()

    def replace(n: int) -> None:
        image_id = _some(ids, n)
        ds.replace_rows_for_image_id("events", image_id, _rows([image_id]))

    return {
        "open the dataset": lambda _: ZarrDataset(ds.path, "r").close(),
        "load_array": lambda n: ds.record(_some(ids, n)).load_array(),
        "load_json": lambda n: ds.record(_some(ids, n)).load_json("note"),
        "list_image_ids": lambda _: ds.list_image_ids(),
        "iter_records, ordered": lambda _: sum(1 for _ in ds.iter_records("created_utc")),
        "images": lambda _: ds.images(),
        "gather": lambda _: ds.gather("events"),
        "replace_rows_for_image_id": replace,
        "save_json": lambda n: ds.record(_some(ids, n)).save_json("note", {"good": n}),
        "add_image": lambda n: ds.add_image(PIXELS, image_id=f"new-{n}"),
        "delete_image": lambda n: ds.delete_image(f"new-{n}"),
    }


def _some(ids: Sequence[str], n: int) -> str:
    """Return another id for another number, from all over the dataset."""
    return ids[n % 40 * len(ids) // 40]


def _rows(ids: Sequence[str]) -> pd.DataFrame:
    count = len(ids) * ROWS_AN_IMAGE
    return pd.DataFrame(
        {"image_id": np.repeat(ids, ROWS_AN_IMAGE), "t_s": np.linspace(0, 1, count)}
    )


def _row(name: str, times: dict[str, float]) -> Row:
    points = tuple((int(size), seconds) for size, seconds in times.items())
    (smallest, theirs), (largest, ours) = points[0], points[-1]
    return Row(f"{name} at {largest:,}", f"at {smallest:,}", ours, theirs, points=points)
