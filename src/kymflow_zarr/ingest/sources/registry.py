"""The registry of image file formats, one row for each.

To add a format, write a file with a class that implements
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
        Opens image number `series` of a file; imports its dependencies when called.
    companion_suffixes : tuple of str
        Suffixes of files that may list the files of a set, in lower case.
    find_sets : callable, optional
        Takes the files with the format's suffixes, and all other files beside and below them;
        returns the sets of files that are one image each. None for a format with one file per
        image.
    """

    name: str
    suffixes: tuple[str, ...]
    open: Opener
    companion_suffixes: tuple[str, ...] = ()
    find_sets: SetFinder | None = None


def _open_tiff(path: Path, series: int) -> ImageFile:
    from kymflow_zarr.ingest.sources.tiff.file import open_tiff
    from kymflow_zarr.ingest.sources.tiff.prairie import SCAN_NAME

    if SCAN_NAME.fullmatch(path.name):
        from kymflow_zarr.ingest.sources.microscope.prairie import open_line_scan

        scan = open_line_scan(path, series)
        if scan is not None:
            return scan
    return open_tiff(path, series=series)


def _tiff_sets(images: Sequence[Path], others: Sequence[Path]) -> list[FileSet]:
    from kymflow_zarr.ingest.sources.tiff.sets import find_sets

    return find_sets(images, others)


def _open_czi(path: Path, series: int) -> ImageFile:
    from kymflow_zarr.ingest.sources.microscope.czi import open_czi

    return open_czi(path, series)


def _open_lif(path: Path, series: int) -> ImageFile:
    from kymflow_zarr.ingest.sources.microscope.lif import open_lif

    return open_lif(path, series)


def _open_nd2(path: Path, series: int) -> ImageFile:
    from kymflow_zarr.ingest.sources.microscope.nd2 import open_nd2

    return open_nd2(path, series)


def _open_oif(path: Path, series: int) -> ImageFile:
    from kymflow_zarr.ingest.sources.microscope.oif import open_oif

    return open_oif(path, series)


def _oif_sets(images: Sequence[Path], others: Sequence[Path]) -> list[FileSet]:
    from kymflow_zarr.ingest.sources.microscope.oif import find_sets

    return find_sets(images, others)


def _open_oir(path: Path, series: int) -> ImageFile:
    from kymflow_zarr.ingest.sources.microscope.oir import open_oir

    return open_oir(path, series)


FORMATS: Final = (
    ImageFormat("TIFF", (".tif", ".tiff"), _open_tiff, (".ome", ".xml"), _tiff_sets),
    ImageFormat("Zeiss CZI", (".czi",), _open_czi),
    ImageFormat("Leica LIF", (".lif",), _open_lif),
    ImageFormat("Nikon ND2", (".nd2",), _open_nd2),
    ImageFormat("Olympus OIB, OIF", (".oib", ".oif"), _open_oif, (), _oif_sets),
    ImageFormat("Olympus OIR", (".oir",), _open_oir),
)


def is_image_file(path: StrPath) -> bool:
    """Return True if a file has the suffix of a readable format."""
    return _format_of(path) is not None


def may_tell_sets(path: StrPath) -> bool:
    """Return True if a file may list the files of a set, judged by its name."""
    name = str(path).casefold()
    return any(
        name.endswith((*each.suffixes, *each.companion_suffixes))
        for each in FORMATS
        if each.find_sets is not None
    )


def open_image_file(path: Path, *, series: int = 0) -> ImageFile:
    """Open one image of a file of any readable format.

    A file of an unknown suffix is read as the first of :data:`FORMATS`.

    Parameters
    ----------
    path : Path
    series : int
        Number of the image in the file.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    SourceFileError
        If it cannot be read.
    """
    return (_format_of(path) or FORMATS[0]).open(path, series)


def file_sets(paths: Iterable[Path]) -> list[FileSet]:
    """Return the sets of files that are one image each.

    Parameters
    ----------
    paths : iterable of Path
        All files of a folder tree. Files that may belong to a set are opened.

    Returns
    -------
    list of FileSet
        Each file is in at most one set; files of no set are left out.
    """
    formats = [(path, _format_of(path)) for path in paths]
    sets: list[FileSet] = []
    for each in FORMATS:
        images = [path for path, of in formats if of is each]
        if images and each.find_sets is not None:
            sets += each.find_sets(images, [path for path, of in formats if of is not each])
    return sets


def _format_of(path: StrPath) -> ImageFormat | None:
    name = str(path).casefold()
    return next((each for each in FORMATS if name.endswith(each.suffixes)), None)
