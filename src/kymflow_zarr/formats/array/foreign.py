"""Check arrays of other programs: harmless codecs, and sizes that fit in memory.

zarr-python looks codecs up by the name in the document. One of them runs code (``pickle``),
and plug-ins may register others.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.runtime.limits import check_limit
from kymflow_zarr.storage.unpacking import COMPRESSORS

__all__ = ["CODECS", "check_foreign_array", "check_foreign_size"]

CODECS: Final = frozenset(
    {
        # Zarr v3 core and its registry.
        "blosc", "bytes", "crc32c", "gzip", "sharding_indexed", "transpose", "zstd",
        # numcodecs: Zarr v2 uses these names, v3 the same with the prefix "numcodecs.".
        "adler32", "astype", "bitround", "bz2", "crc32", "delta", "fixedscaleoffset",
        "fletcher32", "jenkins_lookup3", "lz4", "lzma", "packbits", "quantize", "shuffle", "zlib",
    }
)  # fmt: skip
_BROKEN: Final = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)
_ORDER: Final = ("filters", "compressor")


def check_foreign_array(document: Any, *, where: str) -> None:
    """Check the document of a Zarr v2 or v3 array before zarr-python reads it.

    Parameters
    ----------
    document : object
        The parsed ``zarr.json`` or ``.zarray``.
    where : str
        Its key, for errors.

    Raises
    ------
    CorruptDataError
        If it names a codec that is not known to be harmless, or is not an array document.
    LimitExceededError
        If a chunk is larger than ``array_bytes``.
    """
    try:
        names = list(_codecs_of(document))
        sizes = [math.prod(map(int, shape)) for shape in _chunk_shapes(document)]
        item = _item_bytes(document)
    except _BROKEN as error:
        raise _unreadable(error, where) from error
    for name in names:
        if name not in CODECS:
            raise CorruptDataError(
                f"the array needs the codec {name!r}, which is not among those that are read",
                where=where,
                hint="If you trust its origin, read it with zarr itself.",
            )
    # Raw LZMA does not declare its unpacked size, so it cannot be checked.
    if any(codec == "lzma" and form == lzma.FORMAT_RAW for codec, form in _forms(document)):
        raise CorruptDataError("the array is compressed by lzma without a header", where=where)
    # Each compressor may unpack to any size, but only the first that decodes can be checked.
    if len(COMPRESSORS.intersection(names)) > 1 or any(names.count(c) > 1 for c in COMPRESSORS):
        raise CorruptDataError("the array is compressed more than once", where=where)
    for size in sizes:
        check_limit("array_bytes", size * item, "a chunk of the array takes", where=where)


def check_foreign_size(document: Any, *, where: str) -> None:
    """Check an array as above, and that it fits the limits when loaded whole."""
    check_foreign_array(document, where=where)
    try:
        shape = [int(n) for n in document["shape"]]
        smallest = [min(pair) for pair in zip(*_chunk_shapes(document), strict=True)]
        grid = [-(-n // max(1, int(c))) for n, c in zip(shape, smallest, strict=True)]
    except _BROKEN as error:
        raise _unreadable(error, where) from error
    size = math.prod(shape) * _item_bytes(document)
    check_limit("array_bytes", size, "the array takes", where=where)
    check_limit("array_chunks", math.prod(grid), "the array has", where=where)


def _unreadable(error: Exception, where: str) -> CorruptDataError:
    return CorruptDataError(f"the document of the array cannot be read: {error!r}", where=where)


def _codecs_of(document: Any) -> Iterator[str]:
    """Yield the names of all codecs of an array document, including those inside shards."""
    if document.get("zarr_format") == 2:
        for key in _ORDER:
            value = document.get(key)
            for codec in value if isinstance(value, list) else [value]:
                if codec is not None:
                    yield str(codec["id"])
        return
    yield from _names(document["codecs"])


def _names(codecs: Any) -> Iterator[str]:
    for codec in codecs:
        if isinstance(codec, str):
            yield codec.removeprefix("numcodecs.")
            continue
        yield str(codec["name"]).removeprefix("numcodecs.")
        inside = codec.get("configuration") or {}
        for key in ("codecs", "index_codecs"):
            yield from _names(inside.get(key, ()))


def _forms(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and ``format`` of each codec anywhere in an array document."""
    if isinstance(document, list):
        for item in document:
            yield from _forms(item)
    elif isinstance(document, dict):
        name = str(document.get("name", document.get("id"))).removeprefix("numcodecs.")
        yield name, document.get("configuration", document).get("format")
        for key in ("codecs", "compressor", "filters", "configuration"):
            yield from _forms(document.get(key))


def _chunk_shapes(document: Mapping[str, Any]) -> list[list[int]]:
    if document.get("zarr_format") == 2:
        return [document["chunks"]]
    shapes = [document["chunk_grid"]["configuration"]["chunk_shape"]]
    codecs = document["codecs"]
    while codecs and isinstance(codecs[0], Mapping) and codecs[0]["name"] == "sharding_indexed":
        shapes.append(codecs[0]["configuration"]["chunk_shape"])
        codecs = codecs[0]["configuration"]["codecs"]
    return shapes


def _item_bytes(document: Mapping[str, Any]) -> int:
    import numpy as np

    kind = document["dtype" if document.get("zarr_format") == 2 else "data_type"]
    try:
        size: int = np.dtype(kind).itemsize
        return max(1, size)
    except (TypeError, SyntaxError):
        return 8  # Variable-length types such as text: at least a pointer each.
