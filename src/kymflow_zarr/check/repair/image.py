"""Repair one image: restore what can be restored, quarantine the rest."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Collection, Iterable
from typing import Any

from kymflow_zarr import layout
from kymflow_zarr._version import __version__
from kymflow_zarr.check.repair.sources import Sources, is_readable, kept_again
from kymflow_zarr.check.report import RepairAction, RepairKind
from kymflow_zarr.check.verify.checksum_scope import (
    ChecksumScope,
    Hasher,
    digest_of_files,
    disagreements,
    examine,
    name_of,
    unit_of,
)
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import dump, load, load_image, utc_now
from kymflow_zarr.engine.images.labels import (
    labels_group,
    rebuild_levels,
)
from kymflow_zarr.engine.images.pyramid import rebuild_pyramid, write_image
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.schema.base import FORMAT, plain_group_document, updated_group
from kymflow_zarr.schema.checksums import FileSum, dump_checksums
from kymflow_zarr.schema.image import ImageDocument, read_array_artifact_document
from kymflow_zarr.storage.interface import Storage

_WHY = "why.json"


class RepairPlan:
    """The repair of one checksum scope.

    The caller holds the locks of the scope, and ``top`` if a whole image may be quarantined.

    Parameters
    ----------
    storage : Storage
    prefix : str
        Key of the image; empty for the top.
    image_id : str, optional
    dry_run : bool
        Only report the planned actions.

    Attributes
    ----------
    actions : list of RepairAction
    """

    def __init__(
        self, storage: Storage, prefix: str, image_id: str | None, *, dry_run: bool
    ) -> None:
        self._storage = storage
        self._prefix = prefix
        self._image_id = image_id
        self.dry_run = dry_run
        self.actions: list[RepairAction] = []
        self._moved: dict[str, str] = {}
        self._notes: list[dict[str, Any]] = []
        self._files: dict[str, bytes] = {}
        self._listed: dict[str, FileSum] | None = None
        self._box: str | None = None

    def note(self, kind: RepairKind, below: str, why: str, to: str | None = None) -> None:
        """Add an action to the report."""
        self.actions.append(RepairAction(kind, self._image_id, self._key(below), why, to))

    def restore(self, below: str, data: bytes, why: str) -> None:
        """Restore the bytes that match the list of checksums, immediately."""
        if not self.dry_run:
            with self._storage.transaction(self._prefix) as transaction:
                transaction.put(self._key(below), data)
        self.note("restore", below, why)

    def write(self, below: str, data: bytes) -> None:
        """Write a file with the next :meth:`commit`."""
        self._files[below] = data

    def quarantine(self, below: str, why: str) -> None:
        """Move a file or folder to the quarantine, the whole scope if `below` is empty."""
        to = None if self.dry_run else f"{self._new_box()}/{self._key(below)}"
        if to is not None:
            self._moved[self._key(below)] = to
        self._remember("quarantine", below, why)
        self.note("quarantine", below, why, to)

    def lose(self, below: str, why: str) -> None:
        """Remove a missing file from the list, and record that it existed."""
        self._remember("lost", below, why)
        self.note("lost", below, why)

    def relist(self, files: dict[str, FileSum]) -> None:
        """Set the files of the scope, apart from those that are written."""
        self._listed = files

    def commit(self) -> None:
        """Carry out all planned actions as one transaction."""
        if self.dry_run or not (self._moved or self._files or self._notes or self._listed):
            return
        files = {self._key(below): data for below, data in self._files.items()}
        if self._listed is not None and self._key("") not in self._moved:
            sums = self._listed | {key: FileSum.of(data) for key, data in self._files.items()}
            files[self._key(layout.CHECKSUMS)] = dump_checksums(sums)
        if self._notes:
            files[f"{self._new_box()}/{_WHY}"] = dump({"format": FORMAT, "put_aside": self._notes})
        with self._storage.transaction("") as transaction:
            for key, data in files.items():
                transaction.put(key, data)
            for key, to in self._moved.items():
                transaction.move(key, to)
        self._moved, self._notes, self._files, self._listed = {}, [], {}, None
        self._box = None

    def _remember(self, what: str, below: str, why: str) -> None:
        if self.dry_run:
            return
        self._notes.append(
            {
                "what": what,
                "image_id": self._image_id,
                "key": self._key(below),
                "why": why,
                "when_utc": utc_now(),
                "by": f"kymflow_zarr {__version__}",
            }
        )

    def _key(self, below: str) -> str:
        return "/".join(part for part in (self._prefix, below) if part)

    def _new_box(self) -> str:
        if self._box is None:
            now = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
            taken = set(self._storage.names(layout.QUARANTINE))
            n = next(n for n in range(1, len(taken) + 2) if f"{now}-{n}" not in taken)
            self._box = f"{layout.QUARANTINE}/{now}-{n}"
        return self._box


# One repair may reveal the next damage: a document is checked once its file is intact.
_ROUNDS = 4
LABELS_GROUP = f"{layout.LABELS}/{layout.GROUP}"
ARRAY_GROUP = f"{layout.ANALYSIS_ARRAYS}/{layout.GROUP}"
FROM_SOURCE = "made once more of its source file, byte for byte as it was"
_PLANNED = "its source files are unchanged; quarantined if they do not give the same bytes"


def repair_image(storage: Storage, plan: RepairPlan, image_id: str, hasher: Hasher) -> None:
    """Repair an image; the caller holds its lock, and ``top``."""
    prefix = layout.image_prefix(image_id)
    for _ in range(_ROUNDS):
        if not storage.is_folder(prefix):
            return
        scope = examine(storage, prefix, image_id, hasher)
        # An unreadable file may be intact: do not repair it.
        if not scope.errors or any(d.code == "unreadable" for d in scope.errors):
            return
        document = None
        with contextlib.suppress(KymflowZarrError):
            document = load_image(storage, image_id)
        if _mend_pyramid(storage, plan, scope, document):
            if plan.dry_run:
                return
            continue
        with Sources(storage, document) as sources:
            _Image(storage, plan, scope, document, sources, hasher).mend()
        plan.commit()
        if plan.dry_run:
            return


def _is_pyramid(unit: str) -> bool:
    return layout.parse_pyramid_path(unit.rpartition("/")[2]) is not None


def _mend_pyramid(
    storage: Storage, plan: RepairPlan, scope: ChecksumScope, document: ImageDocument | None
) -> bool:
    """Rebuild the levels of pixels and labels if they are all that is damaged; True if so.

    Otherwise leave their damages for the next round, which finds the pixels intact.
    """
    damaged: dict[str, str] = {}
    others = []
    for damage in scope.damages:
        unit = unit_of(scope.prefix, scope.below(damage.where))
        if damage.severity == "error" and _is_pyramid(unit):
            damaged.setdefault(unit, damage.what)
        else:
            others.append(damage)
    if not damaged or document is None or scope.listed is None:
        return False
    scope.damages = others
    if plan.dry_run:
        for unit, what in damaged.items():
            plan.note("rebuild", unit, f"{what}; it is made of the pixels")
    if scope.errors or plan.dry_run:
        return not scope.errors
    with Change(storage, scope.prefix) as change:
        for unit in damaged:
            _rebuild(storage, change, scope.prefix, unit, document)
    for unit, what in damaged.items():
        plan.note("rebuild", unit, f"{what}; made of the pixels")
    return True


def _rebuild(
    storage: Storage, change: Change, prefix: str, unit: str, document: ImageDocument
) -> None:
    """Add the levels in a folder to a change, or its removal if no document speaks of it."""
    folder, _, name = unit.rpartition("/")
    if not folder:
        if layout.parse_pyramid_path(name) != document.pixels.generation:
            change.remove(unit)
            return
        rebuild_pyramid(storage, change, prefix, document)
        write_image(storage, change, prefix, document)
        return
    where = f"{prefix}/{folder}/{layout.GROUP}"
    raw: Any = load(storage, where)
    labels = read_array_artifact_document(raw, where=where)
    if layout.parse_pyramid_path(name) != labels.pixels.generation:
        change.remove(unit)
        return
    rebuild_levels(storage, f"{prefix}/{folder}", labels, change.stage(unit))
    change.write_group(folder, labels.to_group(ome=raw["attributes"].get("ome")))


class _Image:
    def __init__(
        self,
        storage: Storage,
        plan: RepairPlan,
        scope: ChecksumScope,
        document: ImageDocument | None,
        sources: Sources,
        hasher: Hasher,
    ) -> None:
        self.storage = storage
        self.plan = plan
        self.scope = scope
        self.document = document
        self.sources = sources
        self.hasher = hasher

    def mend(self) -> None:
        if self.scope.listed is None:
            self._without_list()
            return
        by_code = {d.code for d in self.scope.errors}
        if by_code == {"contradiction"}:
            self._contradicted(self.scope.listed)
            return
        listed = self.scope.listed
        broken: dict[str, str] = {}
        foreign: dict[str, str] = {}
        for damage in self.scope.errors:
            below = self.scope.below(damage.where)
            (foreign if damage.code == "file-unlisted" else broken)[below] = damage.what
        for below in [key for key in broken if self._restored(key, listed[key], broken[key])]:
            del broken[below]
        self._quarantine(dict(listed), broken, foreign)

    def _restored(self, below: str, wanted: FileSum, what: str) -> bool:
        if self.storage.is_folder(self.scope.key(below)):
            return False
        plain = dump(plain_group_document())
        data = plain if below == ARRAY_GROUP and FileSum.of(plain) == wanted else None
        if data is None and self.plan.dry_run and self.sources.may_hold(below):
            self.plan.note("restore", below, f"{what}; {_PLANNED}")
            return True
        if data is None and not self.plan.dry_run:
            data = self.sources.find(wanted)
        if data is None or FileSum.of(data) != wanted:
            return False
        self.plan.restore(below, data, f"{what}; {FROM_SOURCE}")
        return True

    def _quarantine(
        self, listed: dict[str, FileSum], broken: dict[str, str], foreign: dict[str, str]
    ) -> None:
        units: dict[str, str] = {}
        for below, what in broken.items():
            units.setdefault(unit_of(self.scope.prefix, below), f"{below}: {what}")
        current = None if self.document is None else self.document.pixels.path
        needed = [key for key in units if key in (layout.GROUP, current)]
        if needed or current is None:
            self._quarantine_all(units[needed[0]] if needed else "its document cannot be read")
            return
        for unit, why in (units | foreign).items():
            if _is_pyramid(unit):
                continue  # The next round rebuilds it.
            there = self.storage.stat(self.scope.key(unit)) is not None
            part = name_of(self.scope.prefix, unit, current)
            if unit == ARRAY_GROUP:
                self.plan.note("rebuild", unit, why)
                self.plan.write(unit, dump(plain_group_document()))
            elif unit == LABELS_GROUP:
                self.plan.note("rebuild", unit, why)
            elif there:
                self.plan.quarantine(unit, f"{part}: {why}")
            else:
                self.plan.lose(unit, f"{part}: {why}")
        units = {u: why for u, why in units.items() if not _is_pyramid(u)}
        left = {key: file_sum for key, file_sum in listed.items() if not _is_of(key, units)}
        self._forget_kept(left)
        self._list_labels(listed, left)
        self.plan.relist(left)

    def _list_labels(self, before: Collection[str], left: dict[str, FileSum]) -> None:
        """Write the list of labels again if it is damaged, or some are gone."""
        start = f"{layout.LABELS}/"
        folders = {
            key.split("/")[1] for key in left if key.count("/") > 1 and key.startswith(start)
        }
        if LABELS_GROUP in left and folders == {
            key.split("/")[1] for key in before if key.count("/") > 1 and key.startswith(start)
        }:
            return
        left.pop(LABELS_GROUP, None)
        if folders:
            self.plan.write(LABELS_GROUP, dump(labels_group(folders)))
        elif self.storage.stat(self.scope.key(LABELS_GROUP)) is not None:
            self.plan.quarantine(LABELS_GROUP, "it lists labels that are gone")

    def _quarantine_all(self, why: str) -> None:
        self.plan.quarantine("", f"the image cannot be read without it: {why}")

    def _forget_kept(self, listed: Collection[str]) -> None:
        """Remove files that are no longer in the dataset from the document."""
        if self.document is None:
            return
        changed = False
        for file in self.document.source_files:
            if file.kept_as is not None and file.kept_as not in listed:
                file.kept_as, changed = None, True
            if file.frame_as is not None and file.frame_as not in listed:
                file.frame_as, changed = None, True
        if changed:
            old: Any = load(self.storage, self.scope.key(layout.GROUP))
            new = self.document.to_group(ome=old["attributes"].get("ome"))
            self.plan.write(layout.GROUP, dump(updated_group(old, new)))

    def _contradicted(self, listed: dict[str, FileSum]) -> None:
        """Repair an image whose files match the list, but whose document names other files."""
        broken = {self.scope.below(d.where): d.what for d in self.scope.errors}
        document = self.document
        if document is not None and document.image_id == self.scope.image_id:
            files = [key for file in document.source_files for key in (file.kept_as, file.frame_as)]
            if set(broken) == {layout.GROUP} and not {f for f in files if f} <= listed.keys():
                self.plan.lose(layout.GROUP, broken[layout.GROUP])
                self._forget_kept(listed)
                self.plan.relist(listed)
                return
        self._quarantine(listed, broken, {})

    # Without a list --------------------------------------------------------------------

    def _without_list(self) -> None:
        """List the existing files that can be confirmed intact without the list."""
        document = self.document
        if document is None:
            self._quarantine_all("its document is missing or broken")
            return
        paths = {below: self.scope.key(below) for below in self.scope.present}
        sums = {
            k: file_sum for k, file_sum in self.hasher.hash(paths) if isinstance(file_sum, FileSum)
        }
        broken = self._contradictions(sums)
        path = document.pixels.path
        of_pixels = [key for key in broken if unit_of(self.scope.prefix, key) == path]
        if of_pixels and self.plan.dry_run and self.sources.may_hold(path):
            self.plan.note("restore", path, f"{broken[of_pixels[0]]}; {_PLANNED}")
            broken = {key: what for key, what in broken.items() if key not in of_pixels}
        elif of_pixels and not self.plan.dry_run:
            sums |= self._pixels_again(document, sums)
            broken = self._contradictions(sums)
        broken |= {
            below: what
            for below in sums
            if (what := is_readable(self.storage, self.scope.prefix, below, document)) is not None
        }
        for file in document.source_files:
            key = file.kept_as
            if key is not None and (key not in sums or key in broken):
                data = kept_again(document.source_files, key)
                if data is not None:
                    self.plan.restore(key, data, f"{broken.pop(key, 'it is missing')}; "
                                         f"{FROM_SOURCE}")  # fmt: skip
                    sums[key] = FileSum.of(data)
        self.plan.note(
            "relist",
            layout.CHECKSUMS,
            f"{self.scope.errors[0].what}; pixels, arrays and kept files are held against their "
            "documents; of the rest it is only known that it can be read today",
        )
        broken.pop(layout.GROUP, None)  # Remove references to missing files from the document.
        self._quarantine(sums, broken, {})

    def _contradictions(self, sums: dict[str, FileSum]) -> dict[str, str]:
        scope = self.scope
        return dict(disagreements(self.storage, scope.prefix, scope.image_id, sums))

    def _pixels_again(
        self, document: ImageDocument, sums: dict[str, FileSum]
    ) -> dict[str, FileSum]:
        """Restore the files of the pixels, if the source files give an array of the same digest."""
        path = document.pixels.path
        rebuilt = {f"{path}/{key}": file_sum for key, file_sum in self.sources.pixels().items()}
        if digest_of_files(rebuilt, path) != document.pixels.sha256:
            return {}
        for key, file_sum in rebuilt.items():
            data = None if sums.get(key) == file_sum else self.sources.find(file_sum)
            if data is not None:
                self.plan.restore(key, data, FROM_SOURCE)
        return rebuilt


def _is_of(key: str, units: Iterable[str]) -> bool:
    return any(f"{key}/".startswith(f"{unit}/") for unit in units)
