"""One acquisition, its TIFFs and what belongs to them, into one record."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from kymflow_zarr._version import __version__
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.images.draft import RecordDraft
from kymflow_zarr.engine.images.update import RecordUpdate
from kymflow_zarr.engine.record import StoredImage
from kymflow_zarr.errors import (
    KymflowZarrError,
    RecordExistsError,
    SourceFileError,
    SourceNotFoundError,
    StorageError,
)
from kymflow_zarr.ingest.axes import calibration_notes, true_axes
from kymflow_zarr.ingest.folder.convention import Acquisition, plan_folder
from kymflow_zarr.ingest.folder.scan import Found, look_at, scan_siblings
from kymflow_zarr.ingest.folder.source_index import KnownImage, known_image
from kymflow_zarr.ingest.read_back import read_back
from kymflow_zarr.ingest.sidecars.artifacts import (
    TIFF_ARTIFACT,
    Contents,
    Part,
    feeds_of,
    key_of,
    read_contents,
)
from kymflow_zarr.ingest.sidecars.payload import build_payload
from kymflow_zarr.ingest.sources.channels import ChannelStack
from kymflow_zarr.ingest.sources.registry import is_image_file
from kymflow_zarr.runtime.memory_budget import pixels_memory
from kymflow_zarr.schema.axes import channel_count
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.local.files import digest_of_bytes
from kymflow_zarr.types import Axis, StrPath


def ingest_tiff(
    dataset: OpenDataset,
    path: StrPath,
    *,
    series: int = 0,
    include_sidecars: bool = True,
    image_id: str | None = None,
    verify: bool = False,
) -> StoredImage:
    """Add the image of a TIFF file; see :meth:`kymflow_zarr.OpenDataset.ingest_tiff`."""
    dataset.require_writable()
    tiff = Path(path)
    if not tiff.is_file():
        raise SourceNotFoundError(
            "there is no such file", where=str(tiff), hint="Check the path; it is taken as it is."
        )
    found = look_at(tiff)
    if image_id is None:
        known = _with_first_id(dataset, found, series) or known_image(dataset, found, series)
        if known is not None:
            return _unchanged(dataset, known.image_id, known.file, found)
    acquisition = Acquisition((found,))
    if include_sidecars:
        plan = plan_folder(
            scan_siblings(found.path),
            lambda f: f == found or is_image_file(f.path),
            include_sidecars=True,
        )
        # One file was asked for, so the other channels of its acquisition stay out.
        acquisition.attached = next(
            (a.attached for a in plan.acquisitions if found in a.images), []
        )
    given = image_id_of(dataset, acquisition, series) if image_id is None else image_id
    try:
        with dataset.new_record(given) as draft:
            prepare_acquisition(draft, acquisition, series=series, verify=verify)
            draft.commit()
    except RecordExistsError:
        # Another program may have added the file meanwhile.
        known = known_image(dataset, found, series) if image_id is None else None
        if known is None:
            raise
        return _unchanged(dataset, known.image_id, known.file, found)
    return dataset.record(given)


def image_id_of(dataset: OpenDataset, acquisition: Acquisition, series: int) -> str:
    """Return the id that the image of a file gets: it follows from where the file is.

    So two programs that take in one file at the same time cannot add it twice: the second one
    finds the id taken. The id of an image that has moved away is taken too; then the content
    of the file decides.
    """
    found = acquisition.primary
    first = _first_id(dataset, found, series)
    if first not in dataset or _with_first_id(dataset, found, series) is not None:
        return first
    return _first_id(dataset, found, series, found.sha256())


def _first_id(dataset: OpenDataset, found: Found, series: int, *more: str) -> str:
    name = "/".join([dataset.dataset_id, str(series), str(found.path), *more])
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def _with_first_id(dataset: OpenDataset, found: Found, series: int) -> KnownImage | None:
    """Return the image of a file if it has the id that follows from where the file is.

    Nearly all have. It costs the same however many images there are.
    """
    first = _first_id(dataset, found, series)
    with contextlib.suppress(KymflowZarrError):
        if first in dataset:
            record = dataset.record(first)
            source = record.source
            if source is not None and (source.path, source.series) == (str(found.path), series):
                return KnownImage(first, tuple(record.source_files))
    return None


def _unchanged(
    dataset: OpenDataset, image_id: str, file: SourceFileDocument, found: Found
) -> StoredImage:
    if not is_unchanged(file, found):
        raise RecordExistsError(
            f"the file was ingested before, as image {image_id!r}, and has changed since",
            where=str(found.path),
            hint='refresh_from_folder(folder, mode="reingest_if_changed") updates that image; '
            "an image_id of its own adds the file once more.",
        )
    return dataset.record(image_id)


def is_unchanged(file: SourceFileDocument, found: Found) -> bool:
    """Tell whether a file is the one that was ingested: by size and time, else by digest."""
    if found.size_bytes != file.size_bytes:
        return False
    return found.mtime_ns == file.mtime_ns or found.sha256() == file.sha256


def prepare_acquisition(
    draft: RecordDraft, acquisition: Acquisition, *, series: int = 0, verify: bool = False
) -> tuple[tuple[str, ...], int]:
    """Put one image, with all that belongs to it, into a draft.

    Parameters
    ----------
    draft : RecordDraft
    acquisition : Acquisition
    series : int
    verify : bool
        Whether the pixels are read back and compared with the file's.

    Returns
    -------
    notes : tuple of str
        What there was to note.
    series_count : int
        How many images the file holds.

    Raises
    ------
    SourceFileError
        If the TIFF cannot be read, or changes while it is read.
    CorruptDataError
        If what is read back is not what was read from the file.
    """
    with (
        ChannelStack(acquisition.images, series) as stack,
        pixels_memory.holding(memory_of(stack, acquisition)),
    ):
        contents = read_contents(acquisition)
        axes = axes_of(stack, contents)
        contents.notes += calibration_notes(contents.payload, axes, stack.shape)
        with stack.read_once():
            draft.set_pixels(stack, axes=axes, channel_names=channel_names_of(stack, contents))
        if verify:
            read_back(draft, stack)
        images = [image_file(found, series) for found in acquisition.images]
        stack.keep_skeletons(draft, images)
        saved = [
            (part, *save_part(draft, part)) for part in image_parts(stack, contents, axes, images)
        ]
        saved += save_parts(draft, contents, {key for _, key, _ in saved})
        feeds = feeds_of(saved)
        for image in images:
            image.feeds = feeds.get(image.rel_path, {})
        draft.set_source_files([*images, *attached_files(acquisition, contents, feeds, draft)])
        require_settled([*acquisition.images, *(a.found for a in acquisition.attached)])
        return tuple(contents.notes), stack.images[0].series_count


def memory_of(stack: ChannelStack, acquisition: Acquisition) -> int:
    """Return how much memory it takes to read an acquisition and write it into a dataset."""
    # Values take a few times the bytes that they are read from.
    attached = sum(attached.found.size_bytes for attached in acquisition.attached)
    return stack.memory_bytes + 4 * attached


def axes_of(stack: ChannelStack, contents: Contents) -> tuple[Axis, ...]:
    """Return the true axes of an image, from its file and what lies beside it."""
    return true_axes(stack.axes, stack.shape, header=contents.header, payload=contents.payload)


def image_parts(
    stack: ChannelStack,
    contents: Contents,
    axes: tuple[Axis, ...],
    images: list[SourceFileDocument],
) -> list[Part]:
    """Return the artifacts that need the image itself: payload, provenance, the TIFF's words."""
    payload = build_payload(contents.payload, contents.header, axes, stack.shape)
    said: Any = [image.description for image in stack.images]
    made_of = tuple(image.rel_path for image in images)
    return [
        Part("json", "metadata", payload, (*contents.payload_made_of, *made_of)),
        Part("json", "provenance", _provenance(stack, images), made_of),
        Part("json", TIFF_ARTIFACT, said[0] if len(said) == 1 else said, made_of),
    ]


def channel_names_of(stack: ChannelStack, contents: Contents) -> list[str] | None:
    """Return the names of the channels, from the file or else from the instrument header."""
    own = stack.images[0].channel_names
    if own is not None:
        return list(own)
    names = [] if contents.header is None else contents.header.channel_names
    return names if names and len(names) == channel_count(stack.axes, stack.shape) else None


def save_part(draft: RecordDraft | RecordUpdate, part: Part) -> tuple[str, str]:
    """Save a part; return its key below the record and the digest of what was stored."""
    if part.kind == "array":
        return draft.save_array(part.name, part.value)
    return draft.save(part.kind, part.name, part.value)


def save_parts(
    draft: RecordDraft, contents: Contents, taken: set[str]
) -> list[tuple[Part, str, str]]:
    """Save what lay beside the image; what cannot be saved is noted, and kept as it is.

    Parameters
    ----------
    draft : RecordDraft
    contents : Contents
    taken : set of str
        Keys of the artifacts there are already.
    """
    saved = []
    for part in contents.parts:
        try:
            key = key_of(part)
            if key in taken:
                raise SourceFileError(f"would be a second artifact called {part.name!r}")
            saved.append((part, *save_part(draft, part)))
            taken.add(key)
        except StorageError:
            raise
        except KymflowZarrError as error:
            names = ", ".join(PurePosixPath(path).name for path in part.made_of)
            contents.notes.append(f"{names} was kept as it is: {error.what}")
    return saved


def image_file(found: Found, series: int) -> SourceFileDocument:
    """Return the document of a TIFF."""
    try:
        str(found.path).encode()
    except UnicodeEncodeError:
        raise SourceFileError(
            "the file's name is not valid Unicode", where=repr(str(found.path)), hint="Rename it."
        ) from None
    return SourceFileDocument(
        path=str(found.path),
        rel_path=found.rel_path,
        role="image",
        size_bytes=found.size_bytes,
        mtime_ns=found.mtime_ns,
        sha256=found.sha256(),
        series=series,
    )


def attached_files(
    acquisition: Acquisition,
    contents: Contents,
    feeds: dict[str, dict[str, str]],
    draft: RecordDraft | RecordUpdate,
) -> list[SourceFileDocument]:
    """Keep the bytes of the attached files and return their documents."""
    folder = str(PurePosixPath(acquisition.primary.rel_path).parent)
    prefix = "" if folder == "." else f"{folder}/"
    documents = []
    for attached in acquisition.attached:
        found = attached.found
        data = contents.data.get(found.rel_path)
        if data is None:
            continue  # It could not be read, which the notes say.
        documents.append(
            SourceFileDocument(
                path=str(found.path),
                rel_path=found.rel_path,
                role=attached.role,
                size_bytes=len(data),
                mtime_ns=found.mtime_ns,
                sha256=digest_of_bytes(data),
                kept_as=draft.keep_source_file(found.rel_path.removeprefix(prefix), data),
                feeds=feeds.get(found.rel_path, {}),
            )
        )
    return documents


def require_settled(files: Iterable[Found]) -> None:
    """Raise SourceFileError if a file has changed since it was found.

    A microscope may be writing it still: what was read is then neither old nor new.
    """
    for found in files:
        try:
            stat = found.path.stat()
        except FileNotFoundError:
            raise StillChangingError("went away while it was read", where=str(found.path)) from None
        if (stat.st_size, stat.st_mtime_ns) != (found.size_bytes, found.mtime_ns):
            raise StillChangingError(
                "changed while it was read", where=str(found.path), hint="It is left for next time."
            )


class StillChangingError(SourceFileError):
    """A file is being written while it is read."""


def _provenance(stack: ChannelStack, images: list[SourceFileDocument]) -> dict[str, Any]:
    first, path = images[0], Path(images[0].path)
    provenance = {
        "original_path": first.path,
        "source_primary_path": first.path,
        "rel_path": first.rel_path,
        "parent_folder": path.parent.name,
        "grandparent_folder": path.parent.parent.name,
        "source_sha256": first.sha256,
        "source_size_bytes": first.size_bytes,
        "source_mtime_ns": first.mtime_ns,
        "source_series": first.series,
        "source_axes": stack.images[0].source_axes,
        "ingested_by": f"kymflow_zarr {__version__}",
    }
    if len(images) > 1:
        provenance["channel_paths"] = [image.path for image in images]
    return provenance
