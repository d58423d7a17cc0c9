"""What a file of a group is: which part of an image, and whether a reader would take it."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from kymflow_zarr import layout

_CHUNK: Final = re.compile(r"c(/[0-9]+)*")


def unit_of(prefix: str, key: str) -> str:
    """Return the key, below its group, of what goes as a whole if a file of it is broken.

    An array is of use only with all of its files.
    """
    if not prefix:
        return key
    first, *rest = key.split("/")
    if first == layout.ANALYSIS_ARRAYS and len(rest) > 1:
        if len(rest) > 2 and layout.parse_pixels_path(rest[1]) is None:
            return key
        return f"{first}/{rest[0]}"
    return first if layout.parse_pixels_path(first) is not None else key


def name_of(prefix: str, key: str, current: str | None) -> str:
    """Return what a file of a group is, in words.

    Parameters
    ----------
    prefix, key : str
        Of the group, and of the file below it.
    current : str, optional
        Name of the array that holds the image's pixels now.
    """
    first, _, rest = key.partition("/")
    if not prefix:
        table = layout.parse_table_key(key) if first == layout.TABLES else None
        if table is not None:
            return f"table {table!r}"
        names = {
            layout.GROUP: "document of the dataset",
            f"{layout.IMAGES}/{layout.GROUP}": "group document",
            f"{layout.SOURCE_FILES}/files.json": "list of kept source files",
        }
        return names.get(key) or ("kept source file" if first == layout.SOURCE_FILES else "file")
    if key == layout.GROUP:
        return "document of the image"
    if layout.parse_pixels_path(first) is not None:
        return "pixels" if current in (None, first) else "earlier pixels"
    if first == layout.ANALYSIS:
        artifact = layout.parse_artifact_key(key)
        return f"{artifact[0]} artifact {artifact[1]!r}" if artifact is not None else "file"
    if first == layout.ANALYSIS_ARRAYS:
        if rest == layout.GROUP:
            return "group document"
        return f"array artifact {layout.decode_name(rest.partition('/')[0])!r}"
    return "kept source file" if first == layout.SOURCE_FILES else "file"


def is_read(prefix: str, key: str, listed: Collection[str]) -> bool:
    """Tell whether a reader would take a file of this key for a part of the dataset."""
    if not prefix:
        return (
            key in {layout.GROUP, f"{layout.IMAGES}/{layout.GROUP}"}
            or key == f"{layout.SOURCE_FILES}/files.json"
            or layout.parse_table_key(key) is not None
        )
    first, _, rest = key.partition("/")
    if first == layout.ANALYSIS:
        return layout.parse_artifact_key(key) is not None
    if first == layout.ANALYSIS_ARRAYS:
        folder, _, below = rest.partition("/")
        if below and not any(k.startswith(f"{first}/{folder}/") for k in listed):
            return True  # Whatever is in it, the folder is listed as an array.
        return _is_of_group(below or rest)
    return _is_of_group(key)


def _is_of_group(key: str) -> bool:
    first, _, rest = key.partition("/")
    if key == layout.GROUP:
        return True
    in_array = rest == layout.GROUP or _CHUNK.fullmatch(rest) is not None
    return layout.parse_pixels_path(first) is not None and in_array
