"""Which TIFF each image of format version 1 came from, so that its folder can be scanned again.

Version 1 has a table ``sources`` and, in the artifact ``provenance``, a path. Neither says a
digest: it is taken now, if the file is still there as the table has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, Final

from kymflow_zarr import layout
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.engine.tables import Tables
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.ingest.folder.scan import sha256_of_file
from kymflow_zarr.legacy_v1.storage import V1Storage
from kymflow_zarr.schema.image import SourceFileDocument

__all__ = ["TABLE", "OldSources", "read_sources"]

TABLE: Final = "sources"
_COLUMNS: Final = (
    "image_id",
    "source_primary_path",
    "source_size_bytes",
    "source_mtime_ns",
    "ingested_epoch_ns",
)
_PROVENANCE: Final = layout.artifact_key("json", "provenance")


@dataclass(frozen=True, slots=True)
class OldSources:
    """What the table of sources says.

    Parameters
    ----------
    rows : mapping of str to (str, int, int)
        Path, size in bytes and time in nanoseconds of the TIFF of each image, by its id.
    note : str, optional
        Why the table could not be used.
    """

    rows: Mapping[str, tuple[str, int, int]]
    note: str | None = None

    def file_of(self, image_id: str, files: Mapping[str, bytes]) -> SourceFileDocument | None:
        """Return the document of the TIFF of an image, None where nothing names one.

        Parameters
        ----------
        image_id : str
        files : mapping of str to bytes
            The artifacts of the image, by key below it: ``provenance`` may name a TIFF that
            the table does not.
        """
        # 0 stands for what nobody recorded.
        path, size_bytes, mtime_ns = self.rows.get(image_id, (_provenance_path(files), 0, 0))
        if not path:
            return None
        sha256, place = "", Path(path)
        try:
            if place.is_absolute() and place.is_file():
                place = place.resolve()  # As a scan will find it.
                stat = place.stat()
                if (stat.st_size, stat.st_mtime_ns) == (size_bytes, mtime_ns):
                    sha256 = sha256_of_file(place)
        except (OSError, ValueError):
            place = Path(path)  # Not to be had from here: its digest stays unknown.
        return SourceFileDocument(
            path=str(place) if place.is_absolute() else path,
            rel_path=PureWindowsPath(path).name,
            role="image",
            size_bytes=size_bytes,
            mtime_ns=mtime_ns,
            sha256=sha256,
        )


def read_sources(storage: V1Storage) -> OldSources:
    """Read the table of sources; of several rows of an image the last ingest counts."""
    tables = Tables(storage)
    if TABLE not in tables.names():
        return OldSources({})
    try:
        frame = tables.load(TABLE)
        missing = [name for name in _COLUMNS if name not in frame.columns]
        if missing:
            return OldSources(
                {}, f"it has no column {', '.join(missing)}: no source is taken of it"
            )
        frame = frame.dropna(subset=list(_COLUMNS)).sort_values("ingested_epoch_ns", kind="stable")
        rows = {
            str(image_id): (str(path), int(size), int(mtime_ns))
            for image_id, path, size, mtime_ns, _ in frame[list(_COLUMNS)].itertuples(index=False)
        }
    except (KymflowZarrError, TypeError, ValueError) as error:
        return OldSources({}, f"no source is taken of it: {error}")
    return OldSources(rows)


def _provenance_path(files: Mapping[str, bytes]) -> str:
    data = files.get(_PROVENANCE)
    said: Any = None if data is None else artifacts.decode("json", data, where=_PROVENANCE)
    if not isinstance(said, Mapping):
        return ""
    paths = (said.get("source_primary_path"), said.get("original_path"))
    return next((path for path in paths if isinstance(path, str) and path), "")
