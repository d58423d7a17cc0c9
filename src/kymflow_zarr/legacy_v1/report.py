"""What a migration says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

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
class MigrationReport:
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
        return self._with("migrated")

    @property
    def unchanged(self) -> tuple[MigrationItem, ...]:
        """What was carried over before."""
        return self._with("unchanged")

    @property
    def failed(self) -> tuple[MigrationItem, ...]:
        """What is not in the new dataset, or not equal there, with the reason."""
        return self._with("failed")

    def _with(self, status: MigrationStatus) -> tuple[MigrationItem, ...]:
        return tuple(item for item in self.items if item.status == status)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        counts = {status: len(self._with(status)) for status in get_args(MigrationStatus)}
        return asdict(self) | {"ok": self.ok, "counts": counts}

    def __str__(self) -> str:
        head = (
            f"{len(self.migrated)} migrated, {len(self.unchanged)} unchanged, "
            f"{len(self.failed)} failed: {self.old} -> {self.new}"
        )
        kept = [] if self.backup is None else [f"  the old dataset is kept as {self.backup}"]
        notes = [
            f"  {item.status} {item.kind} {item.name}: {item.reason}"
            for item in self.items
            if item.reason is not None
        ]
        return "\n".join([head, *kept, *notes])
