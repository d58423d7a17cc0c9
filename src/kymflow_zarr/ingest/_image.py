"""One TIFF, with what lies beside it, into one record."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kymflow_zarr._core import RecordDraft, ZarrDataset, ZarrImageRecord
from kymflow_zarr._schema import SourceDocument
from kymflow_zarr._types import StrPath
from kymflow_zarr._version import __version__
from kymflow_zarr.errors import RecordExistsError, SourceNotFoundError
from kymflow_zarr.ingest._axes import true_axes
from kymflow_zarr.ingest._digest import sha256_of_file
from kymflow_zarr.ingest._payload import build_payload
from kymflow_zarr.ingest._sidecars import LoadedSidecars, Sidecars, load_sidecars, sidecars_of
from kymflow_zarr.ingest._tiff import TiffImage, open_tiff

# Names of the artifacts that keep what a file says of itself.
TIFF_ARTIFACT: Final = "tiff"
HEADER_ARTIFACT: Final = "instrument_header"
METADATA_ARTIFACT: Final = "source_metadata"


@dataclass(frozen=True)
class Ingested:
    """A record made of a TIFF, what there was to note, and how many images the file holds."""

    record: ZarrImageRecord
    notes: tuple[str, ...]
    series_count: int


def ingest_tiff(
    dataset: ZarrDataset,
    path: StrPath,
    *,
    series: int = 0,
    include_sidecars: bool = True,
    image_id: str | None = None,
) -> ZarrImageRecord:
    """Add the image of a TIFF file; see :meth:`kymflow_zarr.ZarrDataset.ingest_tiff`."""
    dataset.require_writable()
    tiff = Path(path)
    if not tiff.is_file():
        raise SourceNotFoundError(
            "there is no such file", where=str(tiff), hint="Check the path; it is taken as it is."
        )
    if image_id is None:
        known = find_source(dataset, tiff, series)
        if known is not None:
            return known
    sidecars = sidecars_of([tiff], tiff.parent)[tiff] if include_sidecars else None
    return ingest_file(dataset, tiff, sidecars, series=series, image_id=image_id).record


def find_source(dataset: ZarrDataset, tiff: Path, series: int) -> ZarrImageRecord | None:
    """Return the record that was made of a file, None if there is none.

    Raises
    ------
    RecordExistsError
        If the file has changed since.
    """
    entry = known_sources(dataset).get((source_path(tiff), series))
    if entry is None:
        return None
    record = dataset.record(entry["image_id"])
    if not is_unchanged(entry["source"], tiff):
        raise RecordExistsError(
            f"the file was ingested before, as image {record.image_id!r}, and has changed since",
            where=str(tiff),
            hint="Delete that image first, or give an image_id to add the file once more.",
        )
    return record


def known_sources(dataset: ZarrDataset) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the index entries of the images that came from files, by path and series."""
    entries = dataset.load_manifest()["images"]
    return {
        (entry["source"]["path"], entry["source"]["series"]): entry
        for entry in entries
        if entry.get("source") is not None
    }


def is_unchanged(source: Mapping[str, Any], tiff: Path) -> bool:
    """Tell whether a file is the one that was ingested: by size and time, else by digest."""
    stat = tiff.stat()
    if stat.st_size != source["size_bytes"]:
        return False
    return bool(stat.st_mtime_ns == source["mtime_ns"]) or sha256_of_file(tiff) == str(
        source["sha256"]
    )


def source_path(tiff: Path) -> str:
    """Return the path under which a file is remembered: absolute, links resolved."""
    return str(tiff.resolve())


def ingest_file(
    dataset: ZarrDataset,
    tiff: Path,
    sidecars: Sidecars | None,
    *,
    series: int = 0,
    image_id: str | None = None,
    root: Path | None = None,
) -> Ingested:
    """Add one image of a TIFF with its sidecars, in one step.

    Parameters
    ----------
    dataset : ZarrDataset
    tiff : Path
    sidecars : Sidecars, optional
        None leaves out what lies beside the file.
    series : int
    image_id : str, optional
    root : Path, optional
        The folder that is being ingested; the record remembers the path below it.
    """
    loaded = LoadedSidecars() if sidecars is None else load_sidecars(sidecars)
    with open_tiff(tiff, series=series) as image, dataset.new_record(image_id) as draft:
        axes = true_axes(image.axes, image.shape, header=loaded.header, payload=loaded.payload)
        source = _source(tiff, series)
        draft.set_pixels(
            image, axes=axes, channel_names=_channel_names(image, loaded), source=source
        )
        draft.save("json", "provenance", _provenance(image, source, root))
        draft.save("json", TIFF_ARTIFACT, image.description)
        if loaded.header is not None:
            header = {"text": loaded.header.text, "sections": loaded.header.sections}
            draft.save("json", HEADER_ARTIFACT, header)
        if loaded.payload is not None:
            draft.save("json", METADATA_ARTIFACT, loaded.payload)
        payload = build_payload(loaded.payload, loaded.header, axes, image.shape)
        draft.save("json", "metadata", payload)
        _save_artifacts(draft, loaded.saves)
        draft.commit()
        notes = tuple(loaded.notes)
        return Ingested(dataset.record(draft.image_id), notes, image.series_count)


def _save_artifacts(draft: RecordDraft, saves: list[Callable[[RecordDraft], None]]) -> None:
    for save in saves:
        save(draft)


def _channel_names(image: TiffImage, loaded: LoadedSidecars) -> list[str] | None:
    if image.channel_names is not None:
        return list(image.channel_names)
    names = [] if loaded.header is None else loaded.header.channel_names
    counts = [
        n for n, axis in zip(image.shape, image.axes, strict=True) if axis.quantity == "channel"
    ]
    return names if names and len(names) == (counts or [1])[0] else None


def _source(tiff: Path, series: int) -> SourceDocument:
    stat = tiff.stat()
    return SourceDocument(
        path=source_path(tiff),
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        sha256=sha256_of_file(tiff),
        series=series,
    )


def _provenance(image: TiffImage, source: SourceDocument, root: Path | None) -> dict[str, Any]:
    path = Path(source.path)
    relative = path.name if root is None else Path(os.path.relpath(path, root.resolve())).as_posix()
    return {
        "original_path": source.path,
        "source_primary_path": source.path,
        "rel_path": relative,
        "parent_folder": path.parent.name,
        "grandparent_folder": path.parent.parent.name,
        "source_sha256": source.sha256,
        "source_size_bytes": source.size_bytes,
        "source_mtime_ns": source.mtime_ns,
        "source_series": image.series_index,
        "source_axes": image.source_axes,
        "ingested_by": f"kymflow_zarr {__version__}",
    }
