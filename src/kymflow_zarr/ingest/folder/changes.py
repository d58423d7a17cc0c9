"""Detect how the files of an acquisition have changed since its ingest."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal, TypeAlias

import numpy as np

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.ingest.folder.convention import Acquisition
from kymflow_zarr.ingest.folder.scan import ScannedFile, is_gone
from kymflow_zarr.ingest.folder.source_index import KnownImage, SourceIndex
from kymflow_zarr.ingest.sources.channels import ChannelStack
from kymflow_zarr.runtime.parallel import THREADS, in_order
from kymflow_zarr.schema.image import SourceFileDocument

ChangeStatus: TypeAlias = Literal["new", "copy", "moved", "unchanged", "touched", "files", "pixels"]


# Limit of pairs of files with equal content that are compared by names and sidecars.
_MAX_PAIRS: Final = 100_000


@dataclass(frozen=True, slots=True)
class FileChange:
    """The change of one image of an acquisition since its ingest.

    Parameters
    ----------
    status : str
        ``files`` if only sidecars have changed, ``touched`` if only modification times have.
    known : KnownImage, optional
        The known image, or the image that the file is a copy of.
    changed : tuple of str
        ``rel_path`` of the files that were changed, added or deleted.
    copy_of : str, optional
        Path of the file that this is a copy of.
    """

    status: ChangeStatus
    known: KnownImage | None = None
    changed: tuple[str, ...] = ()
    copy_of: str | None = None


class ChangeDetector:
    """Compares acquisitions with the images of a dataset; opens files only to digest them.

    Parameters
    ----------
    known : SourceIndex
    compare_new : bool
        Whether to compare new files with each other too. An ingest finds equal files while it reads
        them, without reading them twice.
    """

    def __init__(self, known: SourceIndex, *, compare_new: bool) -> None:
        self._known = known
        self._compare_new = compare_new
        self._sizes = known.sizes()
        self._claimed: set[str] = set()
        self._moved_from: dict[str, str] = {}
        self._new_sizes: dict[int, ScannedFile] = {}
        self._new_digests: dict[str, ScannedFile] = {}

    def prepare(
        self, acquisitions: Sequence[Acquisition], executor: Executor | None = None
    ) -> None:
        """Digest files that may be moved or copied, in parallel, and match the moved ones."""
        new = [a for a in acquisitions if self._known.image_of(a.primary, 0) is None]
        alike = Counter(a.primary.size_bytes for a in new if self._compare_new)
        doubtful = [
            a.primary
            for a in new
            if alike[a.primary.size_bytes] > 1 or a.primary.size_bytes in self._sizes
        ]
        if len(doubtful) > 1:
            digests = in_order(ScannedFile.sha256, doubtful, executor=executor, threads=THREADS)
            for scanned, digest, error in digests:
                if digest is not None:
                    scanned.learn(digest)
                elif not isinstance(error, OSError):
                    raise error or AssertionError
        self._match_moves([a for a in new if a.primary.size_bytes in self._sizes])

    def _match_moves(self, new: Sequence[Acquisition]) -> None:
        """Match each new file to a missing file of the same content, which gives its earlier path.

        Among several files of the same content (test patterns, dark frames), the match is the one
        with the same relative path, else the one with the most similar end of the path and the same
        sidecars, else the next in order.
        """
        by_digest: dict[str, list[Acquisition]] = defaultdict(list)
        for acquisition in new:
            # An unreadable file is reported when its change is detected.
            with contextlib.suppress(OSError):
                by_digest[acquisition.primary.sha256()].append(acquisition)
        for sha256, acquisitions in by_digest.items():
            gone = [
                image
                for image in self._known.images_of_digest(sha256, 0)
                if _is_known_to_be_gone(image.file.path)
            ]
            for i, j in _pairs(acquisitions, gone):
                self._moved_from[str(acquisitions[i].primary.path)] = gone[j].file.path

    def detect(self, acquisition: Acquisition, series: int = 0) -> FileChange:
        """Return the change of one image of an acquisition."""
        known = self._known.image_of(acquisition.primary, series)
        if known is None:
            return self._unknown(acquisition.primary, series)
        return compare(self._known.dataset, known, acquisition)

    def _unknown(self, scanned: ScannedFile, series: int) -> FileChange:
        earlier = self._moved_from.get(scanned.full_path)
        if earlier is not None:
            image = self._known.image_at(earlier, series)
            if image is not None:
                self._claimed.add(image.image_id)
                return FileChange("moved", image)
        for image in self._known.images_without_digest(scanned, series):
            elsewhere = image.image_id in self._claimed or not is_gone(image.file.path)
            if not elsewhere and _has_pixels_of(self._known.dataset, scanned, image):
                self._claimed.add(image.image_id)
                return FileChange("moved", image)
        # No known file has this size, so the file is neither moved nor a copy.
        if scanned.size_bytes not in self._sizes:
            return self._new_here(scanned)
        same = self._known.images_of_digest(scanned.sha256(), series)
        if same:
            return FileChange("copy", copy_of=same[0].file.path)
        return self._new_here(scanned)

    def _new_here(self, scanned: ScannedFile) -> FileChange:
        """Return the change of a new file, compared with the other new files of the scan."""
        first = self._new_sizes.setdefault(scanned.size_bytes, scanned)
        if first is scanned or not self._compare_new:
            return FileChange("new")
        # An unreadable file is reported by the scan that reads it.
        with contextlib.suppress(OSError):
            self._new_digests.setdefault(first.sha256(), first)
        with contextlib.suppress(OSError):
            before = self._new_digests.setdefault(scanned.sha256(), scanned)
            if before is not scanned:
                return FileChange("copy", copy_of=str(before.path))
        return FileChange("new")

    def claimed(self, image: KnownImage) -> bool:
        """Return True if an image was matched to a file at another path."""
        return image.image_id in self._claimed


def _pairs(new: Sequence[Acquisition], gone: Sequence[KnownImage]) -> Iterator[tuple[int, int]]:
    """Yield pairs of new and earlier paths, among files that all have the same content."""
    left_new, left_gone = dict(enumerate(new)), dict(enumerate(gone))
    by_name: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for i, acquisition in left_new.items():
        by_name[PurePosixPath(acquisition.primary.rel_path).name][0].append(i)
    for j, image in left_gone.items():
        by_name[PurePosixPath(image.file.rel_path).name][1].append(j)
    # Match files of equal names first, so that few pairs are left to compare.
    for ours, theirs in [*by_name.values(), (list(left_new), list(left_gone))]:
        ours, theirs = [i for i in ours if i in left_new], [j for j in theirs if j in left_gone]
        pairs: Iterable[tuple[int, int]] = itertools.product(ours, theirs)
        if len(ours) * len(theirs) > _MAX_PAIRS:
            pairs = zip(ours, theirs, strict=False)
        for i, j in sorted(pairs, key=lambda pair: _unlikeness(new[pair[0]], gone[pair[1]])):
            if i in left_new and j in left_gone:
                del left_new[i], left_gone[j]
                yield i, j


def _unlikeness(acquisition: Acquisition, image: KnownImage) -> tuple[bool, int, int]:
    """Return a distance between a new file and an earlier one of the same content."""
    scanned, file = acquisition.primary, image.file
    ours, theirs = (PurePosixPath(p.rel_path).parts[::-1] for p in (scanned, file))
    pairs = zip(ours, theirs, strict=False)
    in_common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    sidecars = {
        (PurePosixPath(f.rel_path).suffix, f.size_bytes, f.sha256)
        for f in image.files
        if f.role != "image"
    }
    sizes = {size for _, size, _ in sidecars}
    same = 0
    for attached in acquisition.attached:
        with contextlib.suppress(OSError):
            other = attached.scanned
            if other.size_bytes in sizes:
                suffix = PurePosixPath(other.rel_path).suffix
                same += (suffix, other.size_bytes, other.sha256()) in sidecars
    return scanned.rel_path != file.rel_path, -in_common, -same


def _is_known_to_be_gone(path: str) -> bool:
    with contextlib.suppress(OSError):
        return is_gone(path)
    return False


def compare(dataset: OpenDataset, known: KnownImage, acquisition: Acquisition) -> FileChange:
    """Return the change of the files of a known image, given its acquisition."""
    changed, touched, pixels = [], False, False
    files = {file.path: file for file in known.files}
    described = [a.scanned for a in acquisition.attached if a.role == "companion"]
    image_files = {*acquisition.images, *acquisition.members, *described}
    for scanned in (
        *acquisition.images,
        *acquisition.members,
        *(a.scanned for a in acquisition.attached),
    ):
        file = files.pop(scanned.full_path, None)
        if file is not None and _untouched(file, scanned):
            continue
        if file is not None and _is_same(dataset, known, file, scanned):
            touched = True
            continue
        changed.append(scanned.rel_path)
        pixels = pixels or scanned in image_files
    changed += [file.rel_path for file in files.values() if not file.gone and is_gone(file.path)]
    if pixels:
        return FileChange("pixels", known, tuple(changed))
    if changed:
        return FileChange("files", known, tuple(changed))
    return FileChange("touched" if touched else "unchanged", known)


def _is_same(
    dataset: OpenDataset, known: KnownImage, file: SourceFileDocument, scanned: ScannedFile
) -> bool:
    """Return True if the content of a file is unchanged, by digest or, without one, by pixels."""
    if file.sha256:
        return file.sha256 == scanned.sha256()
    return file.role == "image" and _has_pixels_of(dataset, scanned, known)


def _has_pixels_of(dataset: OpenDataset, scanned: ScannedFile, image: KnownImage) -> bool:
    try:
        with ChannelStack([scanned], image.file.series) as stack:
            return same_pixels(stack, dataset.record(image.image_id))
    except Exception:  # noqa: BLE001 - the next reader of the file reports the error
        return False


def _untouched(file: SourceFileDocument, scanned: ScannedFile) -> bool:
    same = (file.size_bytes, file.mtime_ns) == (scanned.size_bytes, scanned.mtime_ns)
    return same and not file.gone


def same_pixels(stack: ChannelStack, record: StoredImage) -> bool:
    """Return True if a TIFF holds the pixels of an image, in any order of the axes."""
    ours, theirs = record.get_axes(), [axis.name for axis in stack.axes]
    if sorted(ours) != sorted(theirs) or stack.dtype != record.dtype:
        return False
    pixels = np.asarray(stack[(slice(None),) * len(theirs)])
    turned = pixels.transpose([theirs.index(name) for name in ours])
    # Compare bits, so that NaN equals NaN.
    return turned.tobytes() == record.load_array().tobytes() and turned.shape == record.shape
