"""An array and its files, without a look into its chunks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kymflow_zarr import layout as keys
from kymflow_zarr.check.files import check_digest
from kymflow_zarr.check.validate.findings import Findings
from kymflow_zarr.engine.documents import load
from kymflow_zarr.errors import SchemaValidationError
from kymflow_zarr.formats.array.write import chunk_key
from kymflow_zarr.schema.array import ArrayDocument, read_array_document
from kymflow_zarr.schema.image import PixelsDocument
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.zarr_arrays import open_zarr_array

_ANEW = "Restore the files from a copy of the dataset, or save the array anew."


def check_array(
    findings: Findings,
    storage: Storage,
    prefix: str,
    pixels: PixelsDocument,
    folders: Mapping[str, Mapping[str, int]],
    dimension_names: Sequence[str] | None,
) -> None:
    """Check the array of a group against what the group's document says of it.

    Parameters
    ----------
    findings : Findings
    storage : Storage
    prefix : str
        Key of the group.
    pixels : PixelsDocument
    folders : mapping of str to mapping
        The files of the group's folders, as of :func:`list_tree`.
    dimension_names : sequence of str, optional
        What the array's document is to carry.
    """
    check_digest(findings, f"{prefix}/{keys.GROUP}", "pixels.sha256", pixels.sha256)
    key = f"{prefix}/{pixels.path}"
    where = f"{key}/{keys.GROUP}"
    files = folders.get(pixels.path, {})
    # On-disk format: "pixels.path MUST name a Zarr v3 array."
    if keys.GROUP not in files:
        findings.add("array-missing", where, f"the document of the array is missing. {_ANEW}")
        return
    with findings.reading("array-document", where):
        document = load(storage, where)
        _check_names(findings, where, document, dimension_names)
        layout = read_array_document(document, where=where)
        if layout is None:
            _check_foreign(findings, storage, key, pixels)
            return
        _check_equal(
            findings, where, pixels, layout.shape, layout.data_type, chunks=layout.chunk_shape
        )
        _check_files(findings, key, pixels, layout, files)


def _check_names(
    findings: Findings, where: str, document: Any, wanted: Sequence[str] | None
) -> None:
    found = document.get("dimension_names") if isinstance(document, Mapping) else None
    if found is not None and not isinstance(found, list):
        raise SchemaValidationError(f"dimension_names is {found!r}, not a list", where=where)
    # OME-Zarr 0.5: "The 'dimension_names' attribute MUST be included in the zarr.json of the
    # Zarr array of a multiscale level and MUST match the names in the 'axes' metadata."
    if found != (None if wanted is None else list(wanted)):
        findings.add(
            "dimension-names",
            where,
            f"dimension_names is {found}, where the axes make it {wanted}. "
            "Correct it there, or save the array anew.",
        )


def _check_foreign(findings: Findings, storage: Storage, key: str, pixels: PixelsDocument) -> None:
    array = open_zarr_array(storage, key, complete=False)
    where = f"{key}/{keys.GROUP}"
    findings.add(
        "array-foreign",
        where,
        "another program wrote the array in a layout of its own, which may leave chunks out: "
        "its files were not checked.",
    )
    _check_equal(findings, where, pixels, array.shape, array.dtype.name, chunks=array.chunks)


def _check_equal(
    findings: Findings,
    where: str,
    pixels: PixelsDocument,
    shape: Sequence[int],
    dtype: str,
    *,
    chunks: Sequence[int],
) -> None:
    # On-disk format: "pixels.shape, dtype and chunks MUST be those of the array."
    said = (pixels.shape, pixels.dtype, pixels.chunks)
    found = (list(shape), dtype, list(chunks))
    if said != found:
        findings.add(
            "array-mismatch",
            where,
            "shape, dtype and chunks are {} {} {}, its group says {} {} {}. ".format(*found, *said)
            + _ANEW,
        )


def _check_files(
    findings: Findings,
    key: str,
    pixels: PixelsDocument,
    layout: ArrayDocument,
    files: Mapping[str, int],
) -> None:
    grid = layout.file_grid
    # The grid may be of any size, what a damaged document says too: only files that are
    # there are looped over.
    chunks = {name for name in files if _is_chunk(name, grid)}
    # On-disk format: "Every chunk MUST be written, those of equal values too."
    missing = math.prod(grid) - len(chunks)
    if missing:
        findings.add(
            "chunk-missing",
            f"{key}/{_first_missing(chunks, grid)}",
            f"{missing} of the {math.prod(grid)} chunk files are missing, this first. {_ANEW}",
        )
    # Zarr v3, codecs: no chunk is encoded as zero bytes.
    empty = [name for name in files if name in chunks and files[name] == 0]
    if empty:
        findings.add(
            "chunk-empty",
            f"{key}/{empty[0]}",
            f"{len(empty)} chunk files are empty, this first. {_ANEW}",
        )
    # On-disk format: "pixels.stored_bytes MUST be the size of all files of the array."
    size = files[keys.GROUP] + sum(files[name] for name in chunks)
    if not missing and not empty and size != pixels.stored_bytes:
        findings.add(
            "stored-bytes",
            key,
            f"the files hold {size} bytes, where {pixels.stored_bytes} were written: one was "
            f"cut off or changed. {_ANEW}",
        )
    # Zarr v3 core: "chunk_grid ... defines the keys of the chunks"; no reader looks at others.
    stray = [name for name in files if name not in chunks and name != keys.GROUP]
    if stray:
        findings.add(
            "chunk-stray",
            f"{key}/{stray[0]}",
            f"{len(stray)} files belong to no chunk of the array, this first; nothing reads "
            "them, and they can be deleted.",
        )


def _is_chunk(name: str, grid: tuple[int, ...]) -> bool:
    start, *parts = name.split("/")
    if start != "c" or len(parts) != len(grid) or not all(part.isdecimal() for part in parts):
        return False
    index = tuple(map(int, parts))
    return chunk_key(index) == name and all(i < n for i, n in zip(index, grid, strict=True))


def _first_missing(chunks: Collection[str], grid: tuple[int, ...]) -> str:
    for number in range(len(chunks) + 1):
        index = []
        rest = number
        for n in reversed(grid):
            rest, i = divmod(rest, n)
            index.append(i)
        key = chunk_key(tuple(reversed(index)))
        if key not in chunks:
            break
    return key
