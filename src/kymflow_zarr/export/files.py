"""Single files of an export: written where they would change, else left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kymflow_zarr._version import __version__
from kymflow_zarr.export.dataset_layout.places import ArtifactPlace
from kymflow_zarr.export.staging_area import Bench
from kymflow_zarr.storage.local.files import digest_of_bytes as sha256

if TYPE_CHECKING:
    import numpy as np

__all__ = ["add_bytes", "add_frame", "made_from", "numpy_writer", "sha256"]


def add_bytes(bench: Bench, path: str, origin: str, data: bytes) -> None:
    """Write a file of known content, unless it is there as it should be."""
    if bench.holds(path, origin):
        bench.keep(path)
    else:
        bench.add(path, origin, data)


def add_frame(bench: Bench, place: ArtifactPlace, data: bytes) -> dict[str, Any]:
    """Write a CSV, and the stored file itself where that says more; say which is exact."""
    assert place.plain is not None
    origin = made_from("frame", place.kind, sha256(data))
    if bench.holds(place.plain, origin) and (
        bench.holds(place.exact, origin) or not bench.wrote(place.exact, origin)
    ):
        bench.keep(place.plain)
        complete = not bench.holds(place.exact, origin)
        if not complete:
            bench.keep(place.exact)
    else:
        from kymflow_zarr.export.dataframes import csv_of

        csv, complete = csv_of(place.kind, data, where=place.key)
        bench.add(place.plain, origin, csv)
        if not complete:
            bench.add(place.exact, origin, data)
    return {"file": place.plain if complete else place.exact, "csv": place.plain}


def numpy_writer(array: np.ndarray[Any, Any]) -> Callable[[Path], None]:
    """Return a function that writes an array as ``.npy``."""

    def write(path: Path) -> None:
        import numpy as np

        with path.open("xb") as file:
            np.save(file, array, allow_pickle=False)

    return write


def made_from(*parts: Any) -> str:
    """Return a digest of what a file follows from; another version may write differently."""
    return sha256(json.dumps([__version__, *parts]).encode())
