"""Store pooled tables of a folder (``kym_event_db.csv``, ...) as tables of the dataset.

Their rows name images by ``rel_path``, a path below the folder of the table; their absolute
paths are those of another machine and are kept as text. The table gets the columns
``image_id``, empty where a row matches no image, and ``pooled_path``, the file a row came from.
Columns of the file that have these names become ``file_image_id`` and ``file_pooled_path``.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
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
from kymflow_zarr.ingest.folder.scan import ScannedFile
from kymflow_zarr.schema.analysis_columns import IMAGE_ID, POOLED_PATH, names_in_table

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr.formats.rows.encoded import Rows


class ImageIdsByPath(Mapping[str, str]):
    """Image ids by the ``rel_path`` of their TIFFs, as tables of other systems spell it too.

    A path that is not there as it is written is taken for the one that differs from it only in its
    Unicode form or in case, as macOS and Windows do, if there is just one.
    """

    def __init__(self, ids: Mapping[str, str]) -> None:
        self._ids = ids
        self._folded: defaultdict[str, list[str]] = defaultdict(list)
        for path, image_id in ids.items():
            self._folded[_folded(path)].append(image_id)

    def __getitem__(self, path: str) -> str:
        if path in self._ids:
            return self._ids[path]
        alike = self._folded.get(_folded(path), [])
        if len(alike) != 1:
            raise KeyError(path)
        return alike[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def table_name(rel_path: str) -> str:
    """Return the name of the table that holds the rows of a pooled file."""
    return str(PurePosixPath(rel_path).with_suffix("")).lstrip("/")


def pooled_rows(
    data: bytes, scanned: ScannedFile, images: Mapping[str, str], *, notes: list[str] | None = None
) -> Rows:
    """Return the rows of a pooled table, matched to images.

    Parameters
    ----------
    data : bytes
        The CSV.
    scanned : ScannedFile
    images : mapping of str to str
        Image ids by the ``rel_path`` of their TIFFs.
    notes : list of str, optional
        As of :func:`~kymflow_zarr.formats.dataframe.csv_foreign.read_csv`.

    Raises
    ------
    SourceFileError
        If it is not a CSV.
    """
    import pandas as pd

    from kymflow_zarr.formats.dataframe.columns import encode_column
    from kymflow_zarr.formats.dataframe.csv_foreign import read_csv
    from kymflow_zarr.formats.rows.encoded import Column, Rows, repeated

    try:
        table = read_csv(data, notes=notes)
    except ValueError as error:
        raise SourceFileError(f"is no readable CSV: {error}", where=scanned.full_path) from error
    ids: list[str | None] = [None] * table.rows
    if "rel_path" in table.columns:
        folder = PurePosixPath(scanned.rel_path).parent
        paths = table.columns["rel_path"].array.to_pylist()
        known = {path: images.get(_named_path(folder, path)) for path in set(paths)}
        ids = [known[path] for path in paths]
    named = names_in_table(list(table.columns))
    return Rows.of_columns(
        [
            Column(IMAGE_ID, *encode_column(pd.Series(ids, dtype="str"), IMAGE_ID)),
            *(column.renamed(named.get(name, name)) for name, column in table.columns.items()),
            repeated(POOLED_PATH, scanned.full_path, table.rows),
        ]
    )


def unresolved_paths(dataset: OpenDataset, scanned: ScannedFile) -> list[str] | None:
    """Return the paths in those rows of a pooled file that match no image.

    Reads three columns of the table, not the file.

    Returns
    -------
    list of str or None
        For each such row its path below the folder, "" if it has none. None if there is no such
        table, or it cannot be read without decoding all of it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data, key = dataset.tables.read(table_name(scanned.rel_path))
        check_parquet_size(data, where=key)
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            here = [n for n in (IMAGE_ID, POOLED_PATH, "rel_path") if n in file.schema_arrow.names]
            table = file.read(columns=here)
        of_file = np.asarray(table[POOLED_PATH]) == scanned.full_path
        rows = table.filter(pa.array(of_file & np.asarray(table[IMAGE_ID].is_null())))
    except (TableNotFoundError, LimitExceededError, pa.ArrowException, KeyError, OSError):
        return None  # The caller reads the whole table and reports the error.
    if "rel_path" not in here:
        return [""] * len(rows)
    folder = PurePosixPath(scanned.rel_path).parent
    return [_named_path(folder, path) for path in rows["rel_path"].to_pylist()]


def _named_path(folder: PurePosixPath, path: object) -> str:
    """Return the path of a row of a pooled table, relative to the scanned folder."""
    return (folder / str(path).replace("\\", "/")).as_posix()


def save_pooled(
    dataset: OpenDataset, scanned: ScannedFile, rows: Rows, earlier: Rows | None
) -> bool:
    """Write the rows of a pooled file to its table; return False if a user edited the old ones.

    Parameters
    ----------
    dataset : OpenDataset
    scanned : ScannedFile
    rows : Rows
    earlier : Rows, optional
        The rows written by the last ingest. None replaces any rows.
    """
    name, path = table_name(scanned.rel_path), scanned.full_path
    try:
        table = dataset.load_table(name)
    except TableNotFoundError:
        table = None
    frame = rows.to_dataframe()
    if earlier is not None and earlier.rows:
        # Rows equal to the file's are not an edit: an interrupted scan may have written them.
        before = earlier.to_dataframe()
        now = before.iloc[:0]
        if table is not None and POOLED_PATH in table.columns:
            now = table[table[POOLED_PATH] == path]
        if not (_same(now, before) or _same(now, frame)):
            return False
    try:
        dataset.replace_rows_for_image_id(name, path, frame, image_id_col=POOLED_PATH)
    except ArgumentError as error:
        raise SourceFileError(
            f"does not fit the table {name!r}: {error.what}", where=path
        ) from error
    return True


def move_rows(dataset: OpenDataset, old: tuple[str, str], new: tuple[str, str]) -> None:
    """Relabel the rows of a pooled file, edited or not, with the file's new path.

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
        return  # An interrupted scan has already moved them.
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
    """Return True if rows equal those of an earlier ingest, whatever images they match."""
    columns = [name for name in earlier.columns if name != IMAGE_ID]
    if not set(columns) <= set(now.columns):
        return False
    shown = [frame[columns].astype("object").astype("str") for frame in (now, earlier)]
    return shown[0].reset_index(drop=True).equals(shown[1].reset_index(drop=True))
