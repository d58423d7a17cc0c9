"""The manifest of an export, and the journal of a running export."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.errors import FormatVersionError, TargetExistsError
from kymflow_zarr.runtime.limits import loads_json
from kymflow_zarr.schema.image import ImageDocument

__all__ = [
    "FileEntry",
    "describe_image",
    "journal_header",
    "journal_line",
    "manifest_bytes",
    "read_entries",
    "read_journal",
]

_FORMAT: Final = layout.EXPORT_FORMAT
_JOURNAL_FORMAT: Final = "kymflow_zarr_export_journal"
_VERSION: Final = 1


class FileEntry(NamedTuple):
    """The manifest's entry for an exported file.

    Parameters
    ----------
    size_bytes : int
    sha256 : str
        64 hexadecimal digits.
    made_from : str
        Digest of the file's source in the dataset and of the way it was written.
    """

    size_bytes: int
    sha256: str
    made_from: str


def read_entries(
    data: bytes, dataset_id: str, *, where: str
) -> tuple[Mapping[str, Any], dict[str, FileEntry]]:
    """Return the manifest of an earlier export, and the files that it lists, by their paths.

    Raises
    ------
    TargetExistsError
        If the manifest is not of an export of this dataset.
    FormatVersionError
        If its version is unknown.
    """
    document = _read(data, _FORMAT, dataset_id, where=where)
    files = document.get("files")
    if not isinstance(files, Mapping):
        raise _foreign("it lists no files", where)
    entries = {path: _entry(value) for path, value in files.items() if not layout.leads_out(path)}
    return document, {path: entry for path, entry in entries.items() if entry is not None}


def read_journal(data: bytes, dataset_id: str, *, where: str) -> Iterator[tuple[str, FileEntry]]:
    """Yield path and entry of each file that an interrupted export has started to publish.

    Raises
    ------
    TargetExistsError, FormatVersionError
        As for :func:`read_entries`.
    """
    header, *lines = data.split(b"\n")
    _read(header, _JOURNAL_FORMAT, dataset_id, where=where)
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue  # A crash truncated this line: its file was not published.
        entry = _entry(document)
        match document:
            case {"path": str(path)} if entry is not None and not layout.leads_out(path):
                yield path, entry


def journal_header(dataset_id: str) -> bytes:
    """Return the first line of a journal."""
    return _line({"format": _JOURNAL_FORMAT, "format_version": _VERSION, "dataset_id": dataset_id})


def journal_line(path: str, entry: FileEntry) -> bytes:
    """Return the journal line to write before a file is published."""
    return _line({"path": path, **entry._asdict()})


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _read(data: bytes, form: str, dataset_id: str, *, where: str) -> Mapping[str, Any]:
    try:
        document = loads_json(data, where=where)
    except ValueError as error:
        raise _foreign("it is not JSON", where) from error
    if not isinstance(document, Mapping) or document.get("format") != form:
        raise _foreign("it is none of an export", where)
    if document.get("format_version") != _VERSION:
        raise FormatVersionError(
            f"the export there has the format version {document.get('format_version')!r}, "
            f"{_VERSION} is the newest known",
            where=where,
            hint="Update kymflow_zarr, or export to another folder.",
        )
    if document.get("dataset_id") != dataset_id:
        raise _foreign(f"it is of the dataset {document.get('dataset_id')!r}", where)
    return document


def _foreign(why: str, where: str) -> TargetExistsError:
    return TargetExistsError(
        f"the export would overwrite what it did not write: {why}",
        where=where,
        hint="Export to another folder. Nothing was overwritten.",
    )


def _entry(value: Any) -> FileEntry | None:
    match value:
        case {"size_bytes": int(size), "sha256": str(digest), "made_from": str(made_from)}:
            return FileEntry(size, digest, made_from)
    return None


def describe_image(document: ImageDocument) -> dict[str, Any]:
    """Return the part of an image's manifest entry that does not depend on its files."""
    described: dict[str, Any] = {
        "axes": document.axes,
        "dtype": document.pixels.dtype,
        "shape": document.pixels.shape,
        "chunks": document.pixels.chunks,
        "channel_names": document.channel_names,
        "created_utc": document.created_utc,
        "updated_utc": document.updated_utc,
        "source": document.source,
        "earlier_artifacts": document.earlier_artifacts,
    }
    plain: dict[str, Any] = msgspec.to_builtins(described)
    return plain


def manifest_bytes(
    earlier: Mapping[str, Any],
    *,
    dataset_id: str,
    exported_utc: str,
    files: Mapping[str, FileEntry],
    images: Mapping[str, Any],
    tables: list[dict[str, Any]],
    source_files: list[dict[str, Any]],
    failed: list[dict[str, Any]],
) -> bytes | None:
    """Return the manifest, None if it equals the earlier one.

    Parameters
    ----------
    earlier : mapping
        The earlier manifest, empty if there is none.
    dataset_id, exported_utc : str
    files : mapping of str to FileEntry
        Entries by path below the target.
    images : mapping
        Entries by image id; see the package's documentation of exported folders.
    tables, source_files : list of dict
    failed : list of dict
        Parts that could not be read.
    """
    document = {
        "format": _FORMAT,
        "format_version": _VERSION,
        "dataset_id": dataset_id,
        "exported_utc": exported_utc,
        "files": {path: entry._asdict() for path, entry in sorted(files.items())},
        "images": images,
        "tables": tables,
        "source_files": source_files,
        "failed": failed,
    }
    if {**earlier, "exported_utc": exported_utc} == document:
        return None
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
