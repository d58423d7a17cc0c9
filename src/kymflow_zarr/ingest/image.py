"""The image of one TIFF file, added to a dataset."""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.engine.images.draft import RecordDraft
from kymflow_zarr.errors import (
    RecordExistsError,
    SourceFileError,
    SourceNotFoundError,
)
from kymflow_zarr.ingest.adopt import adopt
from kymflow_zarr.ingest.folder.convention import Acquisition, plan_folder
from kymflow_zarr.ingest.folder.scan import ScannedFile, look_at, scan_siblings
from kymflow_zarr.ingest.folder.source_index import KnownImage, image_with_source, source_lookup
from kymflow_zarr.ingest.recipe import open_acquisition, read_back, save_artifact
from kymflow_zarr.ingest.sources.registry import is_image_file, open_image_file
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.types import StrPath


def ingest_tiff(
    dataset: OpenDataset,
    path: StrPath,
    *,
    series: int = 0,
    include_sidecars: bool = True,
    image_id: str | None = None,
    verify: bool = False,
    keep_original: bool = False,
) -> StoredImage:
    """Add the image of a TIFF file; see :meth:`kymflow_zarr.ZarrDataset.ingest_tiff`."""
    dataset.require_writable()
    tiff = Path(path)
    if not tiff.is_file():
        raise SourceNotFoundError(
            "there is no such file", where=str(tiff), hint="Check the path; it is taken as it is."
        )
    scanned = look_at(tiff)
    lookup = source_lookup(dataset)
    if image_id is None:
        known = _with_first_id(dataset, scanned, series) or lookup.find(scanned, series)
        if known is not None:
            return _unchanged(dataset, known, scanned)
    acquisition = _acquisition_of(scanned) if include_sidecars else _set_of(scanned, series)
    if acquisition.primary != scanned:
        # The file belongs to a set, whose image is identified by the set's first file.
        scanned = acquisition.primary
        if image_id is None:
            known = _with_first_id(dataset, scanned, series) or lookup.find(scanned, series)
            if known is not None:
                return _unchanged(dataset, known, scanned)
    given = image_id_of(dataset, acquisition, series) if image_id is None else image_id
    try:
        with dataset.new_record(given) as draft:
            stage_image(
                draft, acquisition, series=series, verify=verify, keep_original=keep_original
            )
            known = lookup.image_moved_here(scanned, series) if image_id is None else None
            if known is not None:
                return _unchanged(dataset, known, scanned)
            before = lookup.version()
            draft.commit()
    except RecordExistsError:
        # Another process may have added the file meanwhile.
        known = lookup.find(scanned, series) if image_id is None else None
        if known is None:
            raise
        return _unchanged(dataset, known, scanned)
    lookup.add(scanned, series, given, before=before)
    return dataset.record(given)


def _acquisition_of(scanned: ScannedFile) -> Acquisition:
    """Return a TIFF with the sidecars that lie beside it.

    Raises
    ------
    SourceFileError
        If a folder that may hold sidecars cannot be listed.
    """
    scan = scan_siblings(scanned.path)
    for folder in scan.unlisted:
        raise SourceFileError(
            "the folder cannot be listed, so its sidecars cannot be found",
            where=folder,
            hint="Give read permission, or pass include_sidecars=False to take the pixels alone.",
        )
    plan = plan_folder(
        scan.files, lambda f: f == scanned or is_image_file(f.path), include_sidecars=True
    )
    for acquisition in plan.acquisitions:
        if acquisition.members and scanned in (*acquisition.images, *acquisition.members):
            return acquisition
        if scanned in acquisition.images:
            # The caller asked for one file: leave out the other channels of its acquisition.
            return Acquisition((scanned,), acquisition.attached)
    return Acquisition((scanned,))


def _set_of(scanned: ScannedFile, series: int) -> Acquisition:
    """Return a file with the other files that its image is read from, without sidecars."""
    with open_image_file(scanned.path, series=series) as image:
        files = image.files
    if len(files) == 1:
        return Acquisition((scanned,))
    plan = plan_folder(
        scan_siblings(scanned.path).files, lambda f: f == scanned, include_sidecars=False
    )
    return next(iter(plan.acquisitions), Acquisition((scanned,)))


def image_id_of(dataset: OpenDataset, acquisition: Acquisition, series: int) -> str:
    """Return the image id of a file, which is derived from the file's path.

    Two processes that ingest one file at the same time therefore cannot add it twice: the second
    finds the id taken. The id may also be taken by an image whose file has moved; then the content
    of the file decides.
    """
    scanned = acquisition.primary
    first = _first_id(dataset, scanned, series)
    if first not in dataset or _with_first_id(dataset, scanned, series) is not None:
        return first
    return _first_id(dataset, scanned, series, scanned.sha256())


def _first_id(dataset: OpenDataset, scanned: ScannedFile, series: int, *more: str) -> str:
    name = "/".join([dataset.dataset_id, str(series), scanned.full_path, *more])
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def _with_first_id(dataset: OpenDataset, scanned: ScannedFile, series: int) -> KnownImage | None:
    """Return the image of a file if its id is the one derived from the file's path.

    Nearly all images have that id. The cost does not depend on the number of images.
    """
    return image_with_source(dataset, _first_id(dataset, scanned, series), scanned, series)


def _unchanged(dataset: OpenDataset, known: KnownImage, scanned: ScannedFile) -> StoredImage:
    path = scanned.full_path
    file = next(file for file in known.files if (file.role, file.path) == ("image", path))
    if not is_unchanged(file, scanned):
        raise RecordExistsError(
            f"the file was ingested before, as image {known.image_id!r}, and has changed since",
            where=scanned.full_path,
            hint='refresh_from_folder(folder, mode="reingest_if_changed") updates that image; '
            "an image_id of its own adds the file once more.",
        )
    return dataset.record(known.image_id)


def is_unchanged(file: SourceFileDocument, scanned: ScannedFile) -> bool:
    """Return True if a file is unchanged since its ingest, by size and time, else by digest."""
    if scanned.size_bytes != file.size_bytes:
        return False
    return scanned.mtime_ns == file.mtime_ns or scanned.sha256() == file.sha256


def stage_image(
    draft: RecordDraft,
    acquisition: Acquisition,
    *,
    series: int = 0,
    verify: bool = False,
    keep_original: bool = False,
) -> tuple[tuple[str, ...], int, int]:
    """Write one image and everything that belongs to it into a draft.

    Parameters
    ----------
    draft : RecordDraft
    acquisition : Acquisition
    series : int
    verify : bool
        Whether the pixels are read back and compared with the file's.
    keep_original : bool
        Whether the image files are kept byte by byte.

    Returns
    -------
    notes : tuple of str
        Notes on the image for the report.
    results : int
        How many results other programs have left in its sidecars.
    series_count : int
        How many images the file holds.

    Raises
    ------
    SourceFileError
        If the TIFF cannot be read, or changes while it is read.
    CorruptDataError
        If the pixels read back differ from those of the file.
    """
    with open_acquisition(acquisition, series) as source:
        source.keep_original = keep_original
        source.stage_pixels(draft)
        if verify:
            read_back(draft, source.stack)
        files = source.stage_artifacts(draft, partial(save_artifact, draft))
        draft.set_source_files(files)
        contents = source.contents
        # Without sidecars there is nothing to adopt.
        results = adopt(draft, draft.image_id, contents.events) if contents.artifacts else 0
        source.require_settled()
        return tuple(source.contents.notes), results, source.stack.images[0].series_count
