"""Open, create, refuse or empty a dataset, according to its mode."""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from kymflow_zarr import layout
from kymflow_zarr._version import __version__
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import dump, load, utc_now
from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    DatasetExistsError,
    DatasetNotFoundError,
    FormatVersionError,
    SchemaValidationError,
    StorageError,
)
from kymflow_zarr.schema.base import DatasetDocument, plain_group_document, read_dataset_document
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.files import os_errors
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.storage.shares.mounts import ONE_HOST, locks_stay_on_host
from kymflow_zarr.types import Durability, Mode, StrPath

# By format name: opens a dataset of that older format, or returns None if it is of another.
OlderFormats: TypeAlias = Mapping[str, Callable[[Storage, Mode], Storage | None]]
NONE_OLDER: Final[OlderFormats] = {}
_MODES: Final = ("r", "r+", "a", "w", "w-")


def dataset_path(path: StrPath) -> Path:
    """Return the absolute path of a dataset, independent of later changes of the current folder.

    Raises
    ------
    ArgumentError
        If it is not a path, empty, or a URL.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"the path must be a str or a Path, not {type(path).__name__}")
    text = os.fspath(path)
    if not text:
        raise ArgumentError("the path is empty", hint="Give the path of the dataset's folder.")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise ArgumentError(
            f"{text!r} is an address of no place that holds datasets",
            hint="Give the path of a folder, or, as a str, an address that begins with s3://, "
            "gs://, az://, https:// or memory://.",
        )
    return Path(text).expanduser().absolute()


def check_mode(mode: object) -> None:
    """Raise ArgumentError if a mode is unknown."""
    if mode not in _MODES:
        raise ArgumentError(
            f"the mode {mode!r} is not one of {', '.join(map(repr, _MODES))}", where="mode"
        )


def check_durability(durability: object) -> None:
    """Raise ArgumentError if a durability is unknown."""
    if durability not in ("full", "relaxed"):
        raise ArgumentError(
            f"the durability {durability!r} is not 'full' or 'relaxed'", where="durability"
        )


def open_storage(
    path: Path, mode: Mode, durability: Durability, older_formats: OlderFormats = NONE_OLDER
) -> tuple[Storage, DatasetDocument]:
    """Open or create the dataset at a path, according to `mode`.

    Raises
    ------
    ArgumentError, DatasetNotFoundError, DatasetExistsError, SchemaValidationError
        See :class:`kymflow_zarr.OpenDataset`.
    """
    check_mode(mode)
    check_durability(durability)
    if path.suffix.casefold() == layout.PACKED_SUFFIX and path.is_file():
        return _opened_packed(path, mode)
    mode = _mode_on_share(path, mode)
    storage = LocalStorage(path, writable=mode != "r", durability=durability)
    try:
        return _opened(storage, mode, older_formats)
    except BaseException:
        storage.close()
        raise


def _mode_on_share(path: Path, mode: Mode) -> Mode:
    """Return "r" in place of "a" if locks do not reach other hosts, which then may write too.

    Raises
    ------
    StorageError
        If the dataset must be written, or does not exist.
    """
    reason = None if mode == "r" else locks_stay_on_host(path)
    if reason is None:
        return mode
    what = f"locks do not reach other computers there: {reason}. Two that write would undo each "
    what += "other's changes"
    hint = (
        "Let several computers write to a dataset that is made for it: shared=True, or "
        "`kymflow-zarr copy --shared`. Or mount the share so that locks reach its server. Or set "
        f"{ONE_HOST}=1 in the environment, if this is the only computer that writes"
    )
    if mode != "a" or not (path / layout.GROUP).exists():
        raise StorageError(what, where=str(path), hint=f"{hint}.")
    message = f"the dataset is opened for reading only: {what} (at {path}). {hint}"
    warnings.warn(message, UserWarning, stacklevel=5)
    return "r"


def _opened_packed(path: Path, mode: Mode) -> tuple[Storage, DatasetDocument]:
    """Open a packed dataset, which the default mode opens for reading."""
    if mode not in ("r", "a"):
        raise ArgumentError(
            f"a packed dataset can only be read, and the mode is {mode!r}",
            where=str(path),
            hint='Open it with mode="r".',
        )
    from kymflow_zarr.storage.local.packed import PackedStorage

    storage = PackedStorage(path)
    try:
        return storage, read_document(storage)
    except BaseException:
        storage.close()
        raise


def _opened(
    storage: LocalStorage, mode: Mode, older_formats: OlderFormats
) -> tuple[Storage, DatasetDocument]:
    path = storage.root
    if path.is_dir():
        unknown = storage.unknown_origin() if storage.writable else []
        if unknown:
            storage = _opened_read_only(storage, mode, unknown)
            mode = "r"
        # Recover before reading anything: a dead writer may have left a journal.
        storage.recover()
    if mode == "w" and path.exists() and refuse_to_wipe(storage):
        # Writers in other processes wait for these locks, and then find a dataset again.
        with storage.lock("dataset", "index", "source_files", "top"):
            wipe(storage)
            return storage, _create(storage)
    if storage.stat(layout.GROUP) is None and path.is_dir():
        for opener in older_formats.values():
            older = opener(storage.reader(), mode)
            if older is not None:
                return older, read_document(older)
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

    refuse_nested(path)
    return storage, _create(storage)


def _opened_read_only(storage: LocalStorage, mode: Mode, unknown: list[str]) -> LocalStorage:
    """Return a read-only storage of a dataset that may be hostile, or refuse to open it."""
    shown = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
    what = f"no writer of this format made what is in its work folder: {shown}"
    hint = (
        "If another person made the dataset, copy what you need out of it. If it is yours, close "
        f"it everywhere, delete {layout.WORK} in it, and open it again"
    )
    if mode != "a":
        raise StorageError(what, where=str(storage.root), hint=hint)
    message = f"the dataset is opened for reading only: {what} (at {storage.root}). {hint}"
    warnings.warn(message, UserWarning, stacklevel=5)
    return LocalStorage(storage.root, writable=False)


def _read_root(storage: LocalStorage) -> DatasetDocument | None:
    root = storage.root
    if root.exists() and not root.is_dir():
        raise SchemaValidationError("this is a file, not a dataset's folder", where=str(root))
    raw = load(storage, layout.GROUP)
    if raw is not None:
        return read_dataset_document(raw, where=str(root / layout.GROUP))

    try:
        refuse_foreign(storage)
    except SchemaValidationError:
        # Another process may have created the dataset between our two reads.
        if storage.stat(layout.GROUP) is None:
            raise
        return _read_root(storage)
    return None


def read_document(storage: Storage) -> DatasetDocument:
    """Return the document of the dataset in a storage.

    Raises
    ------
    DatasetNotFoundError
        If there is none.
    """
    storage.recover()
    raw = load(storage, layout.GROUP)
    if raw is None:
        raise DatasetNotFoundError("there is no dataset", where=storage.location)
    return read_dataset_document(raw, where=f"{storage.location}/{layout.GROUP}")


def open_on(storage: Storage) -> DatasetDocument:
    """Return the document of the dataset in a storage; if it is writable, create a missing one."""
    if storage.writable and storage.stat(layout.GROUP) is None:
        storage.create()
        with storage.lock("dataset", "top"):
            if storage.stat(layout.GROUP) is None:
                return write_root(storage)
    return read_document(storage)


def create_dataset(
    path: Path, document: DatasetDocument, *, attributes: Mapping[str, Any], durability: Durability
) -> None:
    """Create a dataset with a given id; an existing dataset is left unchanged.

    Parameters
    ----------
    path : Path
        A free path, or an empty folder.
    document : DatasetDocument
    attributes : mapping
        Further attributes of the root group.
    durability : {"full", "relaxed"}
    """
    with contextlib.closing(LocalStorage(path, writable=True, durability=durability)) as storage:
        if _read_root(storage) is None:
            _create(storage, document, attributes)


def _create(
    storage: LocalStorage,
    new: DatasetDocument | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> DatasetDocument:
    storage.create()
    # Two processes may create at once: the one that gets the lock second opens the first's.
    with storage.lock("dataset", "top"):
        document = _read_root(storage)
        if document is not None:
            return document
        return write_root(storage, new, attributes)


def write_root(
    storage: Storage,
    new: DatasetDocument | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> DatasetDocument:
    """Write the documents of a new dataset; the caller holds the lock of the dataset."""
    document = new or DatasetDocument(
        dataset_id=str(uuid.uuid4()),
        created_utc=utc_now(),
        created_by=f"kymflow_zarr {__version__}",
    )
    group = document.to_group()
    group["attributes"].update(attributes or {})
    with Change(storage, "") as change:
        change.write(f"{layout.IMAGES}/{layout.GROUP}", dump(plain_group_document()))
        # The root document comes last: it is what makes the folder a dataset.
        change.write(layout.GROUP, dump(group))
    return document


_TREES: Final = (
    layout.IMAGES,
    layout.TABLES,
    layout.INDEX,
    layout.SOURCE_FILES,
    layout.QUARANTINE,
)
_DERIVED: Final = {
    key.rpartition("/")[2]
    for key in (layout.MANIFEST, layout.THUMBNAILS, layout.SCANS, layout.COPIES)
}


def refuse_foreign(storage: LocalStorage) -> None:
    """Raise SchemaValidationError if a folder without a root document has foreign files.

    Leftovers of an interrupted creation do not count.
    """
    root = storage.root
    # Through the storage: files whose removal is committed do not count either.
    foreign = sorted(_names(root) - {layout.WORK, layout.CHECKSUMS, *_TREES})
    foreign = [name for name in (*foreign, *_TREES[1:]) if storage.stat(name) is not None]
    if _names(root / layout.INDEX) <= _DERIVED:
        # A writer may have put it there while another process emptied the dataset.
        foreign = [name for name in foreign if name != layout.INDEX]
    images = storage.path(layout.IMAGES)
    # The names come first: another process may write the group's document at any moment.
    names = _names(images)
    own = {layout.GROUP} if (images / layout.GROUP).is_file() else set()
    foreign += [f"{layout.IMAGES}/{name}" for name in sorted(names - own)]
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
    """Remove all content of the folder of a dataset; the caller holds the locks of its top.

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
    """Return True if a folder holds a dataset, False if it is free for one.

    Raises
    ------
    SchemaValidationError
        If anything in it does not belong to the dataset.
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
    """Yield the entries in the dataset's folders that do not belong to it."""
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
        return True  # A damaged document of an image.


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
