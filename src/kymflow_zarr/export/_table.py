"""One table as files."""

from __future__ import annotations

from typing import Any, ClassVar

from kymflow_zarr._core._reports import ExportKind
from kymflow_zarr._storage import LocalStorage
from kymflow_zarr.errors import TableNotFoundError
from kymflow_zarr.export._files import add_frame
from kymflow_zarr.export._places import table_place
from kymflow_zarr.export._target import ExportTarget

__all__ = ["TablePlan"]


class TablePlan:
    """A table and the files it may need.

    Parameters
    ----------
    storage : LocalStorage
    name : str
    """

    kind: ClassVar[ExportKind] = "table"

    def __init__(self, storage: LocalStorage, name: str) -> None:
        self.label = name
        self._storage = storage
        self._place = table_place(name)

    @property
    def paths(self) -> list[str]:
        """All files it may need."""
        return list(self._place.paths)

    def owns(self, path: str) -> bool:
        """Tell whether a file of an earlier export belongs to it."""
        return path in self._place.paths

    def write(self, target: ExportTarget) -> dict[str, Any]:
        """Write the files and return what the manifest says of the table."""
        place = self._place
        data = self._storage.read(place.key)
        if data is None:
            raise TableNotFoundError("the table was deleted meanwhile", where=place.key)
        described = add_frame(target, place, data)
        target.commit()
        return {"name": place.name, **described}
