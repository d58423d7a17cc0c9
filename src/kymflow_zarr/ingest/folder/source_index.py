"""Look up the images of a dataset by their source files."""

from __future__ import annotations

import contextlib
import functools
import json
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Final

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.ingest.folder.scan import ScannedFile, is_gone
from kymflow_zarr.schema.base import decodable
from kymflow_zarr.schema.image import SourceFileDocument

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS: Final = ("error", "source_files")
# Build the whole table after this many lookups: more are likely to follow.
_FEW: Final = 2
_LOOKUPS: Final[weakref.WeakKeyDictionary[OpenDataset, SourceLookup]] = weakref.WeakKeyDictionary()
_DECODER: Final = msgspec.json.Decoder(decodable(tuple[SourceFileDocument, ...]))


# Roles of the files of a set, and of pictures of the place where the image was taken.
SET_ROLES: Final = frozenset({"image", "member", "companion", "picture"})


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image of the dataset, with its source files.

    Parameters
    ----------
    image_id : str
    files : tuple of SourceFileDocument
        All source files, the first TIFF first.
    """

    image_id: str
    files: tuple[SourceFileDocument, ...]

    @property
    def file(self) -> SourceFileDocument:
        """The TIFF that identifies the image."""
        return next(file for file in self.files if file.role == "image")

    @property
    def is_unread(self) -> bool:
        """Whether the content of its files is not recorded, as after a migration."""
        return not any(file.feeds for file in self.files)


class SourceIndex:
    """An index of the images of a dataset by source file.

    Parameters
    ----------
    dataset : OpenDataset
    """

    def __init__(self, dataset: OpenDataset) -> None:
        self.dataset = dataset
        self._by_path: dict[tuple[str, int], KnownImage] = {}
        self._series: dict[str, dict[int, str]] = defaultdict(dict)
        self._by_digest: dict[tuple[str, int], list[KnownImage]] = defaultdict(list)
        self._set_files: dict[str, tuple[SourceFileDocument, KnownImage]] = {}
        for image in _images(dataset.index.columns(_COLUMNS)):
            self.add(image)

    def add(self, image: KnownImage) -> None:
        """Add an image to the index."""
        file = image.file
        for other in image.files:
            if other.role == "image":
                self._by_path[other.path, other.series] = image
                self._series[other.path][other.series] = image.image_id
            if other.role in SET_ROLES:
                self._set_files[other.path] = other, image
        self._by_digest[file.sha256, file.series].append(image)

    def image_of(self, scanned: ScannedFile, series: int) -> KnownImage | None:
        """Return the image that came from the file at a path."""
        return self.image_at(scanned.full_path, series)

    def image_unchanged_at(self, scanned: ScannedFile) -> KnownImage | None:
        """Return the image of an unchanged file, which may be any file of a set."""
        file, image = self._set_files.get(scanned.full_path, (None, None))
        if file is None or (file.size_bytes, file.mtime_ns) != (
            scanned.size_bytes,
            scanned.mtime_ns,
        ):
            return None
        return image

    def image_at(self, path: str, series: int) -> KnownImage | None:
        """Return the image whose source file had a path."""
        return self._by_path.get((path, series))

    def series_of(self, scanned: ScannedFile) -> dict[int, str]:
        """Return the ids of the images of a file, by series."""
        return self.series_at(scanned.full_path)

    def series_at(self, path: str) -> dict[int, str]:
        """Return the ids of the images whose source file had a path, by series."""
        return dict(self._series.get(path, {}))

    def images_of_digest(self, sha256: str, series: int) -> list[KnownImage]:
        """Return the images of a TIFF with this digest."""
        return self._by_digest.get((sha256, series), [])

    def images_without_digest(self, scanned: ScannedFile, series: int) -> list[KnownImage]:
        """Return the images of a TIFF of this name that have no recorded digest.

        The size may differ: another program may have written the copy.
        """
        return [
            image
            for image in self._by_digest.get(("", series), [])
            if _name(image.file.path) == scanned.name
        ]

    def sizes(self) -> set[int]:
        """Return the sizes of all TIFFs, to exclude files of other sizes early."""
        return {image.file.size_bytes for image in self}

    def __iter__(self) -> Iterator[KnownImage]:
        seen: set[str] = set()
        for image in self._by_path.values():
            if image.image_id not in seen:
                seen.add(image.image_id)
                yield image


class SourceLookup:
    """Look up the image of one file at a cost that does not depend on the number of images.

    It caches the paths and digests of all source files while the version of the images' folder
    stays the same: adding or deleting an image changes it. A new path that another process records
    for an image does not; :meth:`image_moved_here` queries the index again for such cases. The
    first lookups query the index alone, since reading all paths of a large dataset takes a second.

    Parameters
    ----------
    dataset : OpenDataset
    """

    def __init__(self, dataset: OpenDataset) -> None:
        self._dataset = weakref.proxy(dataset)  # The lookup lives as long as its dataset.
        self._questions = 0
        self._version: int | None = None
        self._ids: dict[tuple[str, int], str] = {}
        self._paths: dict[str, set[str]] = {}

    def find(self, scanned: ScannedFile, series: int) -> KnownImage | None:
        """Return the image that came from the file at a path."""
        self._questions += 1
        if self._questions <= _FEW:
            return self._in_index(scanned, series)
        self._refresh()
        image_id = self._ids.get((scanned.full_path, series))
        if image_id is None:
            return None
        known = image_with_source(self._dataset, image_id, scanned, series)
        # Another process may have recorded another path for the image.
        return self._in_index(scanned, series) if known is None else known

    def image_moved_here(self, scanned: ScannedFile, series: int) -> KnownImage | None:
        """Return the image for which another process has recorded this path since the last lookup.

        This queries the index only if an image of the same content came from a missing file, or an
        image migrated from format version 1 has no digest.
        """
        if self._version is None:
            return None  # The index was queried just now.
        paths = self._paths.get(scanned.sha256(), set()) | self._paths.get("", set())
        with contextlib.suppress(OSError):  # Its state is unknown, which must not stop the ingest.
            if any(is_gone(path) for path in paths):
                return self._in_index(scanned, series)
        return None

    def version(self) -> int | None:
        """Return the version of the images' folder, to be passed to :meth:`add`."""
        stat = self._dataset.storage.stat(layout.IMAGES)
        return None if stat is None else stat.version

    def add(self, scanned: ScannedFile, series: int, image_id: str, *, before: int | None) -> None:
        """Add an image that this process has ingested.

        Parameters
        ----------
        scanned : ScannedFile
        series : int
        image_id : str
        before : int, optional
            The version before the image was added. If it differs from the version of the table,
            another process has added images, and the table is rebuilt when next needed.
        """
        if self._version is not None and before == self._version:
            self._note(image_id, scanned.full_path, series, scanned.sha256())
            self._version = self.version()

    def _refresh(self) -> None:
        version = self.version()
        if version is not None and version == self._version:
            return
        self._ids.clear()
        self._paths.clear()
        for image in _images(self._dataset.index.columns(_COLUMNS)):
            for file in image.files:
                if file.role == "image":
                    self._note(image.image_id, file.path, file.series, file.sha256)
        self._version = version

    def _note(self, image_id: str, path: str, series: int, sha256: str) -> None:
        self._ids[path, series] = image_id
        self._paths.setdefault(sha256, set()).add(path)

    def _in_index(self, scanned: ScannedFile, series: int) -> KnownImage | None:
        """Search the index for a path without decoding the other images."""
        import pyarrow.compute as pc

        table = self._dataset.index.columns(_COLUMNS)
        path = scanned.full_path
        # Search for the path as the index encodes it, with lone surrogates escaped.
        texts = {msgspec.json.encode(path).decode(), json.dumps(path)}
        has_it = [pc.match_substring(table["source_files"], text) for text in texts]
        table = table.filter(functools.reduce(pc.or_, has_it))
        here = None
        for image in _images(table):
            if _came_from(image.files, path, series):
                here = image
        return here


def source_lookup(dataset: OpenDataset) -> SourceLookup:
    """Return the lookup of a dataset; create it at the first call."""
    return _LOOKUPS.setdefault(dataset, SourceLookup(dataset))


def image_with_source(
    dataset: OpenDataset, image_id: str, scanned: ScannedFile, series: int
) -> KnownImage | None:
    """Return the image of an id if it came from the file at a path; read one document."""
    with contextlib.suppress(KymflowZarrError):
        if image_id in dataset:
            files = tuple(dataset.record(image_id).source_files)
            if _came_from(files, scanned.full_path, series):
                return KnownImage(image_id, files)
    return None


def _came_from(files: Iterable[SourceFileDocument], path: str, series: int) -> bool:
    images = [(file.path, file.series) for file in files if file.role == "image"]
    return (path, series) in images


def _images(table: pa.Table) -> Iterator[KnownImage]:
    from kymflow_zarr.engine.index.file import values

    rows = (values(table, name) for name in ("image_id", *_COLUMNS))
    for image_id, error, text in zip(*rows, strict=True):
        if error is None and text is not None:
            try:
                files = _DECODER.decode(text)
            except msgspec.DecodeError:  # The path has lone surrogates.
                files = msgspec.convert(json.loads(text), decodable(tuple[SourceFileDocument, ...]))
            if any(file.role == "image" for file in files):
                yield KnownImage(image_id, files)


def _name(path: str) -> str:
    # The path may be of another system: PureWindowsPath splits at both separators.
    return PureWindowsPath(path).name
