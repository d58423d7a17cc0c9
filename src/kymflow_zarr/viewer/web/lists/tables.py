"""Tables of the dataset: rows to browse, and simple plots."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.api.internals import open_dataset_of
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.viewer.web.answers import answer, error_answer
from kymflow_zarr.viewer.web.image.artifacts import named, unit_of
from kymflow_zarr.viewer.web.lists.plots import plot
from kymflow_zarr.viewer.web.lists.rows import Asked, Rows
from kymflow_zarr.viewer.web.site import number_of, segments, site_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from kymflow_zarr import ZarrDataset

__all__ = ["Tables", "table"]

_MAX_TABLES: Final = 4
_MAX_ROWS: Final = 5000


class Tables:
    """A cache of the tables that were used last; a table that has changed is read again.

    Parameters
    ----------
    dataset : ZarrDataset
    """

    def __init__(self, dataset: ZarrDataset) -> None:
        self._dataset = dataset
        self._guard = threading.Lock()
        self._cache: OrderedDict[str, tuple[str, Rows]] = OrderedDict()

    def rows(self, name: str) -> Rows:
        """Return a table.

        Raises
        ------
        TableNotFoundError
            If there is none of that name.
        """
        token = open_dataset_of(self._dataset).change_token(name)
        with self._guard:
            cached = self._cache.get(name)
            if cached is None or cached[0] != token:
                cached = token, Rows(named(self._dataset.load_table(name)))
                self._cache[name] = cached
                while len(self._cache) > _MAX_TABLES:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(name)
            return cached[1]

    def described(self) -> list[dict[str, Any]]:
        """Return name, number of rows and columns of each table, by the end of its file."""
        return [self._described(name) for name in self._dataset.list_table_names()]

    def _described(self, name: str) -> dict[str, Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(open_dataset_of(self._dataset).stored_table(name)) as file:
                columns = [c for c in file.schema_arrow.names if not c.startswith("__")]
                return {"name": name, "n_rows": file.metadata.num_rows, "columns": columns}
        except (KymflowZarrError, OSError, pa.ArrowException):
            return {"name": name, "n_rows": None, "columns": [], "error": self._why_broken(name)}

    def _why_broken(self, name: str) -> str:
        try:
            self.rows(name)
        except KymflowZarrError as error:
            return str(error)
        return "the table cannot be described"


def table(request: Request) -> Response:
    """Answer ``GET /api/tables/{name}`` and ``GET /api/tables/{name}/plot``."""
    site = site_of(request)
    parts = segments(request)[2:]
    if len(parts) == 2 and parts[1] == "plot":
        rows = site.tables.rows(parts[0])
        return answer(plot(rows, site.gallery.rows, request.query_params))
    if len(parts) != 1:
        return error_answer(404, "NotFoundError", "there is nothing at this address")
    rows = site.tables.rows(parts[0])
    limit = number_of(request, "limit", 100, most=_MAX_ROWS)
    asked = Asked.of(request.query_params, offset=number_of(request, "offset", 0), limit=limit)
    found = rows.find(asked)
    names = list(rows.columns)
    return answer(
        {
            "columns": [
                {"name": n, "kind": c.kind, "unit": unit_of(n)} for n, c in rows.columns.items()
            ],
            "total": len(found),
            "offset": asked.offset,
            "rows": rows.rows(found[asked.offset : asked.offset + limit], names),
        }
    )
