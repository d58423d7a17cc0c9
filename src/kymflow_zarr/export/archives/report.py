"""The report of an export for an archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kymflow_zarr.errors import printable
from kymflow_zarr.runtime.report import Report


@dataclass(frozen=True, slots=True)
class ArchiveGap:
    """A value that an archive requires, and that is missing or not understood.

    Parameters
    ----------
    key : str
        Name of the value.
    image_ids : tuple of str
        Images that lack it; empty if it belongs to the whole dataset.
    reason : str
        What is missing, or why the value was not understood.
    where : str
        Where to type it.
    """

    key: str
    image_ids: tuple[str, ...]
    reason: str
    where: str

    def __str__(self) -> str:
        count = len(self.image_ids)
        whom = "" if not count else f" ({count} {'image' if count == 1 else 'images'})"
        return printable(f"{self.key}{whom}: {self.reason}. {self.where}")


@dataclass(frozen=True, slots=True)
class ArchiveReport(Report[ArchiveGap]):
    """The outcome of an export for an archive.

    Parameters
    ----------
    folder : str
    files : tuple of str
        Paths below `folder` of the files that were written, sorted; those that would be, if
        nothing was written.
    missing : tuple of ArchiveGap
        Required values that are missing. While there are any, nothing is written.
    left_out : tuple of str
        What the form of the archive has no place for: image id, and name of the artifact.
    """

    ENTRIES: ClassVar[str] = "missing"
    ENTRY: ClassVar[type] = ArchiveGap

    folder: str
    files: tuple[str, ...] = ()
    missing: tuple[ArchiveGap, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if nothing is missing."""
        return not self.missing

    def _summary(self) -> dict[str, Any]:
        return {"ok": self.ok}

    def __str__(self) -> str:
        return self._text(
            f"{self.folder}: {len(self.files)} files, {len(self.missing)} required values missing",
            *(f"missing: {gap}" for gap in self.missing),
            *(f"left out: {name}" for name in self.left_out),
        )
