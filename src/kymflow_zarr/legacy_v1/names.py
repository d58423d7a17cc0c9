"""Where format version 1 keeps what version 2 has a key for, and back.

Version 1 writes names as they are: the artifact ``ROI_table`` is ``analysis/ROI_table.json``.
Keys of version 2 spell them as :mod:`kymflow_zarr.layout` does. Pure: no disk is touched.
"""

from __future__ import annotations

from typing import Final

from kymflow_zarr import layout
from kymflow_zarr.errors import InvalidNameError
from kymflow_zarr.types import ArtifactKind

# The order matters: "x.json.gz" is no artifact of another suffix.
_SUFFIXES: Final[tuple[tuple[str, ArtifactKind], ...]] = (
    (".json", "json"),
    (".json.gz", "json"),
    (".parquet", "parquet"),
    (".csv.gz", "csv_gz"),
)


def image_folder(image_id: str) -> str:
    """Return where an image is."""
    return f"{layout.IMAGES}/{image_id}"


def places_of(key: str) -> tuple[str, ...]:
    """Return where the file or folder of a key is; the first that is there counts."""
    parts = key.split("/")
    if parts[0] == layout.TABLES:
        name = layout.parse_table_key(key)
        return (key if name is None else f"{layout.TABLES}/{name}.parquet",)
    if parts[0] != layout.IMAGES or len(parts) < 2:
        return (key,)
    folder = image_folder(layout.parse_image_folder(parts[1]) or parts[1])
    room, rest = parts[2:3], parts[3:]
    if room == [layout.ANALYSIS] and rest:
        artifact = layout.parse_artifact_key("/".join(parts[2:]))
        if artifact is not None:
            kind, name = artifact
            found = (suffix for suffix, of in _SUFFIXES if of == kind)
            return tuple(f"{folder}/{layout.ANALYSIS}/{name}{suffix}" for suffix in found)
    if room == [layout.ANALYSIS_ARRAYS] and rest:
        rest = [layout.decode_name(rest[0]) or rest[0], *rest[1:]]
    return ("/".join([folder, *room, *rest]),)


def image_key_part(folder: str) -> str | None:
    """Return what a folder of ``images`` is called in keys, None if version 2 has no such id."""
    try:
        return layout.image_prefix(folder).removeprefix(f"{layout.IMAGES}/")
    except InvalidNameError:
        return None


def array_key_part(name: str) -> str | None:
    """Return what an array artifact's folder is called in keys, None if it has no such name."""
    try:
        return layout.array_artifact_prefix(name).removeprefix(f"{layout.ANALYSIS_ARRAYS}/")
    except InvalidNameError:
        return None


def artifact_key(relative: str) -> str | None:
    """Return the key, below its record, of the artifact in a file below ``analysis``.

    None if no artifact is kept in a file of that name.
    """
    for suffix, kind in _SUFFIXES:
        if relative.endswith(suffix):
            try:
                return layout.artifact_key(kind, relative.removesuffix(suffix))
            except InvalidNameError:
                return None
    return None


def table_key(relative: str) -> str | None:
    """Return the key of the table in a file below ``tables``, None if it is none."""
    if not relative.endswith(".parquet"):
        return None
    try:
        return layout.table_key(relative.removesuffix(".parquet"))
    except InvalidNameError:
        return None
