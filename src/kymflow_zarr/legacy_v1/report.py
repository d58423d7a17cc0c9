"""What a migration says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from kymflow_zarr.runtime.report import Report

__all__ = ["MigrationItem", "MigrationReport"]

MigrationStatus: TypeAlias = Literal["migrated", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class MigrationItem:
    """What became of one image, table or file.

    Parameters
    ----------
    status : {"migrated", "unchanged", "failed"}
        ``migrated``: carried over now and found equal. ``unchanged``: found equal, carried
        over before. ``failed``: it could not be read, or the new dataset holds another.
    kind : {"image", "table", "file"}
    name : str
        Id of the image, name of the table, or path of the file below the old dataset.
    reason : str, optional
        Why it failed, or what was kept in another place.
    """

    status: MigrationStatus
    kind: Literal["image", "table", "file"]
    name: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class MigrationReport(Report[MigrationItem]):
    """What became of a dataset of format version 1.

    Parameters
    ----------
    old, new : str
        Where the dataset was read, and where it is in version 2.
    items : tuple of MigrationItem
        Images, tables, then other files.
    backup : str, optional
        Where the old dataset is now, after a migration in place.
    """

    ENTRIES: ClassVar[str] = "items"
    ENTRY: ClassVar[type] = MigrationItem

    old: str
    new: str
    items: tuple[MigrationItem, ...]
    backup: str | None = None

    @property
    def ok(self) -> bool:
        """Whether all of the old dataset is in the new one, equal."""
        return not self.failed

    @property
    def migrated(self) -> tuple[MigrationItem, ...]:
        """What was carried over now."""
        return self._with(status="migrated")

    @property
    def unchanged(self) -> tuple[MigrationItem, ...]:
        """What was carried over before."""
        return self._with(status="unchanged")

    @property
    def failed(self) -> tuple[MigrationItem, ...]:
        """What is not in the new dataset, or not equal there, with the reason."""
        return self._with(status="failed")

    def _summary(self) -> dict[str, Any]:
        statuses = get_args(MigrationStatus)
        counts = {s: len(self._with(status=s)) for s in statuses}
        return {"ok": self.ok, "counts": counts}

    def __str__(self) -> str:
        head = (
            f"{len(self.migrated)} migrated, {len(self.unchanged)} unchanged, "
            f"{len(self.failed)} failed: {self.old} -> {self.new}"
        )
        kept = [] if self.backup is None else [f"the old dataset is kept as {self.backup}"]
        notes = [
            f"{item.status} {item.kind} {item.name}: {item.reason}"
            for item in self.items
            if item.reason is not None
        ]
        return self._text(head, *kept, *notes)
