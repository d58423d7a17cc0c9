"""How many rows of a table are about each image, from its column of image ids alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.formats.parquet.memory import arrow_reader
from kymflow_zarr.formats.parquet.size import check_parquet_size

__all__ = ["count_rows"]

_IMAGE_ID = "image_id"


def count_rows(data: bytes, *, where: str) -> dict[str, int] | None:
    """Return the number of rows by image id; None if the table does not name images.

    Raises
    ------
    CorruptDataError
        If `data` is not a readable Parquet file.
    LimitExceededError
        If it would take more memory than the limit ``table_bytes``.
    """
    check_parquet_size(data, where=where)
    try:
        with pq.ParquetFile(arrow_reader(data)) as file:
            if file.schema_arrow.names.count(_IMAGE_ID) != 1:
                return None
            column = file.read(columns=[_IMAGE_ID])[_IMAGE_ID]
            counts = pc.value_counts(pc.cast(column, pa.string()))
    except pa.ArrowNotImplementedError:
        return None  # Lists and the like name no image.
    except Exception as error:  # What damaged bytes make the parser raise is open.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error
    names: list[str | None] = counts.field("values").to_pylist()
    numbers: Any = counts.field("counts").to_pylist()
    return {name: number for name, number in zip(names, numbers, strict=True) if name is not None}
