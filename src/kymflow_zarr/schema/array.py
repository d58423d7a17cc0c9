"""The Zarr v3 array document: write ours, and recognize ours when reading."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from kymflow_zarr.errors import SchemaValidationError

# Zarr v3 core data types that NumPy has, too.
DATA_TYPES: Final = frozenset(
    {
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    }
)


class ArrayDocument(msgspec.Struct, kw_only=True, frozen=True):
    """The layout of one array of ours.

    Parameters
    ----------
    shape : tuple of int
    data_type : str
        Zarr v3 name, the same as NumPy's.
    chunk_shape : tuple of int
        Shape of a chunk (of an inner chunk, if there are shards).
    shard_shape : tuple of int, optional
        Shape of a shard, a multiple of `chunk_shape`; None if each chunk is a file.
    compressor : str
        Name of the compressor inside blosc.
    level : int
        Its compression level, 0 to 9.
    """

    shape: tuple[int, ...]
    data_type: str
    chunk_shape: tuple[int, ...]
    shard_shape: tuple[int, ...] | None = None
    compressor: str = "lz4"
    level: int = 9

    @property
    def file_shape(self) -> tuple[int, ...]:
        """Shape of the chunk or shard in one file."""
        return self.chunk_shape if self.shard_shape is None else self.shard_shape

    @property
    def file_grid(self) -> tuple[int, ...]:
        """Number of files along each dimension; 0 along an empty one."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.file_shape, strict=True))

    @property
    def chunks_per_file(self) -> tuple[int, ...]:
        """Number of inner chunks in one file along each dimension."""
        return tuple(s // c for s, c in zip(self.file_shape, self.chunk_shape, strict=True))


def array_document(
    layout: ArrayDocument, *, item_size: int, dimension_names: Sequence[str] | None
) -> dict[str, Any]:
    """Return the ``zarr.json`` of an array.

    Notes
    -----
    Source: Zarr v3 core, https://zarr-specs.readthedocs.io/en/latest/v3/core/, with the
    codecs bytes, blosc, crc32c and sharding_indexed of its registry.
    """
    codecs: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}}
        if item_size > 1
        else {"name": "bytes"},
        {
            "name": "blosc",
            "configuration": {
                "cname": layout.compressor,
                "clevel": layout.level,
                "shuffle": "bitshuffle",
                "typesize": item_size,
                "blocksize": 0,
            },
        },
        # Lets any reader detect a flipped byte.
        {"name": "crc32c"},
    ]
    if layout.shard_shape is not None:
        codecs = [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": list(layout.chunk_shape),
                    "codecs": codecs,
                    "index_codecs": [
                        {"name": "bytes", "configuration": {"endian": "little"}},
                        {"name": "crc32c"},
                    ],
                    "index_location": "end",
                },
            }
        ]
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(layout.shape),
        "data_type": layout.data_type,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": list(layout.file_shape)},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": _zero(layout.data_type),
        "codecs": codecs,
        "attributes": {},
    }
    if dimension_names is not None:
        document["dimension_names"] = list(dimension_names)
    return document


def _zero(data_type: str) -> object:
    if data_type == "bool":
        return False
    if data_type.startswith("complex"):
        return [0.0, 0.0]
    return 0.0 if data_type.startswith("float") else 0


def read_array_document(document: Any, *, where: str) -> ArrayDocument | None:
    """Return the layout of an array that we wrote, None for any other valid Zarr v3 array.

    Raises
    ------
    SchemaValidationError
        If it is not a Zarr v3 array document.
    """
    if not (
        isinstance(document, Mapping)
        and document.get("zarr_format") == 3
        and document.get("node_type") == "array"
    ):
        raise SchemaValidationError("this is not a Zarr v3 array document", where=where)
    try:
        layout = _layout_of(document)
        names = document.get("dimension_names")
        dimension_names = None if names is None else list(names)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None
    # Compare with the document that we would write, instead of checking each key.
    item_size = _item_size(layout.data_type)
    ours = array_document(layout, item_size=item_size, dimension_names=dimension_names)
    same = all(document.get(key) == value for key, value in ours.items() if key != "attributes")
    return layout if same else None


def _layout_of(document: Mapping[str, Any]) -> ArrayDocument:
    data_type = document["data_type"]
    if data_type not in DATA_TYPES:
        raise ValueError(data_type)
    shape = _sizes(document["shape"], least=0)
    file_shape = _sizes(document["chunk_grid"]["configuration"]["chunk_shape"], least=1)
    codecs = document["codecs"]
    shard_shape: tuple[int, ...] | None = None
    chunk_shape = file_shape
    if codecs[0]["name"] == "sharding_indexed":
        shard_shape = file_shape
        chunk_shape = _sizes(codecs[0]["configuration"]["chunk_shape"], least=1)
        codecs = codecs[0]["configuration"]["codecs"]
        if any(s % c for s, c in zip(shard_shape, chunk_shape, strict=True)):
            raise ValueError(chunk_shape)
    if not len(shape) == len(file_shape) == len(chunk_shape):
        raise ValueError(file_shape)
    return ArrayDocument(
        shape=shape,
        data_type=data_type,
        chunk_shape=chunk_shape,
        shard_shape=shard_shape,
        compressor=str(codecs[1]["configuration"]["cname"]),
        # On-disk format: "A reader MUST take any level."
        level=_level(codecs[1]["configuration"]["clevel"]),
    )


def _level(value: object) -> int:
    if type(value) is not int or value not in range(10):
        raise ValueError(value)
    return value


def _sizes(values: Sequence[object], *, least: int) -> tuple[int, ...]:
    sizes = tuple(n for n in values if type(n) is int and n >= least)
    if len(sizes) != len(values):
        raise ValueError(values)
    if math.prod(sizes) >= 2**63:
        raise ValueError(sizes)
    return sizes


def _item_size(data_type: str) -> int:
    digits = "".join(c for c in data_type if c.isdigit())
    return int(digits) // 8 if digits else 1


def chunk_key(index: tuple[int, ...]) -> str:
    """Return the key of a chunk file in Zarr v3's default chunk key encoding."""
    return "/".join(["c", *map(str, index)])
