"""Pixels, arrays, artifacts and tables from the files of an export."""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.errors import CorruptDataError, KymflowZarrError, SourceFileError
from kymflow_zarr.formats.array.npy import decode_npy
from kymflow_zarr.formats.array.write import array_layout
from kymflow_zarr.formats.gzip import gzip_bytes
from kymflow_zarr.ingest.from_export.files import ImageEntry, PixelsEntry
from kymflow_zarr.ingest.sources.tiff.integrity import (
    check_image_size,
    check_ome,
    check_page_chain,
    check_stored_bytes,
)
from kymflow_zarr.types import ArtifactKind, Axis

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["artifact_bytes", "chunks_to_ask_for", "read_array", "read_frame", "read_pixels"]

# Above this a TIFF is decoded into a temporary file and not into memory.
_WHOLE_IMAGE_BYTES: Final = 256 << 20


def read_pixels(place: Path, entry: ImageEntry, pixels: PixelsEntry) -> np.ndarray[Any, Any]:
    """Return the pixels of an exported image, dimensions in the order of the image.

    Parameters
    ----------
    place : Path
        The TIFF, or the ``.npy`` of an image without pixels.
    entry : ImageEntry
    pixels : PixelsEntry
        Says in which order the file has the dimensions.

    Raises
    ------
    SourceFileError
        If they cannot be read, or have not the shape and dtype of the image.
    """
    shape = tuple(entry.shape)
    if place.suffix == ".npy":
        found = read_array(place.read_bytes(), where=pixels.file)
    else:
        order = _order(entry, pixels)
        filed = tuple(shape[i] for i in order)
        found = _read_tiff(place, where=pixels.file)
        # A reader of TIFFs leaves out dimensions of length 1.
        if _without_ones(found.shape) == _without_ones(filed):
            found = found.reshape(filed).transpose(np.argsort(order))
    if found.shape != shape or found.dtype.newbyteorder("=") != np.dtype(entry.dtype):
        raise SourceFileError(
            f"the file holds {found.dtype.name} {found.shape}, the image was {entry.dtype} {shape}",
            where=pixels.file,
        )
    return found


def _order(entry: ImageEntry, pixels: PixelsEntry) -> list[int]:
    names = [axis.name for axis in entry.axes]
    if (
        pixels.axes is None
        or sorted(pixels.axes) != sorted(names)
        or len(names) != len(entry.shape)
    ):
        raise SourceFileError(
            f"the manifest gives the image the axes {names} and the file {pixels.axes}",
            where=pixels.file,
        )
    return [names.index(name) for name in pixels.axes]


def _read_tiff(place: Path, *, where: str) -> np.ndarray[Any, Any]:
    import tifffile

    try:
        with tifffile.TiffFile(place) as tif:
            check_page_chain(tif, where=where)
            check_ome(tif, where=where)
            series = tif.series[0]
            if series.is_multifile:
                raise SourceFileError("the TIFF takes its pixels from other files", where=where)
            check_image_size(series, where=where)
            check_stored_bytes(series, where=where)
            large = math.prod(series.shape) * series.dtype.itemsize > _WHOLE_IMAGE_BYTES
            return np.asanyarray(tif.asarray(out="memmap" if large else None))
    except KymflowZarrError:
        raise
    except Exception as error:
        raise SourceFileError(f"the TIFF cannot be read: {error!r}", where=where) from error


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [n for n in shape if n != 1]


def read_array(data: bytes, *, where: str) -> np.ndarray[Any, Any]:
    """Return the array of a ``.npy`` file; SourceFileError if it is none."""
    try:
        return decode_npy(data, where=where)
    except CorruptDataError as error:
        raise SourceFileError(error.what, where=where) from error


def chunks_to_ask_for(
    array: np.ndarray[Any, Any], chunks: list[int] | None, *, axes: Sequence[Axis] | None
) -> list[int] | None:
    """Return the chunks to ask for, None where nobody did: those may reach beyond the array."""
    chosen = array_layout(array, axes=axes, chunks=None).chunk_shape
    return None if chunks == list(chosen) else chunks


def artifact_bytes(kind: ArtifactKind, data: bytes, *, where: str) -> bytes:
    """Return an artifact as a dataset keeps it.

    Parameters
    ----------
    kind : {"json", "parquet", "csv_gz"}
    data : bytes
        The artifact itself, or the CSV of a data frame of which CSV says everything.
    where : str
        The file, which is a CSV if it ends in ``.csv``.

    Raises
    ------
    SourceFileError, CorruptDataError
        If it cannot be read.
    """
    if not where.endswith(".csv"):
        # Only what can be read is taken in.
        artifacts.decode(kind, data, where=where)
        return data
    stored = artifacts.encode(kind, _read_csv(data, where=where), where=where)
    if kind == "csv_gz" and gzip.decompress(stored) != data:
        # Another program wrote that text, and the frame is what pandas makes of it.
        return gzip_bytes(data)
    return stored


def read_frame(data: bytes, *, where: str) -> pd.DataFrame:
    """Return the data frame of an exported CSV or Parquet file; errors as above."""
    if where.endswith(".csv"):
        return _read_csv(data, where=where)
    frame: pd.DataFrame = artifacts.decode("parquet", data, where=where)
    return frame


def _read_csv(data: bytes, *, where: str) -> pd.DataFrame:
    import pandas as pd

    try:
        # As the export read it when it found that nothing is lost.
        return pd.read_csv(io.BytesIO(data))
    except (ValueError, OverflowError) as error:
        raise SourceFileError(f"is no readable CSV: {error}", where=where) from error
