"""Copies of images between datasets, byte by byte: subsets and merges."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from kymflow_zarr import layout
from kymflow_zarr._version import __version__
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import utc_now
from kymflow_zarr.engine.opening import create_dataset
from kymflow_zarr.errors import DatasetExistsError, RecordExistsError
from kymflow_zarr.schema.analysis_columns import IMAGE_ID
from kymflow_zarr.schema.base import DatasetDocument
from kymflow_zarr.types import Progress, StrPath

SUBSET_OF: Final = "kymflow_zarr_subset"


def subset(
    dataset: OpenDataset,
    image_ids: Iterable[str],
    path: StrPath,
    *,
    progress: Progress | None = None,
) -> None:
    """Create a dataset of some images; see :meth:`kymflow_zarr.ZarrDataset.subset`."""
    wanted = dataset.chosen_ids(image_ids)
    for image_id in wanted:
        dataset.record(image_id).document()  # Raises if there is no such image.
    target = Path(path).expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DatasetExistsError(
            "there is something already", where=str(target), hint="Choose another path."
        )
    origin: dict[str, Any] = {
        "dataset_id": dataset.dataset_id,
        "location": dataset.location,
        "image_ids": wanted,
        "made_utc": utc_now(),
        "made_by": f"kymflow_zarr {__version__}",
    }
    document = DatasetDocument(
        dataset_id=str(uuid.uuid4()),
        created_utc=origin["made_utc"],
        created_by=origin["made_by"],
    )
    create_dataset(target, document, attributes={SUBSET_OF: origin}, durability="full")
    with OpenDataset.open(target, "r+") as new:
        copy_images(dataset, new, wanted, progress=progress)
        _copy_tables(dataset, new, wanted, whole=True)


def merge(
    dataset: OpenDataset, other: OpenDataset, *, progress: Progress | None = None
) -> list[str]:
    """Take the images of another dataset in; see :meth:`kymflow_zarr.ZarrDataset.merge`."""
    dataset.require_writable()
    wanted = other.list_image_ids()
    taken = sorted(set(wanted) & set(dataset.list_image_ids()))
    if taken:
        raise RecordExistsError(
            f"both datasets have {len(taken)} images of the same id, such as {taken[0]!r}",
            where=dataset.location,
            hint="other.subset() makes a dataset without them.",
        )
    copy_images(other, dataset, wanted, progress=progress)
    _copy_tables(other, dataset, wanted, whole=False)
    return wanted


def copy_images(
    source: OpenDataset,
    target: OpenDataset,
    image_ids: Sequence[str],
    *,
    progress: Progress | None = None,
) -> None:
    """Copy images byte by byte, each in one commit."""
    reader = source.storage.reader()
    for done, image_id in enumerate(image_ids):
        if progress is not None:
            progress(done, len(image_ids), image_id)
        prefix = layout.image_prefix(image_id)
        with target.storage.stage(key=prefix) as staged:
            for key, _ in reader.walk(prefix):
                data = reader.read(key)
                if data is not None:
                    staged.write(key.removeprefix(f"{prefix}/"), data)
            if not staged.publish(prefix):
                raise RecordExistsError(f"the image {image_id!r} was added meanwhile", where=prefix)
    if progress is not None:
        progress(len(image_ids), len(image_ids), "")


def _copy_tables(
    source: OpenDataset, target: OpenDataset, image_ids: Sequence[str], *, whole: bool
) -> None:
    """Copy the rows of some images from each table.

    Tables without image ids are copied if `whole`, or if the target has none of that name.
    """
    wanted = set(image_ids)
    for name in source.list_table_names():
        table: Any = source.load_table(name)
        if IMAGE_ID not in table.columns:
            if whole or not target.tables.exists(name):
                target.save_table(name, table)
            continue
        rows = table[table[IMAGE_ID].isin(wanted)]
        if whole:
            target.save_table(name, rows)
        elif len(rows):
            target.replace_rows_for_image_ids(
                name, {str(image_id): part for image_id, part in rows.groupby(IMAGE_ID)}
            )
