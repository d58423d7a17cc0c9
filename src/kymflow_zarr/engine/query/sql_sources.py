"""What a query in SQL can name: tables, the list of images, artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.engine.query.gather import frame_names
from kymflow_zarr.engine.query.sql import Source, frame_source, plain
from kymflow_zarr.engine.tables import Tables

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset

_IMAGES: Final = "images"


def table_sources(dataset: OpenDataset, tables: Tables) -> dict[str, Source]:
    """Return the sources that take no look at the images: tables first, then their list."""
    images = {_IMAGES: lambda: frame_source(dataset.images())}
    return images | {name: tables.source(name) for name in tables.names()}


def artifact_sources(dataset: OpenDataset, index: Index) -> Mapping[str, Source]:
    """Return a source for each name of a data-frame artifact."""
    return {name: partial(_artifact, dataset, name) for name in frame_names(index)}


def _artifact(dataset: OpenDataset, name: str) -> Any:
    return plain(dataset.gather(name, as_="arrow"))
