"""Convert data frames to CSV, and detect whether the CSV is lossless."""

from __future__ import annotations

import io
import warnings

import pandas as pd

from kymflow_zarr.errors import UnsupportedDataError
from kymflow_zarr.formats.dataframe.parquet import require_same, require_same_index
from kymflow_zarr.formats.kinds import KINDS
from kymflow_zarr.runtime.limits import gunzip
from kymflow_zarr.types import ArtifactKind

__all__ = ["csv_of"]


def csv_of(kind: ArtifactKind, data: bytes, *, where: str) -> tuple[bytes, bool]:
    """Return a stored data frame as CSV, and True if the CSV is lossless.

    Parameters
    ----------
    kind : str
        One of data frames.
    data : bytes
        The file in the dataset.
    where : str
        Its key, for errors.

    Returns
    -------
    csv : bytes
        UTF-8, with a header; a default row index is left out.
    complete : bool
        Whether a plain ``pandas.read_csv`` of it gives back an equal data frame: values, dtypes,
        labels, index and ``attrs``.

    Raises
    ------
    CorruptDataError
        If the file is damaged.
    """
    dataframe = KINDS[kind].decode(data, where=where)
    if kind == "csv_gz":
        csv = gunzip(data, where=where)
    else:
        csv = dataframe.to_csv(
            index=not _numbers_rows(dataframe.index), lineterminator="\n"
        ).encode()
    return csv, _comes_back(csv, dataframe)


def _numbers_rows(index: pd.Index) -> bool:
    return (
        isinstance(index, pd.RangeIndex)
        and index.name is None
        and (index.start, index.step) == (0, 1)
    )


def _comes_back(csv: bytes, dataframe: pd.DataFrame) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            back = pd.read_csv(io.BytesIO(csv))
        except (ValueError, OverflowError):  # ParserError and EmptyDataError are ValueErrors.
            return False
        if dataframe.attrs or not _numbers_rows(dataframe.index) or len(dataframe) != len(back):
            return False
        try:
            require_same("the labels", dataframe.columns, back.columns)
            require_same_index(dataframe.index, back.index)
            for position, label in enumerate(dataframe.columns):
                require_same(repr(label), dataframe.iloc[:, position], back.iloc[:, position])
        except UnsupportedDataError:
            return False
    # Compare the names of the column index too.
    return list(dataframe.columns.names) == list(back.columns.names)
