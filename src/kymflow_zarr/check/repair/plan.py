"""What a repair does to the files of one checksum scope: all of it, or nothing."""

from __future__ import annotations

import datetime as dt
from typing import Any

from kymflow_zarr import layout
from kymflow_zarr._version import __version__
from kymflow_zarr.check.report import RepairAction, RepairKind
from kymflow_zarr.engine.documents import dump, utc_now
from kymflow_zarr.schema.base import FORMAT
from kymflow_zarr.schema.checksums import FileSum, dump_checksums
from kymflow_zarr.storage.interface import Storage

_WHY = "why.json"


class RepairPlan:
    """The repair of one checksum scope.

    The caller holds the locks of the scope, and ``top`` if a whole image may be put aside.

    Parameters
    ----------
    storage : Storage
    prefix : str
        Key of the image; empty for the top.
    image_id : str, optional
    dry_run : bool
        Only say what would be done.

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
        """Say what is done."""
        self.actions.append(RepairAction(kind, self._image_id, self._key(below), why, to))

    def restore(self, below: str, data: bytes, why: str) -> None:
        """Put back the bytes that the list of checksums tells of, at once."""
        if not self.dry_run:
            with self._storage.transaction(self._prefix) as transaction:
                transaction.put(self._key(below), data)
        self.note("restore", below, why)

    def write(self, below: str, data: bytes) -> None:
        """Put a file, with the next :meth:`commit`."""
        self._files[below] = data

    def quarantine(self, below: str, why: str) -> None:
        """Put a file or folder aside, the whole scope if `below` is empty."""
        to = None if self.dry_run else f"{self._new_box()}/{self._key(below)}"
        if to is not None:
            self._moved[self._key(below)] = to
        self._remember("quarantine", below, why)
        self.note("quarantine", below, why, to)

    def lose(self, below: str, why: str) -> None:
        """Take what is gone off the list, and remember that it was there."""
        self._remember("lost", below, why)
        self.note("lost", below, why)

    def relist(self, files: dict[str, FileSum]) -> None:
        """Say which files the scope consists of, but for those that are written."""
        self._listed = files

    def commit(self) -> None:
        """Do all of it."""
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
