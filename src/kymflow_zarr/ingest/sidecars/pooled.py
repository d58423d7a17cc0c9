"""Tables pooled over a folder (``kym_event_db.csv``, ``radon_report_db.csv``) as dataset tables.

Their rows name images by ``rel_path``, a path below the folder of the table; their absolute
paths are those of another machine and are kept as text. The table gets the columns
``image_id``, empty where no image is meant, and ``pooled_path``, the file a row came from.
Columns of the file that have these names become ``file_image_id`` and ``file_pooled_path``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import (
    ArgumentError,
    LimitExceededError,
    SourceFileError,
    TableNotFoundError,
)
from kymflow_zarr.formats.parquet.footer import check_parquet_size
from kymflow_zarr.ingest.folder.scan import Found
from kymflow_zarr.schema.analysis_columns import IMAGE_ID, POOLED_PATH, names_in_table
from kymflow_zarr.schema.image import SourceFileDocument

if TYPE_CHECKING:
    import pandas as pd


def table_name(found: Found | SourceFileDocument) -> str:
    """Return the name of the table that a pooled file goes into."""
    path = PurePosixPath(found.rel_path)
    return str(path.with_suffix("")).lstrip("/")


def pooled_rows(data: bytes, found: Found, images: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of a pooled table, with the images they mean.

    Parameters
    ----------
    data : bytes
        The CSV.
    found : Found
    images : mapping of str to str
        For each image its id, by the ``rel_path`` of its TIFF.

    Raises
    ------
    SourceFileError
        If it is no CSV.
    """
    import pandas as pd

    from kymflow_zarr.formats.dataframe.csv_foreign import decode_csv

    try:
        frame = decode_csv(data)
    except ValueError as error:
        raise SourceFileError(f"is no readable CSV: {error}", where=found.full_path) from error
    folder = PurePosixPath(found.rel_path).parent
    if "rel_path" in frame.columns:
        ids = [images.get(_named_path(folder, path)) for path in frame["rel_path"]]
    else:
        ids = [None] * len(frame)
    rows = frame.rename(columns=names_in_table(list(frame.columns)))
    rows.insert(0, IMAGE_ID, pd.Series(ids, dtype="str", index=frame.index))
    rows[POOLED_PATH] = found.full_path
    return rows


def unresolved_paths(dataset: OpenDataset, found: Found) -> list[str] | None:
    """Return what the rows of a pooled file that mean no image of the dataset name instead.

    Reads the table and not the file, and of the table three columns.

    Returns
    -------
    list of str or None
        For each such row the path below the folder that it names, "" if it names none.
        None if there is no such table, or it cannot be read without decoding all of it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data, key = dataset.tables.read(table_name(found))
        check_parquet_size(data, where=key)
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            here = [n for n in (IMAGE_ID, POOLED_PATH, "rel_path") if n in file.schema_arrow.names]
            table = file.read(columns=here)
        of_file = np.asarray(table[POOLED_PATH]) == found.full_path
        rows = table.filter(pa.array(of_file & np.asarray(table[IMAGE_ID].is_null())))
    except (TableNotFoundError, LimitExceededError, pa.ArrowException, KeyError, OSError):
        return None  # The whole table, read by the caller, says what is wrong with it.
    if "rel_path" not in here:
        return [""] * len(rows)
    folder = PurePosixPath(found.rel_path).parent
    return [_named_path(folder, path) for path in rows["rel_path"].to_pylist()]


def _named_path(folder: PurePosixPath, path: object) -> str:
    """Return the path below the scanned folder that a row of a table in a folder names."""
    return (folder / str(path).replace("\\", "/")).as_posix()


def save_pooled(
    dataset: OpenDataset, found: Found, rows: pd.DataFrame, earlier: pd.DataFrame | None
) -> bool:
    """Put the rows of a pooled file into its table; False if a user has edited those there.

    Parameters
    ----------
    dataset : OpenDataset
    found : Found
    rows : DataFrame
    earlier : DataFrame, optional
        What was put there last time. None: whatever is there is replaced.
    """
    name, path = table_name(found), found.full_path
    try:
        table = dataset.load_table(name)
    except TableNotFoundError:
        table = None
    if earlier is not None and len(earlier):
        # Rows that are those of the file already are no edit: a scan may have been killed then.
        now = earlier.iloc[:0]
        if table is not None and POOLED_PATH in table.columns:
            now = table[table[POOLED_PATH] == path]
        if not (_same(now, earlier) or _same(now, rows)):
            return False
    try:
        dataset.replace_rows_for_image_id(name, path, rows, image_id_col=POOLED_PATH)
    except ArgumentError as error:
        raise SourceFileError(
            f"does not fit the table {name!r}: {error.what}", where=path
        ) from error
    return True


def move_rows(dataset: OpenDataset, old: tuple[str, str], new: tuple[str, str]) -> None:
    """Let the rows of a pooled file, edited or not, be those of the path it is under now.

    Parameters
    ----------
    dataset : OpenDataset
    old, new : (str, str)
        Name of the table and path of the file.
    """
    try:
        table = dataset.load_table(old[0])
    except TableNotFoundError:
        return
    if POOLED_PATH not in table.columns:
        return
    rows = table[table[POOLED_PATH] == old[1]].reset_index(drop=True)
    if not len(rows):
        return  # Moved already, by a scan that was killed then.
    none = rows.iloc[:0]
    rows[POOLED_PATH] = new[1]
    if old[0] == new[0]:
        both = {old[1]: none, new[1]: rows}
        dataset.replace_rows_for_image_ids(old[0], both, image_id_col=POOLED_PATH)
        return
    dataset.replace_rows_for_image_id(new[0], new[1], rows, image_id_col=POOLED_PATH)
    if len(rows) == len(table):
        dataset.delete_table(old[0])
    else:
        dataset.replace_rows_for_image_id(old[0], old[1], none, image_id_col=POOLED_PATH)


def _same(now: pd.DataFrame, earlier: pd.DataFrame) -> bool:
    """Return True if rows are those of an earlier ingest; which images they mean may differ."""
    columns = [name for name in earlier.columns if name != IMAGE_ID]
    if not set(columns) <= set(now.columns):
        return False
    shown = [frame[columns].astype("object").astype("str") for frame in (now, earlier)]
    return shown[0].reset_index(drop=True).equals(shown[1].reset_index(drop=True))
