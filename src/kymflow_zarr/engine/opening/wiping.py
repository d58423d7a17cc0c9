"""Whose is what a folder holds; and mode ``"w"``, which empties a dataset and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import load
from kymflow_zarr.errors import FormatVersionError, SchemaValidationError
from kymflow_zarr.schema.base import read_dataset_document
from kymflow_zarr.storage.local.files import os_errors
from kymflow_zarr.storage.local.storage import LocalStorage

_TREES: Final = (
    layout.IMAGES,
    layout.TABLES,
    layout.INDEX,
    layout.SOURCE_FILES,
    layout.QUARANTINE,
)
_DERIVED: Final = {key.rpartition("/")[2] for key in (layout.MANIFEST, layout.THUMBNAILS)}


def refuse_foreign(storage: LocalStorage) -> None:
    """Raise SchemaValidationError if a folder without a root document is not free for a dataset.

    What an interrupted creation has left there does not count.
    """
    root = storage.root
    # By way of the storage: what is committed to go, and there still, does not count either.
    foreign = sorted(_names(root) - {layout.WORK, layout.CHECKSUMS, *_TREES})
    foreign = [name for name in (*foreign, *_TREES[1:]) if storage.stat(name) is not None]
    if _names(root / layout.INDEX) <= _DERIVED:
        # A writer whose dataset another process was emptying has put it there.
        foreign = [name for name in foreign if name != layout.INDEX]
    images = storage.path(layout.IMAGES)
    own = {layout.GROUP} if (images / layout.GROUP).is_file() else set()
    foreign += [f"{layout.IMAGES}/{name}" for name in sorted(_names(images) - own)]
    if foreign:
        raise SchemaValidationError(
            f"the folder is not a kymflow_zarr dataset; it holds {_some(foreign)}",
            where=str(root),
            hint="Give the path of a dataset.",
        )


def refuse_nested(root: Path) -> None:
    """Raise SchemaValidationError if a folder lies inside a dataset."""
    for folder in root.parents:
        document = folder / layout.GROUP
        with os_errors("look at", str(document)):
            inside = document.is_file() and b'"kymflow_zarr"' in document.read_bytes()
        if inside:
            raise SchemaValidationError(
                f"the path lies inside the dataset or image {str(folder)!r}",
                where=str(root),
                hint="Keep datasets beside each other.",
            )


def wipe(storage: LocalStorage) -> None:
    """Remove all that is in the folder of a dataset; the caller holds the locks of its top.

    Raises
    ------
    SchemaValidationError
        See :func:`refuse_to_wipe`; nothing is deleted.
    """
    if refuse_to_wipe(storage):
        own_keys = (layout.GROUP, layout.CHECKSUMS, *sorted(layout.ZARR_V2_NAMES), *_TREES)
        with storage.transaction("") as transaction:
            for key in own_keys:
                transaction.remove(key)


def refuse_to_wipe(storage: LocalStorage) -> bool:
    """Return True if a folder is a dataset's, False if it is free for one.

    Raises
    ------
    SchemaValidationError
        If anything in it is not the dataset's.
    """
    root = storage.root
    if not root.is_dir():
        raise SchemaValidationError(
            "this is a file; mode 'w' replaces only datasets and empty folders", where=str(root)
        )
    if not any(root.iterdir()) or _is_half_created(storage):
        return False
    own = layout.OWN_NAMES
    if not (root / layout.GROUP).exists():
        own |= layout.ZARR_V2_NAMES
    foreign = sorted(_names(root) - own) or list(_foreign_inside(storage))
    if foreign or not _is_dataset(storage):
        held = _some(foreign) if foreign else "no dataset of ours"
        raise SchemaValidationError(
            f"mode 'w' replaces only datasets and empty folders; this folder holds {held}",
            where=str(root),
            hint="Nothing was deleted. Choose another path, or empty the folder yourself.",
        )
    return True


def _is_half_created(storage: LocalStorage) -> bool:
    root, images = storage.root, storage.root / layout.IMAGES
    own = {layout.GROUP} if (images / layout.GROUP).is_file() else set()
    return _names(root) <= {layout.WORK, layout.IMAGES} and _names(images) <= own


def _is_dataset(storage: LocalStorage) -> bool:
    try:
        raw = load(storage, layout.GROUP)
        if raw is None:
            attributes: Any = load(storage, ".zattrs")
            return attributes is not None and attributes.get("format") == "kymflow_zarr_v1"
        read_dataset_document(raw, where=storage.location)
    except FormatVersionError:
        return True
    except (SchemaValidationError, AttributeError):
        return False
    return True


def _foreign_inside(storage: LocalStorage) -> Iterator[str]:
    """Yield what is not the dataset's below its own folders."""
    images = storage.root / layout.IMAGES
    for name in sorted(_names(images) - {layout.GROUP, ".zgroup", ".zattrs"}):
        if not _is_image(images / name):
            yield f"{layout.IMAGES}/{name}"
    for key, _ in storage.walk(layout.TABLES):
        if not key.endswith(".parquet"):
            yield key


def _is_image(folder: Path) -> bool:
    if (folder / ".zgroup").is_file():
        return True
    try:
        document = json.loads((folder / layout.GROUP).read_bytes())
        return bool(document["attributes"]["kymflow_zarr"]["document"] == "image")
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (ValueError, KeyError, TypeError):
        return True  # An image's document, damaged.


def _names(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os_errors("list", str(folder)):
        names = {entry.name for entry in folder.iterdir()}
    return {
        name
        for name in names
        if not layout.is_litter(name) and not name.startswith(layout.TEMPORARY_PREFIX)
    }


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
