"""Copy a dataset between any two places, file by file, verified by the digests that both keep."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, ClassVar, Final, Literal, TypeAlias

from kymflow_zarr import layout
from kymflow_zarr.engine.addresses import create_empty
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import load
from kymflow_zarr.errors import (
    ArgumentError,
    CorruptDataError,
    DatasetNotFoundError,
    KymflowZarrError,
    StorageError,
)
from kymflow_zarr.runtime.parallel import in_order
from kymflow_zarr.runtime.report import Report
from kymflow_zarr.schema.base import ATTRIBUTES_KEY, read_dataset_document
from kymflow_zarr.schema.checksums import FileSum, dump_checksums, parse_checksums
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import Mode, Progress, StrPath

CopyStatus: TypeAlias = Literal[
    "copied", "updated", "deleted", "unchanged", "changed there", "only there", "conflict", "failed"
]
_THREADS: Final = 8
# Changed files of an image are put one by one up to this size, which is held in memory.
_MAX_PUT_BYTES: Final = 64 << 20
_TOP: Final = ""


@dataclass(frozen=True, slots=True)
class CopyItem:
    """What became of one image, or of the tables and source files of the dataset.

    Parameters
    ----------
    image_id : str or None
        None for what belongs to no image.
    status : str
        ``"copied"``, ``"updated"``, ``"deleted"``; ``"unchanged"``; ``"changed there"`` since the
        last copy, and ``"only there"``, which are left alone; ``"conflict"``: changed on both
        sides; ``"failed"``.
    n_bytes : int
        Bytes that were copied.
    reason : str or None
        Why it failed.
    """

    image_id: str | None
    status: CopyStatus
    n_bytes: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CopyReport(Report[CopyItem]):
    """The outcome of a copy.

    Parameters
    ----------
    source, target : str
        Paths or addresses.
    dry_run : bool
        True if nothing was written.
    items : tuple of CopyItem
    """

    ENTRIES: ClassVar[str] = "items"
    ENTRY: ClassVar[type] = CopyItem

    source: str
    target: str
    dry_run: bool
    items: tuple[CopyItem, ...]

    @property
    def ok(self) -> bool:
        """True if nothing failed and nothing is in conflict."""
        return not self._with(status="failed") and not self._with(status="conflict")

    @property
    def n_bytes(self) -> int:
        """Bytes that were copied, or would be."""
        return sum(item.n_bytes for item in self.items)

    def counts(self) -> dict[str, int]:
        """Return how many items have each status."""
        return dict(Counter(item.status for item in self.items))

    def _summary(self) -> dict[str, Any]:
        return {"ok": self.ok, "n_bytes": self.n_bytes}

    def __str__(self) -> str:
        counted = ", ".join(f"{n} {status}" for status, n in sorted(self.counts().items()))
        would = "would be " if self.dry_run else ""
        notes = [
            f"{item.status}: {item.image_id or 'tables and source files'}"
            + (f": {item.reason}" if item.reason else "")
            for item in self.items
            if item.status in ("conflict", "failed")
        ]
        head = f"{self.target}: {would}{counted or 'nothing'}, {self.n_bytes} bytes"
        return self._text(head, *notes)


Files: TypeAlias = Mapping[str, FileSum]


def copy_dataset(
    source: StrPath,
    target: StrPath,
    *,
    source_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
    shared: bool = False,
    overwrite: bool = False,
    delete: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> CopyReport:
    """Copy a dataset between folders, buckets and, as a source, web hosts.

    Only what differs is copied, and every byte is compared with its digest. Each image arrives in
    one step, so that a copy that was interrupted is continued by calling again. Copying back
    brings one's changes back: what both sides changed since the last copy is a conflict.

    Parameters
    ----------
    source, target : str or Path
        Paths of folders, or addresses; see :class:`ZarrDataset`. A target that does not exist is
        created, with the id of the source.
    source_options, target_options : mapping, optional
        ``storage_options`` of either.
    shared : bool
        Create a target in a folder for several hosts to write to; see :class:`ZarrDataset`.
    overwrite : bool
        Let the source win in conflicts, and over what was changed in the target alone.
    delete : bool
        Delete images that the source has not any more, unless they were changed in the target.
    dry_run : bool
        Write nothing, and say what would be done.
    progress : callable, optional
        Called as ``progress(done, total, label)``.

    Returns
    -------
    CopyReport

    Raises
    ------
    ArgumentError
        If both are one place, the target is another dataset, or the source has format version 1.
    DatasetNotFoundError
        If there is no source.
    """
    with OpenDataset.open(source, "r", storage_options=source_options) as origin:
        if origin.storage.read(layout.CHECKSUMS) is None:
            raise ArgumentError(
                "only datasets with lists of checksums are copied, as of format version 2 on",
                where=origin.location,
                hint="Migrate it first.",
            )
        copy = _target(origin, target, target_options, create=not dry_run, shared=shared)
        try:
            if copy is not None:
                _check_pair(origin, copy)
            place = str(target) if copy is None else copy.location
            items = _copy(origin, copy, place, overwrite, delete, dry_run, progress)
            return CopyReport(origin.location, place, dry_run, tuple(items))
        finally:
            if copy is not None:
                copy.close()


def _target(
    origin: OpenDataset,
    target: StrPath,
    options: Mapping[str, Any] | None,
    *,
    create: bool,
    shared: bool,
) -> OpenDataset | None:
    try:
        mode: Mode = "r+" if create else "r"
        return OpenDataset.open(target, mode, storage_options=options, shared=shared)
    except DatasetNotFoundError:
        if not create:
            return None
    raw: Any = load(origin.storage, layout.GROUP)
    document = read_dataset_document(raw, where=origin.location)
    attributes = {name: raw["attributes"][name] for name in raw["attributes"]}
    attributes.pop(ATTRIBUTES_KEY)
    create_empty(target, document, attributes=attributes, options=options, shared=shared)
    return OpenDataset.open(target, "r+", storage_options=options)


def _check_pair(origin: OpenDataset, copy: OpenDataset) -> None:
    if origin.location == copy.location:
        raise ArgumentError("source and target are one place", where=copy.location)
    if origin.dataset_id != copy.dataset_id:
        raise ArgumentError(
            "the target is another dataset, not a copy of the source",
            where=copy.location,
            hint="Choose a place at which nothing is.",
        )


def _copy(
    origin: OpenDataset,
    copy: OpenDataset | None,
    place: str,
    overwrite: bool,
    delete: bool,
    dry_run: bool,
    progress: Progress | None,
) -> list[CopyItem]:
    one = origin.storage
    other = None if copy is None else copy.storage
    last = {} if other is None else _base(other, origin.location, place)
    # A copy back is recorded at its own target, so that either side may know the later state.
    known = {scope: {digest} for scope, digest in last.items()}
    for scope, digest in _base(one, origin.location, place).items():
        known.setdefault(scope, set()).add(digest)
    here = set(origin.list_image_ids())
    there = set() if copy is None else set(copy.list_image_ids())
    units: list[str | None] = [None, *sorted(here)]
    run = partial(
        _copy_unit, one, other, known, overwrite=overwrite, delete=delete, dry_run=dry_run
    )
    items, before = [], dict(last)
    results = in_order(
        run, units, progress=progress, threads=_THREADS, label=lambda unit: unit or "tables"
    )
    # After the tables: deleting an image takes its rows out of them.
    only_there = in_order(run, sorted(there - here), threads=1)
    for image_id, done, error in chain(results, only_there):
        if done is None:
            items.append(CopyItem(image_id, "failed", reason=str(error)))
            continue
        item, now = done
        items.append(item)
        if now is not None:
            last[_scope(image_id)] = now
    if copy is not None and not dry_run and last != before:
        data = json.dumps({"document": "copies", "digests": last}, indent=1).encode()
        copy.storage.put_derived(_base_key(origin.location, place), data)
    return items


def _copy_unit(
    one: Storage,
    other: Storage | None,
    known: Mapping[str, AbstractSet[str]],
    image_id: str | None,
    *,
    overwrite: bool,
    delete: bool,
    dry_run: bool,
) -> tuple[CopyItem, str | None]:
    """Copy one image, or the top.

    Returns
    -------
    CopyItem
    str or None
        The digest that both sides have now, None if they differ.
    """
    scope = _scope(image_id)
    before = known.get(scope, frozenset())
    new = listed_files(one, scope)
    old = None if other is None else listed_files(other, scope)
    if new is None:
        stale = old is not None and delete and (overwrite or _digest(old) in before)
        if stale and not dry_run:
            assert other is not None
            OpenDataset.on(other).delete_image(image_id or "")
        return CopyItem(image_id, "deleted" if stale else "only there"), None
    wanted = _digest(new)
    if old is not None:
        current = _digest(old)
        if current == wanted:
            return CopyItem(image_id, "unchanged"), wanted
        # An empty top is that of a dataset that was just created.
        if not overwrite and current not in before and (image_id is not None or old):
            status: CopyStatus = "changed there" if wanted in before else "conflict"
            return CopyItem(image_id, status), None
    elif wanted in before and not overwrite:
        return CopyItem(image_id, "changed there", reason="it was deleted there"), None
    changed = [key for key in new if old is None or old.get(key) != new[key]]
    size = sum(new[key].size_bytes for key in changed)
    if not dry_run:
        assert other is not None
        if old is None:
            _add(one, other, scope, new)
        else:
            _update(one, other, scope, old, new, changed if size <= _MAX_PUT_BYTES else None)
    return CopyItem(image_id, "copied" if old is None else "updated", size), wanted


def _add(one: Storage, other: Storage, scope: str, new: Files) -> None:
    with other.stage(key=scope) as staged:
        for key in new:
            staged.write(key, read_verified(one, scope, key, new[key]))
        staged.write(layout.CHECKSUMS, dump_checksums(new))
        if not staged.publish(scope):
            raise StorageError("another writer added it meanwhile", where=scope, hint="Call again.")


def _update(
    one: Storage, other: Storage, scope: str, old: Files, new: Files, changed: list[str] | None
) -> None:
    """Replace files; all of them in one staged folder if `changed` is None."""
    image = scope.rpartition("/")[2]
    tables = {key for key in (*old, *new) if key.startswith(f"{layout.TABLES}/")}
    names = [layout.parse_table_key(key) for key in tables]
    scopes = (
        [f"image:{layout.parse_image_folder(image)}"]
        if scope
        else ["source_files", "top", *(f"table:{name}" for name in names)]
    )
    with other.lock(*scopes):
        if listed_files(other, scope) != old:
            raise StorageError("another writer changed it", where=scope, hint="Call again.")
        if changed is None and scope:
            with other.stage(key=scope) as staged, other.transaction("") as transaction:
                for key in new:
                    staged.write(key, read_verified(one, scope, key, new[key]))
                staged.write(layout.CHECKSUMS, dump_checksums(new))
                transaction.put_staged(scope, staged)
            return
        listed = dict(new)
        if not scope:
            listed |= _own_documents(other)
        with other.transaction(scope) as transaction:
            for key in new if changed is None else changed:
                transaction.put(_join(scope, key), read_verified(one, scope, key, new[key]))
            for key in old.keys() - new.keys():
                transaction.remove(_join(scope, key))
            if not other.derives_checksums:
                transaction.put(_join(scope, layout.CHECKSUMS), dump_checksums(listed))


def read_verified(storage: Storage, scope: str, key: str, expected: FileSum) -> bytes:
    """Return the bytes of a listed file; raise CorruptDataError if they are others."""
    data = storage.read(_join(scope, key))
    if data is None or FileSum.of(data) != expected:
        raise CorruptDataError(
            "the file is missing" if data is None else "the file is not as it was written",
            where=f"{storage.location}/{_join(scope, key)}",
            hint="If the image was changed while it was copied, call again; else verify it.",
        )
    return data


def listed_files(storage: Storage, scope: str) -> dict[str, FileSum] | None:
    """Return size and digest of each file of an image or of the top, None if there is none."""
    key = _join(scope, layout.CHECKSUMS)
    data = storage.read(key)
    if data is None:
        return None
    files = parse_checksums(data, where=f"{storage.location}/{key}")
    if not scope:
        return {key: file_sum for key, file_sum in files.items() if not _is_own_document(key)}
    return files


def _own_documents(storage: Storage) -> dict[str, FileSum]:
    data = storage.read(layout.CHECKSUMS)
    files = {} if data is None else parse_checksums(data, where=storage.location)
    return {key: file_sum for key, file_sum in files.items() if _is_own_document(key)}


def _is_own_document(key: str) -> bool:
    # Each side has those from its creation.
    return key in (layout.GROUP, f"{layout.IMAGES}/{layout.GROUP}") or key.startswith(
        f"{layout.QUARANTINE}/"
    )


def _digest(files: Files) -> str:
    lines = sorted(
        f"{file_sum.sha256} {file_sum.size_bytes} {key}" for key, file_sum in files.items()
    )
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _base(storage: Storage, one: str, other: str) -> dict[str, str]:
    """Return the digests that both sides had after the last copy; empty if that is not known."""
    try:
        data = storage.read(_base_key(one, other))
        digests = {} if data is None else json.loads(data)["digests"]
        return {str(scope): str(digest) for scope, digest in digests.items()}
    except (KymflowZarrError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # Derived data: without it, more is a conflict.


def _base_key(one: str, other: str) -> str:
    pair = "\n".join(sorted((one, other)))
    return f"{layout.COPIES}/{hashlib.sha256(pair.encode()).hexdigest()[:16]}.json"


def _scope(image_id: str | None) -> str:
    return _TOP if image_id is None else layout.image_prefix(image_id)


def _join(scope: str, key: str) -> str:
    return f"{scope}/{key}" if scope else key
