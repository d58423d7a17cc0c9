"""Changes of a dataset as they happen, by any program on any machine."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kymflow_zarr import layout
from kymflow_zarr.engine.index.index import EDITED
from kymflow_zarr.errors import ArgumentError

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset


@dataclass(frozen=True, kw_only=True)
class DatasetChange:
    """One image or table that was added, changed or deleted.

    Parameters
    ----------
    what : {"added", "changed", "deleted"}
    image_id : str, optional
        The image; None if it is a table.
    table : str, optional
        The table; None if it is an image.
    """

    what: Literal["added", "changed", "deleted"]
    image_id: str | None = None
    table: str | None = None


_Versions = Mapping[str, tuple[int, int]]


def watch(
    dataset: OpenDataset, interval_s: float, stop: threading.Event | None
) -> Iterator[DatasetChange]:
    """Yield changes; see :meth:`kymflow_zarr.ZarrDataset.watch`."""
    if not (interval_s > 0 and math.isfinite(interval_s)):
        raise ArgumentError(f"interval_s is {interval_s!r}, not a time", where="interval_s")
    # Here, not in the generator: what happens from this call on is seen.
    return _changes(dataset, interval_s, stop, _images(dataset), _tables(dataset))


def _changes(
    dataset: OpenDataset,
    interval_s: float,
    stop: threading.Event | None,
    images: _Versions,
    tables: _Versions,
) -> Iterator[DatasetChange]:
    while stop is None or not stop.is_set():
        now_images, now_tables = _images(dataset), _tables(dataset)
        for what, image_id in _differences(images, now_images):
            yield DatasetChange(what=what, image_id=image_id)
        for what, table in _differences(tables, now_tables):
            yield DatasetChange(what=what, table=table)
        images, tables = now_images, now_tables
        if stop is None:
            time.sleep(interval_s)
        else:
            stop.wait(interval_s)


def _images(dataset: OpenDataset) -> _Versions:
    versions = dataset.storage.versions(layout.IMAGES, EDITED)
    return {image_id: (version, 0) for image_id, version in versions.items()}


def _tables(dataset: OpenDataset) -> _Versions:
    stats = {name: dataset.storage.stat(layout.table_key(name)) for name in dataset.tables.names()}
    return {name: (s.version, s.size) for name, s in stats.items() if s is not None}


def _differences(
    before: _Versions, now: _Versions
) -> Iterator[tuple[Literal["added", "changed", "deleted"], str]]:
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            yield "deleted", name
        elif name not in before:
            yield "added", name
        elif now[name] != before[name]:
            yield "changed", name
