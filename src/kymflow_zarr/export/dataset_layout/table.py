"""One table as files."""

from __future__ import annotations

from typing import Any, ClassVar

from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.errors import TableNotFoundError
from kymflow_zarr.export.dataset_layout.places import table_place
from kymflow_zarr.export.files import add_frame
from kymflow_zarr.export.report import ExportKind
from kymflow_zarr.export.staging_area import Bench

__all__ = ["TablePlan"]


class TablePlan:
    """A table and the files it may need.

    Parameters
    ----------
    reading : Reading
    name : str
    """

    kind: ClassVar[ExportKind] = "table"

    def __init__(self, reading: Reading, name: str) -> None:
        self.label = name
        self._reading = reading
        self._place = table_place(name)

    @property
    def paths(self) -> list[str]:
        """All files it may need."""
        return list(self._place.paths)

    def owns(self, path: str) -> bool:
        """Tell whether a file of an earlier export belongs to it."""
        return path in self._place.paths

    def write(self, bench: Bench) -> dict[str, Any]:
        """Make the files and return what the manifest says of the table."""
        place = self._place
        data = self._reading.storage.read(place.key)
        if data is None:
            raise TableNotFoundError("the table was deleted meanwhile", where=place.key)
        described = add_frame(bench, place, data)
        return {"name": place.name, **described}
