"""The registry of artifact kinds: how each is encoded, decoded and checked.

A new kind is a row here, its name in `types.ArtifactKind` and its suffix in
`types.ARTIFACT_SUFFIXES`. Array artifacts are folders and not in this registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

from kymflow_zarr.types import ArtifactKind

__all__ = ["KINDS", "Kind", "dataframe_kinds"]


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
    is_dataframe : bool
        True if its values are data frames; other values are shown as JSON.
    encode, decode : callable
        Convert a value to the bytes of its file, and back equal.
    check : callable, optional
        Raises `CorruptDataError` if an open file cannot be read; reads as little of it as
        possible. None means to read and decode the file.
    media_type : str
        Of its file as a download.
    loader : str
        The method of an image that returns such an artifact, for hints.
    """

    name: ArtifactKind
    is_dataframe: bool
    encode: _Encode
    decode: _Decode
    check: Callable[[BinaryIO, str], None] | None = None
    media_type: str = "application/octet-stream"
    loader: str = "load_artifact"


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


# In order of preference: the first kind of data frames preserves most.
_ROWS: Final = (
    Kind(
        "json", False, _encode_json, _decode_json,
        media_type="application/json", loader="load_json",
    ),
    Kind(
        "parquet", True, _encode_parquet, _decode_parquet, _check_parquet,
        media_type="application/vnd.apache.parquet", loader="load_df_parquet",
    ),
    Kind(
        "csv_gz", True, _encode_csv_gz, _decode_csv_gz, _check_csv_gz,
        media_type="application/gzip", loader="load_df_csv_gz",
    ),
)  # fmt: skip
KINDS: Final[dict[ArtifactKind, Kind]] = {kind.name: kind for kind in _ROWS}


def dataframe_kinds() -> tuple[Kind, ...]:
    """Return the kinds of data frames, in order of preference."""
    return tuple(kind for kind in KINDS.values() if kind.is_dataframe)
