"""The registry of artifact kinds: how each is encoded, decoded and checked.

A new kind is a row here, its name in `types.ArtifactKind` and its suffix in `layout.SUFFIXES`.
Array artifacts are folders and not in this registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

from kymflow_zarr.types import ArtifactKind

__all__ = ["DATAFRAME_KINDS", "KINDS", "Kind"]


class _Encode(Protocol):
    def __call__(self, value: Any, *, where: str) -> bytes: ...


class _Decode(Protocol):
    def __call__(self, data: bytes, *, where: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of artifact.

    Parameters
    ----------
    name : str
    loader : str
        The method of an image that returns such an artifact.
    is_dataframe : bool
        True if its values are data frames.
    encode, decode : callable
        Convert a value to the bytes of its file, and back equal.
    check : callable, optional
        Raises `CorruptDataError` if an open file cannot be read; reads as little of it as
        possible. None means to read and decode the file.
    """

    name: ArtifactKind
    loader: str
    is_dataframe: bool
    encode: _Encode
    decode: _Decode
    check: Callable[[BinaryIO, str], None] | None = None


# Late imports: an artifact of one kind does not load the libraries of another.
def _encode_json(value: Any, *, where: str) -> bytes:
    from kymflow_zarr.formats.json import encode_json

    return encode_json(value, where=where)


def _decode_json(data: bytes, *, where: str) -> Any:
    from kymflow_zarr.formats.json import decode_json

    return decode_json(data, where=where)


def _encode_parquet(value: Any, *, where: str) -> bytes:  # noqa: ARG001
    from kymflow_zarr.formats.dataframe.parquet import encode_parquet

    return encode_parquet(value)


def _decode_parquet(data: bytes, *, where: str) -> Any:
    from kymflow_zarr.formats.dataframe.parquet import decode_parquet

    return decode_parquet(data, where=where)


def _check_parquet(file: BinaryIO, where: str) -> None:
    from kymflow_zarr.formats.dataframe.parquet import check_parquet

    check_parquet(file, where=where)


def _encode_csv_gz(value: Any, *, where: str) -> bytes:  # noqa: ARG001
    from kymflow_zarr.formats.dataframe.csv_gz import encode_csv_gz

    return encode_csv_gz(value)


def _decode_csv_gz(data: bytes, *, where: str) -> Any:
    from kymflow_zarr.formats.dataframe.csv_gz import decode_csv_gz

    return decode_csv_gz(data, where=where)


def _check_csv_gz(file: BinaryIO, where: str) -> None:
    from kymflow_zarr.formats.gzip import check_gzip

    check_gzip(file, where=where)


_ROWS: Final = (
    Kind("json", "load_json", False, _encode_json, _decode_json),
    Kind("parquet", "load_df_parquet", True, _encode_parquet, _decode_parquet, _check_parquet),
    Kind("csv_gz", "load_df_csv_gz", True, _encode_csv_gz, _decode_csv_gz, _check_csv_gz),
)
KINDS: Final[dict[ArtifactKind, Kind]] = {kind.name: kind for kind in _ROWS}
# In order of preference: the first kind preserves most.
DATAFRAME_KINDS: Final = tuple(kind for kind in _ROWS if kind.is_dataframe)
