"""What a dataset knows of the files its images came from."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Final

import msgspec

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.ingest.folder.scan import Found
from kymflow_zarr.schema.image import SourceFileDocument

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS: Final = ("error", "source_files")
_DECODER: Final = msgspec.json.Decoder(tuple[SourceFileDocument, ...])


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image that came from files.

    Parameters
    ----------
    image_id : str
    files : tuple of SourceFileDocument
        All of them, the first TIFF first.
    """

    image_id: str
    files: tuple[SourceFileDocument, ...]

    @property
    def file(self) -> SourceFileDocument:
        """The TIFF that stands for the image."""
        return next(file for file in self.files if file.role == "image")

    @property
    def is_unread(self) -> bool:
        """Whether nothing is known of what its files say, as after a migration."""
        return not any(file.feeds for file in self.files)


class SourceIndex:
    """The images of a dataset by the files they came from.

    Parameters
    ----------
    dataset : OpenDataset
    """

    def __init__(self, dataset: OpenDataset) -> None:
        self.dataset = dataset
        self._by_path: dict[tuple[str, int], KnownImage] = {}
        self._series: dict[str, dict[int, str]] = defaultdict(dict)
        self._by_digest: dict[tuple[str, int], list[KnownImage]] = defaultdict(list)
        for image in _images(dataset.index.columns(_COLUMNS)):
            self.add(image)

    def add(self, image: KnownImage) -> None:
        """Take in an image."""
        file = image.file
        for other in image.files:
            if other.role == "image":
                self._by_path[other.path, other.series] = image
                self._series[other.path][other.series] = image.image_id
        self._by_digest[file.sha256, file.series].append(image)

    def image_of(self, found: Found, series: int) -> KnownImage | None:
        """Return the image that came from the file at a path."""
        return self.image_at(str(found.path), series)

    def image_at(self, path: str, series: int) -> KnownImage | None:
        """Return the image that came from the file that was at a path."""
        return self._by_path.get((path, series))

    def series_of(self, found: Found) -> dict[int, str]:
        """Return the id of each image of a file, by its number in the file."""
        return self.series_at(str(found.path))

    def series_at(self, path: str) -> dict[int, str]:
        """Return the id of each image of the file that was at a path."""
        return dict(self._series.get(path, {}))

    def images_of_digest(self, sha256: str, series: int) -> list[KnownImage]:
        """Return the images whose TIFF has a digest."""
        return self._by_digest.get((sha256, series), [])

    def images_without_digest(self, found: Found, series: int) -> list[KnownImage]:
        """Return the images of a TIFF of this name whose digest nobody knows.

        Its size may be another one: a copy may have been written by another program.
        """
        return [
            image
            for image in self._by_digest.get(("", series), [])
            if _name(image.file.path) == found.path.name
        ]

    def sizes(self) -> set[int]:
        """Return the sizes of all TIFFs: a file of another size is none of them."""
        return {image.file.size_bytes for image in self}

    def __iter__(self) -> Iterator[KnownImage]:
        seen: set[str] = set()
        for image in self._by_path.values():
            if image.image_id not in seen:
                seen.add(image.image_id)
                yield image


def known_image(dataset: OpenDataset, found: Found, series: int) -> KnownImage | None:
    """Return the image that came from the file at a path, as :class:`SourceIndex` does.

    Of the other images nothing is decoded: for a single file the rest would take seconds.
    """
    import pyarrow.compute as pc

    table = dataset.index.columns(_COLUMNS)
    path = str(found.path)
    # As the index writes it, and as it does where there are halves of surrogate pairs.
    try:
        texts = {msgspec.json.encode(path).decode(), json.dumps(path)}
    except UnicodeEncodeError:
        return None
    has_it = [pc.match_substring(table["source_files"], text) for text in texts]
    table = table.filter(functools.reduce(pc.or_, has_it))
    here = None
    for image in _images(table):
        tiffs = [file for file in image.files if file.role == "image"]
        if any((file.path, file.series) == (path, series) for file in tiffs):
            here = image
    return here


def _images(table: pa.Table) -> Iterator[KnownImage]:
    from kymflow_zarr.engine.index.file import values

    rows = (values(table, name) for name in ("image_id", *_COLUMNS))
    for image_id, error, text in zip(*rows, strict=True):
        if error is None and text is not None:
            try:
                files = _DECODER.decode(text)
            except msgspec.DecodeError:  # Halves of surrogate pairs.
                files = msgspec.convert(json.loads(text), tuple[SourceFileDocument, ...])
            if any(file.role == "image" for file in files):
                yield KnownImage(image_id, files)


def _name(path: str) -> str:
    # It may be a path of another system; this takes both separators.
    return PureWindowsPath(path).name
