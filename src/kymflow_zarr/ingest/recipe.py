"""Stage an acquisition as a record, and verify the staged pixels by reading them back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from kymflow_zarr import layout as keys
from kymflow_zarr._version import __version__
from kymflow_zarr.engine.images.draft import RecordDraft
from kymflow_zarr.engine.images.times import times_name, times_problem
from kymflow_zarr.engine.images.update import RecordUpdate
from kymflow_zarr.errors import (
    CorruptDataError,
    KymflowZarrError,
    SourceFileError,
    SourceNotFoundError,
    StorageError,
)
from kymflow_zarr.formats.array.read import read_array
from kymflow_zarr.ingest.adopt import adopt
from kymflow_zarr.ingest.folder.convention import Acquisition, plan_folder
from kymflow_zarr.ingest.folder.scan import ScannedFile, sha256_of_file
from kymflow_zarr.ingest.sidecars.artifacts import (
    TIFF_ARTIFACT,
    SidecarContents,
    SourceArtifact,
    distinct,
    encode_artifact,
    feeds_of,
    files_of,
    key_of,
    read_sidecars,
)
from kymflow_zarr.ingest.sidecars.metadata import build_payload, calibration_notes, true_axes
from kymflow_zarr.ingest.sources.channels import ChannelStack
from kymflow_zarr.ingest.sources.tiff.calibration import even_step
from kymflow_zarr.runtime.limits import loads_json, pixels_memory
from kymflow_zarr.schema.array import ArrayDocument, read_array_document
from kymflow_zarr.schema.axes import channel_count
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.schema.rois import upgrade_roi
from kymflow_zarr.storage.interface import InMemory
from kymflow_zarr.storage.local.files import digest_of_bytes
from kymflow_zarr.types import Axis

if TYPE_CHECKING:
    import numpy.typing as npt


# Names of files of a set in one note.
_MAX_NAMES: Final = 8
# Saves one artifact; returns its key below the record and the digest of what is stored.
SaveArtifact: TypeAlias = Callable[[SourceArtifact], tuple[str, str]]


@contextmanager
def open_acquisition(acquisition: Acquisition, series: int) -> Iterator[OpenAcquisition]:
    """Open the TIFFs of an acquisition and read its sidecars, within the memory budget.

    Raises
    ------
    SourceFileError
        If a TIFF cannot be read.
    """
    with ChannelStack(acquisition.images, series) as stack:
        # Decoded sidecar values take a few times the bytes of their files.
        attached = sum(attached.scanned.size_bytes for attached in acquisition.attached)
        with pixels_memory.reserve(stack.memory_bytes + 4 * attached):
            yield OpenAcquisition(acquisition, stack, series)


class OpenAcquisition:
    """One image of an acquisition, its TIFFs open and its sidecars read.

    Parameters
    ----------
    acquisition : Acquisition
    stack : ChannelStack
    series : int
        Which image of the TIFFs.

    Attributes
    ----------
    keep_original : bool
        Whether the image files are kept byte by byte; False until it is set.
    """

    def __init__(self, acquisition: Acquisition, stack: ChannelStack, series: int) -> None:
        self.acquisition = acquisition
        self.stack = stack
        self._series = series
        self.keep_original = False
        self.contents: SidecarContents = read_sidecars(acquisition)
        self.axes = self.axes_with(self.contents)
        self.contents.notes += stack.notes
        names = list(dict.fromkeys(p.name for image in stack.images for p in image.files[1:]))
        if names:
            self.contents.notes.append(f"read together with {listed(names)}")
        self.contents.notes += calibration_notes(self.contents.payload, self.axes, stack.shape)

    def axes_with(self, contents: SidecarContents) -> tuple[Axis, ...]:
        """Return the true axes of the image, given its sidecars."""
        stack = self.stack
        return true_axes(stack.axes, stack.shape, header=contents.header, payload=contents.payload)

    def inherit(self, earlier: SidecarContents) -> None:
        """Use the calibration of earlier header and metadata files if those files are gone.

        Artifacts of a deleted source file stay in the dataset, and so does its calibration.
        """
        contents = self.contents
        payload = earlier.payload if contents.payload is None else contents.payload
        self.axes = self.axes_with(
            SidecarContents(header=contents.header or earlier.header, payload=payload)
        )

    @property
    def channel_names(self) -> list[str] | None:
        """Names of the channels, from the TIFF or else from the instrument header."""
        stack, header = self.stack, self.contents.header
        own = stack.images[0].channel_names
        if own is not None:
            return list(own)
        names = [] if header is None else header.channel_names
        return names if names and len(names) == channel_count(stack.axes, stack.shape) else None

    def stage_pixels(self, draft: RecordDraft) -> None:
        """Write the pixels; digest the TIFFs in the same pass where possible."""
        with self.stack.read_once():
            draft.set_pixels(self.stack, axes=self.axes, channel_names=self.channel_names)

    def stage_artifacts(
        self, record: RecordDraft | RecordUpdate, save: SaveArtifact
    ) -> list[SourceFileDocument]:
        """Write the artifacts and sidecars; return the documents of all source files.

        An artifact that cannot be saved is only noted, since its source file is kept verbatim.
        """
        stack, contents = self.stack, self.contents
        images = [_image_file(scanned, self._series) for scanned in self.acquisition.images]
        members = [
            _image_file(scanned, self._series, role="member")
            for scanned in self.acquisition.members
        ]
        first = stack.images[0]
        if first.series_count > 1 and first.name is not None:
            images[0].series_name = first.name
        stack.keep_skeletons(record, images)
        if self.keep_original:
            files = (*self.acquisition.images, *self.acquisition.members)
            for document, scanned in zip((*images, *members), files, strict=True):
                name = scanned.rel_path.removeprefix(self._prefix)
                document.kept_as = record.keep_source_file(name, scanned.path.read_bytes())
        saved = []
        for artifact in distinct(
            [*self._image_artifacts(images, members), *contents.artifacts], contents
        ):
            try:
                saved.append((artifact, *save(artifact)))
            except StorageError:
                raise  # A full disk has nothing to do with this file: stop.
            except KymflowZarrError as error:
                contents.notes.append(f"{files_of(artifact)} was kept as it is: {error.what}")
        feeds = feeds_of(saved)
        for image in (*images, *members):
            image.feeds = feeds.get(image.rel_path, {})
        return [*images, *members, *self._sidecar_files(feeds, record)]

    def _image_artifacts(
        self, images: list[SourceFileDocument], members: list[SourceFileDocument]
    ) -> list[SourceArtifact]:
        """Return the artifacts that need the image: payload, provenance, the TIFF's own text."""
        stack, contents = self.stack, self.contents
        payload = build_payload(
            contents.payload,
            contents.header,
            self.axes,
            stack.shape,
            acquired_local_epoch_ns=stack.images[0].acquired_local_epoch_ns,
        )
        regions = [region for image in stack.images for region in getattr(image, "regions", ())]
        if regions and not payload["rois"]:
            payload["rois"] = [upgrade_roi(region) for region in regions]
        if contents.rois and not payload["rois"]:
            payload["rois"] = contents.rois
        described: Any = [image.description for image in stack.images]
        made_of = tuple(file.rel_path for file in (*images, *members))
        times = self._irregular_times()
        return [
            *([] if times is None else [SourceArtifact("array", *times, made_of)]),
            SourceArtifact("json", "metadata", payload, (*contents.payload_made_of, *made_of)),
            SourceArtifact("json", "provenance", _provenance(stack, images, members), made_of),
            SourceArtifact(
                "json", TIFF_ARTIFACT, described[0] if len(described) == 1 else described, made_of
            ),
        ]

    def _irregular_times(self) -> tuple[str, npt.NDArray[np.float64]] | None:
        """Return name and values of the times of frames or lines, None if a step says them all."""
        scanned = self.stack.images[0].frame_times_s
        # The rows of a line scan are time too, and the frames of it its cycles.
        places = [i for i, axis in enumerate(self.axes) if axis.quantity == "time"]
        if scanned is None or not places or len(scanned) < 2 or even_step(scanned) is not None:
            return None
        times = np.array(scanned)
        if times_problem(times, self.stack.shape[places[0]]) is not None:
            return None
        return times_name(self.axes[places[0]].name), times

    @property
    def _prefix(self) -> str:
        """The folder of the image, which names of kept files leave out."""
        folder = str(PurePosixPath(self.acquisition.primary.rel_path).parent)
        return "" if folder == "." else f"{folder}/"

    def _sidecar_files(
        self, feeds: dict[str, dict[str, str]], record: RecordDraft | RecordUpdate
    ) -> list[SourceFileDocument]:
        """Keep the bytes of the sidecars and return their documents."""
        documents = []
        for attached in self.acquisition.attached:
            scanned = attached.scanned
            data = self.contents.data.get(scanned.rel_path)
            if data is None:
                continue  # The file could not be read; the notes already say so.
            name = scanned.rel_path.removeprefix(self._prefix)
            documents.append(
                SourceFileDocument(
                    path=scanned.full_path,
                    rel_path=scanned.rel_path,
                    role=attached.role,
                    size_bytes=len(data),
                    mtime_ns=scanned.mtime_ns,
                    sha256=digest_of_bytes(data),
                    kept_as=record.keep_source_file(name, data),
                    feeds=feeds.get(scanned.rel_path, {}),
                )
            )
        return documents

    def require_settled(self) -> None:
        """Raise StillChangingError if a file has changed since it was found."""
        require_settled(files_of_acquisition(self.acquisition))


def save_artifact(record: RecordDraft | RecordUpdate, artifact: SourceArtifact) -> tuple[str, str]:
    """Save an artifact; return its key below the record and the digest of what was stored."""
    if artifact.kind == "array":
        return record.save_array(artifact.name, artifact.value)
    return record.save_encoded(key_of(artifact), encode_artifact(artifact))


def listed(names: Sequence[str]) -> str:
    """Return names for a note, the first of many."""
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def files_of_acquisition(acquisition: Acquisition) -> list[ScannedFile]:
    """Return all files of an acquisition, those with pixels first."""
    return [
        *acquisition.images,
        *acquisition.members,
        *(attached.scanned for attached in acquisition.attached),
    ]


class StillChangingError(SourceFileError):
    """A file is being written while it is read."""


def require_settled(files: Iterable[ScannedFile]) -> None:
    """Raise StillChangingError if a file has changed since it was found.

    A microscope may still be writing it: the content read may mix old and new bytes.
    """
    for scanned in files:
        try:
            stat = scanned.path.stat()
        except FileNotFoundError:
            raise StillChangingError(
                "went away while it was read", where=scanned.full_path
            ) from None
        if (stat.st_size, stat.st_mtime_ns) != (scanned.size_bytes, scanned.mtime_ns):
            raise StillChangingError(
                "changed while it was read",
                where=scanned.full_path,
                hint="It is left for next time.",
            )


def _image_file(scanned: ScannedFile, series: int, *, role: str = "image") -> SourceFileDocument:
    """Return the document of a file with pixels."""
    try:
        scanned.full_path.encode()
    except UnicodeEncodeError:
        raise SourceFileError(
            "the file's name is not valid Unicode", where=repr(scanned.full_path), hint="Rename it."
        ) from None
    return SourceFileDocument(
        path=scanned.full_path,
        rel_path=scanned.rel_path,
        role=role,
        size_bytes=scanned.size_bytes,
        mtime_ns=scanned.mtime_ns,
        sha256=scanned.sha256(),
        series=series,
    )


def _provenance(
    stack: ChannelStack, images: list[SourceFileDocument], members: list[SourceFileDocument]
) -> dict[str, Any]:
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
    if members:
        provenance["member_paths"] = [member.path for member in members]
    if stack.images[0].name is not None:
        provenance["source_name"] = stack.images[0].name
    return provenance


def rebuild_image(draft: RecordDraft, files: Sequence[SourceFileDocument]) -> None:
    """Write pixels, artifacts and source files into a draft, as ingest of the files would.

    Parameters
    ----------
    draft : RecordDraft
        The function does not commit it.
    files : sequence of SourceFileDocument
        Of the image. Those that are gone or have changed are left out.

    Raises
    ------
    SourceNotFoundError
        If one of the TIFFs is gone or has changed.
    KymflowZarrError
        If they cannot be read.
    """
    images = [file for file in files if file.role in ("image", "member")]
    there = list(_unchanged(files))
    wanted = {file.rel_path for file in images}
    if not images or not wanted <= {scanned.rel_path for scanned in there}:
        raise SourceNotFoundError("the source files are not there as they were")
    plan = plan_folder(there, lambda scanned: scanned.rel_path in wanted, include_sidecars=True)
    with open_acquisition(plan.acquisitions[0], images[0].series) as source:
        source.stage_pixels(draft)
        files = source.stage_artifacts(draft, partial(save_artifact, draft))
        draft.set_source_files(files)
        adopt(draft, draft.image_id, source.contents.events)


def _unchanged(files: Sequence[SourceFileDocument]) -> Iterator[ScannedFile]:
    for file in sorted(files, key=lambda f: f.rel_path):
        path = Path(file.path)
        try:
            # Compare the size before reading: a document may name an endless device file.
            same = path.is_file() and path.stat().st_size == file.size_bytes
            if same and sha256_of_file(path) == file.sha256:
                # Keep the modification time that the artifacts were made with.
                yield ScannedFile(str(path), file.rel_path, file.size_bytes, file.mtime_ns)
        except OSError:
            continue


_HINT = "The disk, or the memory of this machine, is not to be trusted; the image was not added."


def read_back(draft: RecordDraft, stack: ChannelStack) -> None:
    """Compare the pixels of a draft, as stored on the disk, with those of the TIFFs.

    Read both again, block by block, and compare them bit by bit.

    Raises
    ------
    CorruptDataError
        If they differ, or the files of the draft cannot be read.
    """
    path = keys.pixels_path(1)
    written = _Written(draft, path)
    where = f"{path}/{keys.GROUP}"
    try:
        with written.open(keys.GROUP) as document:
            raw = loads_json(document.read(0, document.size), where=where)
        layout = read_array_document(raw, where=where)
        if layout is None or layout.shape != stack.shape:
            raise CorruptDataError("the document is not the one that was written", where=where)
        for region in _regions(layout):
            ours = read_array(layout, written.open, where=path, selection=region)
            # Compare bytes, so that NaN equals NaN and -0.0 differs from 0.0.
            theirs = np.ascontiguousarray(stack[region], dtype=ours.dtype)
            if not _same(_as_bytes(ours), _as_bytes(theirs)):
                raise CorruptDataError("the pixels are not those of the file", where=path)
    except (CorruptDataError, ValueError) as error:
        what = error.what if isinstance(error, CorruptDataError) else str(error)
        raise CorruptDataError(
            f"what was written does not come back as it was: {what}",
            where=str(stack.images[0].path),
            hint=_HINT,
        ) from error


def _regions(layout: ArrayDocument) -> Iterator[tuple[slice, ...]]:
    """Yield the region of each chunk file, one after the other."""
    for index in itertools.product(*map(range, layout.file_grid)):
        sizes = zip(index, layout.file_shape, layout.shape, strict=True)
        yield tuple(slice(i * step, min((i + 1) * step, length)) for i, step, length in sizes)


def _as_bytes(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _same(ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8]) -> bool:
    # Eight at a time, since each pending comparison takes memory too.
    whole = len(ours) // 8 * 8
    return np.array_equal(ours[whole:], theirs[whole:]) and np.array_equal(
        ours[:whole].view(np.uint64), theirs[:whole].view(np.uint64)
    )


class _Written:
    """Read access to the staged files of an array."""

    def __init__(self, draft: RecordDraft, path: str) -> None:
        self._draft = draft
        self._path = path

    @contextmanager
    def open(self, key: str) -> Iterator[InMemory]:
        """Open a file."""
        yield InMemory(self._draft.read(f"{self._path}/{key}"))
