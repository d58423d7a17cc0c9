"""Map each part of a dataset to paths in the target folder, without I/O.

Names are spelled as in the dataset (:mod:`kymflow_zarr.layout`), so that no two of them
share a file on any disk, and :func:`kymflow_zarr.layout.decode_name` gives them back.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kymflow_zarr import layout
from kymflow_zarr.errors import InvalidNameError
from kymflow_zarr.formats.kinds import dataframe_kinds
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.types import ARTIFACT_SUFFIXES, ArtifactInfo, ArtifactKind

MANIFEST: Final = layout.EXPORT_MANIFEST
WORK: Final = ".kymflow_zarr_export"
ARRAYS: Final = "array_artifacts"
SOURCES: Final = "source_files"

# A folder of one of these names could collide with a file of another artifact.
_FILE_SUFFIXES: Final = (".csv", ".npy", ".tif")

# Characters that are not escaped in names of source files, capitals included.
_PLAIN: Final = frozenset(f"{string.ascii_letters}{string.digits}_-+=,@(). ")


@dataclass(frozen=True, slots=True)
class ArtifactPlace:
    """The paths of an artifact.

    Parameters
    ----------
    name, kind, key
        As of :class:`kymflow_zarr.ArtifactInfo`.
    exact : str
        The lossless file, as in the dataset.
    plain : str, optional
        The CSV of a data frame. If it is lossless, `exact` is not written.
    """

    name: str
    kind: ArtifactKind
    key: str
    exact: str
    plain: str | None

    @property
    def paths(self) -> tuple[str, ...]:
        """All files it may need."""
        return (self.exact,) if self.plain is None else (self.plain, self.exact)


def image_folder(image_id: str) -> str:
    """Return the folder of an image."""
    return f"{layout.IMAGES}/{layout.encode_segment(image_id, what='image id')}"


def pixels_place(image_id: str, *, empty: bool) -> str:
    """Return the path of the pixels: a TIFF, or a ``.npy`` for an image without pixels."""
    return f"{image_folder(image_id)}/image.{'npy' if empty else 'tif'}"


def artifact_places(image_id: str, artifacts: Iterable[ArtifactInfo]) -> list[ArtifactPlace]:
    """Return the paths of the JSON and data-frame artifacts of an image.

    ``<name>.csv`` belongs to the data frame of that name, the Parquet artifact if there are
    several; a gzip CSV artifact beside it is written as ``<name>.csv.gz`` alone.
    """
    listed = list(artifacts)
    there = {(info.name, info.kind) for info in listed}
    kinds = [kind.name for kind in dataframe_kinds()]
    places = []
    for info in listed:
        stem = f"{image_folder(image_id)}/{_stem(info.name, 'artifact name')}"
        has_csv = info.kind == next((kind for kind in kinds if (info.name, kind) in there), None)
        places.append(
            ArtifactPlace(
                info.name,
                info.kind,
                info.key,
                exact=f"{stem}{ARTIFACT_SUFFIXES[info.kind]}",
                plain=f"{stem}.csv" if has_csv else None,
            )
        )
    return places


def array_place(image_id: str, name: str) -> str:
    """Return the path of an array artifact."""
    return f"{image_folder(image_id)}/{ARRAYS}/{_stem(name, 'artifact name')}.npy"


def table_place(name: str) -> ArtifactPlace:
    """Return the paths of a table."""
    stem = f"{layout.TABLES}/{_stem(name, 'table name')}"
    return ArtifactPlace(
        name,
        "parquet",
        layout.table_key(name),
        exact=f"{stem}{ARTIFACT_SUFFIXES['parquet']}",
        plain=f"{stem}.csv",
    )


def source_places(
    folder: str, documents: Iterable[SourceFileDocument]
) -> list[tuple[SourceFileDocument, str | None]]:
    """Return the paths of the kept source files of an image, or of the dataset.

    A file keeps its name and the folders of its ``rel_path``, as far as they are valid on every
    file system. If several files have the same path, such as files with the same ``rel_path`` below
    different folders, the later ones go below ``^2``, ``^3`` and so on.

    Parameters
    ----------
    folder : str
        ``images/<id>``, or empty for the dataset.
    documents : iterable of SourceFileDocument

    Returns
    -------
    list of (SourceFileDocument, str or None)
        In the order of `documents`; None for a file whose bytes are not kept.
    """
    top = f"{folder}/{SOURCES}" if folder else SOURCES
    files: set[str] = set()
    folders: set[str] = set()
    places: list[tuple[SourceFileDocument, str | None]] = []
    for document in documents:
        if document.kept_as is None:
            places.append((document, None))
            continue
        spelled = "/".join(map(source_segment, document.rel_path.split("/")))
        relative, number = spelled, 1
        while not _is_free(relative.lower(), files, folders):
            number += 1
            relative = f"^{number}/{spelled}"
        files.add(relative.lower())
        folders.update(_folders(relative.lower()))
        places.append((document, f"{top}/{relative}"))
    return places


def frame_places(folder: str, documents: Iterable[SourceFileDocument]) -> dict[int, str]:
    """Return the paths of TIFF skeletons, by the position of the file in `documents`."""
    # No folder of a source file has this name: "^" would be escaped as "%5e".
    return {
        number: f"{folder}/{SOURCES}/^frames/{number}.frame"
        for number, document in enumerate(documents)
        if document.frame_as is not None
    }


def _is_free(path: str, files: set[str], folders: set[str]) -> bool:
    taken = path in files or path in folders
    return not taken and files.isdisjoint(_folders(path))


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def source_segment(segment: str) -> str:
    """Return a safe path segment, which is `segment` itself if possible."""
    try:
        layout.check_name(segment, what="file name")
    except InvalidNameError:
        # For example "..", "" or a Windows device name. The manifest has the original name.
        return _digest(segment)
    last = len(segment) - 1
    spelled = "".join(
        c if c in _PLAIN and not (i in (0, last) and c in ". ") else _escaped(c)
        for i, c in enumerate(segment)
    )
    return spelled if len(spelled) <= layout.MAX_SEGMENT_BYTES else _digest(segment)


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02x}" for byte in character.encode())


def _digest(segment: str) -> str:
    return f"^{hashlib.sha256(segment.encode(errors='surrogatepass')).hexdigest()[:32]}"


def _stem(name: str, what: str) -> str:
    *folders, last = layout.encode_name(name, what=what).split("/")
    return "/".join([*map(_folder, folders), last])


def _folder(encoded: str) -> str:
    if encoded == SOURCES:
        # Files in that folder have arbitrary names.
        return SOURCES.replace("_", "%5f")
    for suffix in _FILE_SUFFIXES:
        if encoded.endswith(suffix):
            return f"{encoded.removesuffix(suffix)}%2e{suffix[1:]}"
    return encoded
