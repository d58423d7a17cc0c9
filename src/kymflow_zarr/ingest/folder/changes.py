"""What has become of an acquisition since it was ingested."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.ingest.folder.convention import Acquisition
from kymflow_zarr.ingest.folder.scan import Found, is_gone
from kymflow_zarr.ingest.folder.source_index import KnownImage, KnownSources
from kymflow_zarr.ingest.sources.channels import ChannelStack
from kymflow_zarr.runtime.parallel import THREADS, in_order
from kymflow_zarr.schema.image import SourceFileDocument

Verdict: TypeAlias = Literal["new", "copy", "moved", "unchanged", "touched", "files", "pixels"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with an acquisition.

    Parameters
    ----------
    verdict : str
        ``files`` where only what lies beside the TIFF has changed, ``touched`` where times
        have and contents have not.
    known : KnownImage, optional
        The image it is, or the one it is a copy of.
    changed : tuple of str
        ``rel_path`` of the files that have changed, come or gone.
    copy_of : str, optional
        Path of the file that this is a copy of.
    """

    verdict: Verdict
    known: KnownImage | None = None
    changed: tuple[str, ...] = ()
    copy_of: str | None = None


class Decider:
    """Holds acquisitions against what the dataset knows. Opens a file only to digest it.

    Parameters
    ----------
    known : KnownSources
    compare_new : bool
        Whether new files are held against each other too. Whoever reads them finds out anyway
        which are equal, and without reading them twice.
    """

    def __init__(self, known: KnownSources, *, compare_new: bool) -> None:
        self._known = known
        self._compare_new = compare_new
        self._sizes = known.sizes()
        self._claimed: set[str] = set()
        self._new_sizes: dict[int, Found] = {}
        self._new_digests: dict[str, Found] = {}

    def decide(self, acquisition: Acquisition, series: int = 0) -> Decision:
        """Return what has become of one image of an acquisition."""
        known = self._known.image_of(acquisition.primary, series)
        if known is None:
            return self._unknown(acquisition.primary, series)
        return compare(self._known.dataset, known, acquisition)

    def _unknown(self, found: Found, series: int) -> Decision:
        for image in self._known.images_without_digest(found, series):
            elsewhere = not is_gone(image.file.path) or image.image_id in self._claimed
            if not elsewhere and _has_pixels_of(self._known.dataset, found, image):
                self._claimed.add(image.image_id)
                return Decision("moved", image)
        # A file of a size that no known one has can be neither moved nor a copy.
        if found.size_bytes not in self._sizes:
            return self._new_here(found)
        same = self._known.images_of_digest(found.sha256(), series)
        for image in same:
            if image.image_id not in self._claimed and is_gone(image.file.path):
                self._claimed.add(image.image_id)
                return Decision("moved", image)
        if same:
            return Decision("copy", copy_of=same[0].file.path)
        return self._new_here(found)

    def _new_here(self, found: Found) -> Decision:
        """Decide on a new file among the other new ones of this scan."""
        first = self._new_sizes.setdefault(found.size_bytes, found)
        if first is found or not self._compare_new:
            return Decision("new")
        # Of one that cannot be read it is said elsewhere.
        with contextlib.suppress(OSError):
            self._new_digests.setdefault(first.sha256(), first)
        with contextlib.suppress(OSError):
            before = self._new_digests.setdefault(found.sha256(), found)
            if before is not found:
                return Decision("copy", copy_of=str(before.path))
        return Decision("new")

    def digest_ahead(
        self, acquisitions: Iterable[Acquisition], executor: Executor | None = None
    ) -> None:
        """Digest, several at a time, what :meth:`decide` is going to digest one by one."""
        new = [a.primary for a in acquisitions if self._known.image_of(a.primary, 0) is None]
        alike = Counter(found.size_bytes for found in new if self._compare_new)
        doubtful = [f for f in new if alike[f.size_bytes] > 1 or f.size_bytes in self._sizes]
        if len(doubtful) > 1:
            digests = in_order(Found.sha256, doubtful, executor=executor, threads=THREADS)
            for found, digest, error in digests:
                if digest is not None:
                    found.learn(digest)
                elif not isinstance(error, OSError):
                    raise error or AssertionError

    def claimed(self, image: KnownImage) -> bool:
        """Tell whether an image was found again under another path."""
        return image.image_id in self._claimed


def compare(dataset: OpenDataset, known: KnownImage, acquisition: Acquisition) -> Decision:
    """Return what has become of the files of an image that is known to be an acquisition."""
    changed, touched, pixels = [], False, False
    files = {file.path: file for file in known.files}
    for found in (*acquisition.images, *(a.found for a in acquisition.attached)):
        file = files.pop(str(found.path), None)
        if file is not None and _untouched(file, found):
            continue
        if file is not None and _is_same(dataset, known, file, found):
            touched = True
            continue
        changed.append(found.rel_path)
        pixels = pixels or found in acquisition.images
    changed += [file.rel_path for file in files.values() if not file.gone and is_gone(file.path)]
    if pixels:
        return Decision("pixels", known, tuple(changed))
    if changed:
        return Decision("files", known, tuple(changed))
    return Decision("touched" if touched else "unchanged", known)


def _is_same(
    dataset: OpenDataset, known: KnownImage, file: SourceFileDocument, found: Found
) -> bool:
    """Tell whether a file has the content it had: by digest, by pixels where there is none."""
    if file.sha256:
        return file.sha256 == found.sha256()
    return file.role == "image" and _has_pixels_of(dataset, found, known)


def _has_pixels_of(dataset: OpenDataset, found: Found, image: KnownImage) -> bool:
    try:
        with ChannelStack([found], image.file.series) as stack:
            return _same_pixels(stack, dataset.record(image.image_id))
    except Exception:  # noqa: BLE001 - whoever reads it next says what is wrong with it
        return False


def _untouched(file: SourceFileDocument, found: Found) -> bool:
    same = (file.size_bytes, file.mtime_ns) == (found.size_bytes, found.mtime_ns)
    return same and not file.gone


def _same_pixels(stack: ChannelStack, record: StoredImage) -> bool:
    """Tell whether a TIFF holds the pixels of an image, whose axes may be in another order."""
    ours, theirs = record.get_axes(), [axis.name for axis in stack.axes]
    if sorted(ours) != sorted(theirs) or stack.dtype != record.dtype:
        return False
    pixels = np.asarray(stack[(slice(None),) * len(theirs)])
    turned = pixels.transpose([theirs.index(name) for name in ours])
    # Bit by bit: NaN is equal to NaN here.
    return turned.tobytes() == record.load_array().tobytes() and turned.shape == record.shape
