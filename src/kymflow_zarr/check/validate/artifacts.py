"""JSON, Parquet and CSV artifacts of one image."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

from kymflow_zarr import layout
from kymflow_zarr.check.files import check_foreign, stat_of
from kymflow_zarr.check.validate.findings import Findings
from kymflow_zarr.check.validate.metadata import check_metadata
from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.schema.curation import read_curation_document
from kymflow_zarr.schema.image import ImageDocument
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.readable_file import readable_file
from kymflow_zarr.types import ArtifactKind

# Longer than any gzip header, so that the first block of text begins in it.
_HEAD_BYTES: Final = 256 << 10
_ANEW: Final = "Restore it from a copy of the dataset, or save it anew."


def check_artifacts(
    findings: Findings,
    storage: Storage,
    prefix: str,
    files: Mapping[str, int],
    document: ImageDocument | None,
) -> None:
    """Check what is below ``analysis/`` of an image.

    Parameters
    ----------
    findings : Findings
    storage : Storage
    prefix : str
        Key of the image's ``analysis``.
    files : mapping of str to int
        Size of each file below it.
    document : ImageDocument, optional
        The image's document, where it can be read.
    """
    arrays = ArrayArtifacts(storage, prefix.removesuffix(f"/{layout.ANALYSIS}"))

    def array_shape(name: str) -> tuple[int, ...]:
        return tuple(arrays.document(name).pixels.shape)

    for name in files:
        key = f"{prefix}/{name}"
        artifact = layout.parse_artifact_key(f"{layout.ANALYSIS}/{name}")
        # On-disk format: "Names of files below analysis/ MUST be those of artifacts."
        if artifact is None:
            check_foreign(findings, key)
            continue
        found = Findings()
        with found.reading(artifact[0].replace("_", "-"), key):
            value = _check(storage, key, artifact[0])
            if artifact == ("json", layout.METADATA):
                check_metadata(found, key, value, document, array_shape)
            if artifact == ("json", layout.CURATION):
                with found.reading("curation", key):
                    read_curation_document(value, where=key)
        # A file that has gone was deleted by somebody; each file is replaced in one step.
        if found.problems and stat_of(storage, key) is not None:
            findings.extend(found)


def _check(storage: Storage, key: str, kind: ArtifactKind) -> Any:
    if kind == "json":
        from kymflow_zarr.formats.json.decode import decode_json

        data = storage.read(key)
        if data is None:
            raise CorruptDataError("the file has gone", where=key)
        return decode_json(data, where=key)
    if kind == "parquet":
        check_parquet(storage, key)
    else:
        _check_csv_gz(storage, key)
    return None


def check_parquet(storage: Storage, key: str) -> None:
    """Check that the footer of a Parquet file, and our note in it, can be read.

    Raises
    ------
    CorruptDataError, FormatVersionError
        If they cannot.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from kymflow_zarr.formats.dataframe.arrow_table import NOTE_KEY, parse_note

    try:
        with storage.open(key) as opened, pq.ParquetFile(readable_file(opened)) as file:
            note = (file.schema_arrow.metadata or {}).get(NOTE_KEY)
    # Parquet: "File Metadata ... magic number 'PAR1'" end the file; all else follows from it.
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptDataError(
            f"not a readable Parquet file: {error}", where=key, hint=_ANEW
        ) from error
    parse_note(note, where=key)


def _check_csv_gz(storage: Storage, key: str) -> None:
    with storage.open(key) as file:
        if file is None:
            raise CorruptDataError("the file has gone", where=key)
        head = file.read(0, _HEAD_BYTES)
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        # RFC 1952: "ID1 = 31, ID2 = 139"; the least possible member has 20 bytes.
        decoder.decompress(head, _HEAD_BYTES)
        whole = len(head) < _HEAD_BYTES
    except zlib.error as error:
        raise CorruptDataError(
            f"not a readable gzip file: {error}", where=key, hint=_ANEW
        ) from error
    if whole and not decoder.eof and not decoder.unconsumed_tail:
        raise CorruptDataError("the gzip file was cut off", where=key, hint=_ANEW)
