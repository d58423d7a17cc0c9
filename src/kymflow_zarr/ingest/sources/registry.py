"""The formats of image files that can be read: a row for each.

A new format is a file with a class that satisfies
:class:`~kymflow_zarr.ingest.sources.interface.ImageFile`, and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from kymflow_zarr.ingest.sources.interface import FileSet, ImageFile
from kymflow_zarr.types import StrPath

__all__ = [
    "FORMATS",
    "ImageFormat",
    "file_sets",
    "is_image_file",
    "may_tell_sets",
    "open_image_file",
]


Opener: TypeAlias = Callable[[Path, int], ImageFile]
SetFinder: TypeAlias = Callable[[Sequence[Path], Sequence[Path]], list[FileSet]]


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """A format of image files.

    Parameters
    ----------
    name : str
    suffixes : tuple of str
        In lower case, with the dot.
    open : callable
        Opens image number `series` of a file; imports what it needs when it is called.
    companion_suffixes : tuple of str
        Of files that may say which others are one image, in lower case.
    find_sets : callable, optional
        Given the files that have the format's suffixes, and all others that lie beside them
        and in folders below, returns the sets of files that are one image each. None for a
        format whose images are one file each.
    """

    name: str
    suffixes: tuple[str, ...]
    open: Opener
    companion_suffixes: tuple[str, ...] = ()
    find_sets: SetFinder | None = None


def _open_tiff(path: Path, series: int) -> ImageFile:
    from kymflow_zarr.ingest.sources.tiff.file import open_tiff

    return open_tiff(path, series=series)


def _tiff_sets(images: Sequence[Path], others: Sequence[Path]) -> list[FileSet]:
    from kymflow_zarr.ingest.sources.tiff.sets import find_sets

    return find_sets(images, others)


FORMATS: Final = (ImageFormat("TIFF", (".tif", ".tiff"), _open_tiff, (".ome", ".xml"), _tiff_sets),)


def is_image_file(path: StrPath) -> bool:
    """Return True if a file has the name of a format that can be read."""
    return _format_of(path) is not None


def may_tell_sets(path: StrPath) -> bool:
    """Return True if a file may say which files are one image, by its name."""
    name = str(path).casefold()
    return any(name.endswith((*each.suffixes, *each.companion_suffixes)) for each in FORMATS)


def open_image_file(path: Path, *, series: int = 0) -> ImageFile:
    """Open one image of a file of any format that can be read.

    A file whose suffix no format has is read as the first one of :data:`FORMATS`.

    Parameters
    ----------
    path : Path
    series : int
        Which of the images of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SourceFileError
        If it cannot be read.
    """
    return (_format_of(path) or FORMATS[0]).open(path, series)


def file_sets(paths: Iterable[Path]) -> list[FileSet]:
    """Return which files belong to one image.

    Parameters
    ----------
    paths : iterable of Path
        All files of a folder and of those below. Those that may be of a set are opened.

    Returns
    -------
    list of FileSet
        Files that stand alone are in none of them, and no file is in two.
    """
    formats = [(path, _format_of(path)) for path in paths]
    found: list[FileSet] = []
    for each in FORMATS:
        images = [path for path, of in formats if of is each]
        if images and each.find_sets is not None:
            found += each.find_sets(images, [path for path, of in formats if of is not each])
    return found


def _format_of(path: StrPath) -> ImageFormat | None:
    name = str(path).casefold()
    return next((each for each in FORMATS if name.endswith(each.suffixes)), None)
