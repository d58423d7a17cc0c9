"""Read what was written of an image, and compare it with the file it is of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from kymflow_zarr import layout as keys
from kymflow_zarr.engine.images.draft import RecordDraft
from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.formats.array.read import read_array
from kymflow_zarr.ingest.sources.channels import ChannelStack
from kymflow_zarr.runtime.limits import loads_json
from kymflow_zarr.schema.array import ArrayDocument, read_array_document

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["read_back"]

_HINT = "The disk, or the memory of this machine, is not to be trusted; the image was not added."


def read_back(draft: RecordDraft, stack: ChannelStack) -> None:
    """Compare the pixels in a draft, as they are on the disk, with those of the TIFFs.

    Both are read once more, block by block, and compared bit by bit.

    Raises
    ------
    CorruptDataError
        If they differ, or the files of the draft cannot be read as they were written.
    """
    path = keys.pixels_path(1)
    written = _Written(draft, path)
    where = f"{path}/{keys.GROUP}"
    try:
        with written.open(keys.GROUP) as document:
            raw = loads_json(document.read(0, document.size), where=where)
        layout = read_array_document(raw, where=where)
        if layout is None or layout.shape != stack.shape:
            raise CorruptDataError("the document is not the one that was written", where=where)
        for region in _regions(layout):
            ours = read_array(layout, written.open, where=path, selection=region)
            # As bytes: NaN is equal to NaN here, and -0.0 is not 0.0.
            theirs = np.ascontiguousarray(stack[region], dtype=ours.dtype)
            if not _same(_as_bytes(ours), _as_bytes(theirs)):
                raise CorruptDataError("the pixels are not those of the file", where=path)
    except (CorruptDataError, ValueError) as error:
        what = error.what if isinstance(error, CorruptDataError) else str(error)
        raise CorruptDataError(
            f"what was written does not come back as it was: {what}",
            where=str(stack.images[0].path),
            hint=_HINT,
        ) from error


def _regions(layout: ArrayDocument) -> Iterator[tuple[slice, ...]]:
    """Yield what is in one file after the other."""
    for index in itertools.product(*map(range, layout.file_grid)):
        sizes = zip(index, layout.file_shape, layout.shape, strict=True)
        yield tuple(slice(i * step, min((i + 1) * step, length)) for i, step, length in sizes)


def _as_bytes(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _same(ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8]) -> bool:
    # Eight at a time: what is noted of each comparison takes memory, too.
    whole = len(ours) // 8 * 8
    return np.array_equal(ours[whole:], theirs[whole:]) and np.array_equal(
        ours[:whole].view(np.uint64), theirs[:whole].view(np.uint64)
    )


class _Written:
    """The files of an array that are not in their places yet."""

    def __init__(self, draft: RecordDraft, path: str) -> None:
        self._draft = draft
        self._path = path

    @contextmanager
    def open(self, key: str) -> Iterator[_Bytes]:
        """Give the bytes of a file."""
        yield _Bytes(self._draft.read(f"{self._path}/{key}"))


class _Bytes:
    """A file that was read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, start: int, size: int) -> bytes:
        """Return a part of it."""
        return self._data if (start, size) == (0, self.size) else self._data[start : start + size]
