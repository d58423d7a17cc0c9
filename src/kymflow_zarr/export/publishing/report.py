"""What became of each image when a dataset was published."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from kymflow_zarr.runtime.report import Report

PublishStatus: TypeAlias = Literal["published", "updated", "deleted", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class PublishItem:
    """What became of one image, or of what belongs to no image.

    Parameters
    ----------
    image_id : str or None
        None for the page itself, its list of images, the tables and source files.
    status : str
        ``"published"``, ``"updated"``, ``"deleted"``, ``"unchanged"`` or ``"failed"``.
    n_bytes : int
        Bytes that were written; of a dry run only those of the dataset's own files.
    reason : str or None
        Why it failed.
    """

    image_id: str | None
    status: PublishStatus
    n_bytes: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PublishReport(Report[PublishItem]):
    """The outcome of publishing a dataset.

    Parameters
    ----------
    source, target : str
        Paths or addresses.
    dry_run : bool
        True if nothing was written.
    items : tuple of PublishItem
    """

    ENTRIES: ClassVar[str] = "items"
    ENTRY: ClassVar[type] = PublishItem

    source: str
    target: str
    dry_run: bool
    items: tuple[PublishItem, ...]

    @property
    def ok(self) -> bool:
        """True if nothing failed."""
        return not self._with(status="failed")

    @property
    def n_bytes(self) -> int:
        """Bytes that were written, or would be."""
        return sum(item.n_bytes for item in self.items)

    def counts(self) -> dict[str, int]:
        """Return how many images have each status."""
        return dict(Counter(item.status for item in self.items if item.image_id is not None))

    def _summary(self) -> dict[str, Any]:
        return {"ok": self.ok, "n_bytes": self.n_bytes}

    def __str__(self) -> str:
        counted = ", ".join(f"{n} {status}" for status, n in sorted(self.counts().items()))
        would = "would be " if self.dry_run else ""
        notes = [
            f"failed: {item.image_id or 'tables and list of images'}: {item.reason}"
            for item in self._with(status="failed")
        ]
        head = f"{self.target}: images: {would}{counted or 'none'}; {self.n_bytes} bytes"
        return self._text(head, *notes)
