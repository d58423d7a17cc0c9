"""Replace and remove the rows of single images in an encoded table.

The rows that stay are never turned into pandas objects: they go through Arrow
as they are, so that neither their values nor their dtypes can change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.formats.dataframe.parquet import decode_parquet, encode_parquet
from kymflow_zarr.formats.parquet.memory import arrow_reader
from kymflow_zarr.formats.parquet.size import check_parquet_size
from kymflow_zarr.formats.rows.encoded import Rows
from kymflow_zarr.formats.rows.new_rows import check_frames, merged
from kymflow_zarr.formats.rows.patch import GroupedTable

__all__ = ["remove_rows", "replace_rows"]


def replace_rows(
    existing: bytes | None,
    replacements: Mapping[str, pd.DataFrame],
    *,
    image_id_col: str = "image_id",
    where: str,
) -> bytes:
    """Replace all rows of some images in one rewrite of the table.

    The rows of every image named are removed and its new rows are appended, in the
    order given; all other rows keep their order, values and dtypes. Columns are
    united: those of the table first, then new ones. Where a side lacks a column its
    rows get nulls, and an integer column then becomes pandas' nullable ``Int64``.

    Parameters
    ----------
    existing : bytes or None
        The table as Parquet; None if there is none yet.
    replacements : mapping of str to pandas.DataFrame
        New rows by image id. An empty frame only removes.
    image_id_col : str
        The column that says which image a row is about; compared as text.
    where : str
        How an error message calls the table.

    Raises
    ------
    ArgumentError
        If new rows lack the column or name another image, if the table lacks it, or
        if a column of the table and of the new rows have no type in common.
    CorruptDataError, FormatVersionError
        If `existing` cannot be read.
    """
    frames = {str(image_id): df for image_id, df in replacements.items()}
    check_frames(frames, image_id_col)
    filled = {image_id: df for image_id, df in frames.items() if len(df)}
    if existing is None:
        shapes = filled or {name: df.iloc[:0] for name, df in frames.items() if len(df.columns)}
        tables = [Rows.of_frame(df) for df in merged(shapes, None, image_id_col)]
        rows = tables.pop(0) if tables else Rows.of_frame(pd.DataFrame())
    else:
        grouped = GroupedTable.of_bytes(existing, where=where)
        if grouped is not None:
            note = grouped.note
            done = grouped.replaced(
                frames.keys(),
                lambda: [Rows.of_frame(df) for df in merged(filled, note, image_id_col)],
                image_id_col=image_id_col,
            )
            if done is not None:
                return done[0]
        rows = Rows.of_bytes(existing, where=where)
        if rows.columns:
            rows = rows.without(frames, image_id_col, where=where)[0]
            tables = [Rows.of_frame(df) for df in merged(filled, rows.note, image_id_col)]
        else:
            tables = [Rows.of_frame(df) for df in merged(filled, None, image_id_col)]
            rows = tables.pop(0) if tables else rows
    for more in tables:
        rows = rows.followed_by(more)
    return rows.to_bytes()


def remove_rows(
    existing: bytes, image_ids: Collection[str], *, image_id_col: str = "image_id", where: str
) -> tuple[bytes, int]:
    """Remove all rows of some images.

    Returns
    -------
    tuple of (bytes, int)
        The table as Parquet, and how many rows went; the bytes given if none did.

    Raises
    ------
    ArgumentError
        If the table lacks the column.
    CorruptDataError, FormatVersionError
        If `existing` cannot be read.
    """
    names = {str(name) for name in image_ids}
    grouped = GroupedTable.of_bytes(existing, where=where)
    done = grouped.replaced(names, list, image_id_col=image_id_col) if grouped is not None else None
    if done is not None:
        return done if done[1] else (existing, 0)
    rows = Rows.of_bytes(existing, where=where)
    if not rows.columns:
        return existing, 0
    if image_id_col in rows.note["index"].get("fields", []):
        return _without_labels(existing, names, image_id_col, where=where)
    left, removed = rows.without(names, image_id_col, where=where)
    return (left.to_bytes(), removed) if removed else (existing, 0)


def _without_labels(
    existing: bytes, image_ids: Collection[str], level: str, *, where: str
) -> tuple[bytes, int]:
    """Remove rows of a table whose image ids are in its index."""
    frame = decode_parquet(existing, where=where)
    kept = frame[~frame.index.get_level_values(level).astype(str).isin(list(image_ids))]
    removed = len(frame) - len(kept)
    return (encode_parquet(kept), removed) if removed else (existing, 0)


def names_image(existing: bytes, image_id: str, *, where: str) -> bool:
    """Tell whether a table has rows of an image, from its column ``image_id`` alone.

    Raises
    ------
    CorruptDataError
        If `existing` cannot be read.
    """
    check_parquet_size(existing, where=where)
    try:
        with pq.ParquetFile(arrow_reader(existing)) as file:
            if file.schema_arrow.names.count("image_id") != 1:
                return False
            column = file.read(columns=["image_id"], use_threads=False)["image_id"]
            return bool(pc.any(pc.equal(pc.cast(column, pa.string()), pa.scalar(image_id))).as_py())
    except pa.ArrowNotImplementedError:
        return False  # Lists and the like name no image.
    except Exception as error:  # What damaged bytes make the parser raise is open.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error
