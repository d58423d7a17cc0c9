"""What the modes of a dataset mean: open, create, refuse, wipe."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

from kymflow_zarr import _layout
from kymflow_zarr._core._documents import dump, load, utc_now
from kymflow_zarr._schema import DatasetDocument, plain_group_document, read_dataset_document
from kymflow_zarr._storage import LocalStorage, os_errors
from kymflow_zarr._types import Durability, Mode
from kymflow_zarr._version import __version__
from kymflow_zarr.errors import (
    ArgumentError,
    DatasetExistsError,
    DatasetNotFoundError,
    FormatVersionError,
    SchemaValidationError,
)

_MODES: Final = ("r", "r+", "a", "w", "w-")
_V1_NAMES: Final = frozenset({".zgroup", ".zattrs", ".zmetadata"})


def open_storage(
    path: Path, mode: Mode, durability: Durability
) -> tuple[LocalStorage, DatasetDocument]:
    """Open or create the dataset at a path, as `mode` says.

    Raises
    ------
    ArgumentError, DatasetNotFoundError, DatasetExistsError, SchemaValidationError
        See :class:`kymflow_zarr.ZarrDataset`.
    """
    if mode not in _MODES:
        raise ArgumentError(
            f"the mode {mode!r} is not one of {', '.join(map(repr, _MODES))}", where="mode"
        )
    if durability not in ("full", "relaxed"):
        raise ArgumentError(
            f"the durability {durability!r} is not 'full' or 'relaxed'", where="durability"
        )
    storage = LocalStorage(path, writable=mode != "r", durability=durability)
    if mode == "w" and path.exists():
        _wipe(storage)
    document = _read_root(storage)
    if document is not None:
        if mode == "w-":
            raise DatasetExistsError(
                "there is a dataset already",
                where=str(path),
                hint='Open it with mode="a", or choose another path.',
            )
        return storage, document
    if mode in ("r", "r+"):
        raise DatasetNotFoundError(
            "there is no dataset", where=str(path), hint='mode="a" would create one.'
        )
    return storage, _create(storage)


def _read_root(storage: LocalStorage) -> DatasetDocument | None:
    root = storage.root
    if root.exists() and not root.is_dir():
        raise SchemaValidationError("this is a file, not a dataset's folder", where=str(root))
    raw = load(storage, _layout.GROUP)
    if raw is not None:
        return read_dataset_document(raw, where=str(root / _layout.GROUP))
    if (root / ".zattrs").exists() and b"kymflow_zarr_v1" in (root / ".zattrs").read_bytes():
        raise FormatVersionError(
            "this dataset is in format version 1, which this kymflow_zarr does not read",
            where=str(root),
        )
    foreign = _foreign_names(root, _layout.OWN_NAMES)
    if foreign:
        raise SchemaValidationError(
            f"the folder is not a kymflow_zarr dataset; it holds {_some(foreign)}",
            where=str(root),
            hint="Give the path of a dataset, of an empty folder, or of nothing yet.",
        )
    return None


def _create(storage: LocalStorage) -> DatasetDocument:
    root = storage.root
    with os_errors("create the dataset", str(root)):
        root.mkdir(parents=True, exist_ok=True)
    # Two processes may create at once: the lock decides, and the second opens the first's.
    with storage.lock("dataset"):
        document = _read_root(storage)
        if document is not None:
            return document
        document = DatasetDocument(
            dataset_id=str(uuid.uuid4()),
            created_utc=utc_now(),
            created_by=f"kymflow_zarr {__version__}",
        )
        storage.write(f"{_layout.IMAGES}/{_layout.GROUP}", dump(plain_group_document()), anchor="")
        # The root document comes last: with it, and not before, there is a dataset.
        storage.write(_layout.GROUP, dump(document.to_group()), anchor="")
    return document


def _wipe(storage: LocalStorage) -> None:
    """Empty the folder of a dataset; refuse any other folder that holds something."""
    root = storage.root
    if not root.is_dir():
        raise SchemaValidationError(
            "this is a file; mode 'w' replaces only datasets and empty folders", where=str(root)
        )
    if not any(root.iterdir()):
        return
    own = _layout.OWN_NAMES
    if not (root / _layout.GROUP).exists() and (root / ".zattrs").exists():
        own = _layout.OWN_NAMES | _V1_NAMES
    foreign = _foreign_names(root, own)
    if foreign or not _is_dataset(storage):
        held = _some(foreign) if foreign else "no dataset of ours"
        raise SchemaValidationError(
            f"mode 'w' replaces only datasets and empty folders; this folder holds {held}",
            where=str(root),
            hint="Nothing was deleted. Choose another path, or empty the folder yourself.",
        )
    # Without its root document there is no dataset any more, whatever happens next.
    for name in (_layout.GROUP, *sorted(_V1_NAMES)):
        storage.delete(name, anchor="")
    for name in (_layout.IMAGES, _layout.TABLES, _layout.INDEX):
        storage.delete_tree(name)


def _is_dataset(storage: LocalStorage) -> bool:
    root = storage.root
    try:
        raw = load(storage, _layout.GROUP)
        if raw is None:
            attributes = load(storage, ".zattrs")
            return attributes is not None and attributes.get("format") == "kymflow_zarr_v1"
        read_dataset_document(raw, where=str(root))
    except FormatVersionError:
        return True
    except (SchemaValidationError, AttributeError):
        return False
    return True


def _foreign_names(root: Path, own: frozenset[str]) -> list[str]:
    if not root.is_dir():
        return []
    with os_errors("list", str(root)):
        names = {entry.name for entry in root.iterdir()}
    return sorted(
        name
        for name in names - own - _layout.LITTER
        if not name.startswith(_layout.TEMPORARY_PREFIX)
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
