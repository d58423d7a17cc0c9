"""The report of an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from kymflow_zarr.errors import printable
from kymflow_zarr.runtime.report import Report

ExportKind: TypeAlias = Literal["image", "table", "source_file"]


@dataclass(frozen=True, slots=True)
class ExportFailure:
    """A part of a dataset that could not be exported.

    Parameters
    ----------
    kind : {"image", "table", "source_file"}
    name : str
        Image id, name of the table, or path of the source file.
    reason : str
    """

    kind: ExportKind
    name: str
    reason: str

    def __str__(self) -> str:
        return printable(f"{self.kind.replace('_', ' ')} {self.name!r}: {self.reason}")


@dataclass(frozen=True, slots=True)
class ExportDifference:
    """An exported file whose bytes differ from the ingested file.

    Parameters
    ----------
    path : str
        Path below the exported folder.
    reason : str
        How the file differs, or why it was not written.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.reason}")


@dataclass(frozen=True, slots=True)
class ExportReport(Report[ExportFailure]):
    """The outcome of an export.

    Parameters
    ----------
    folder : str
    files : tuple of str
        Paths below `folder` of the files that make up the export, sorted.
    removed : tuple of str
        Files of an earlier export of this dataset that were stale.
    kept : tuple of str
        Stale files that were changed since the earlier export, and so were not removed.
    written : tuple of str
        Those of `files` that this call wrote, sorted; the others existed already.
    failed : tuple of ExportFailure
        Parts that could not be read. Their files of an earlier export, if any, are kept.
    differences : tuple of ExportDifference
        With the layout ``"kymflow"``: files that differ from the ingested ones.
    """

    ENTRIES: ClassVar[str] = "failed"
    ENTRY: ClassVar[type] = ExportFailure

    folder: str
    files: tuple[str, ...]
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    failed: tuple[ExportFailure, ...] = ()
    differences: tuple[ExportDifference, ...] = ()

    def __str__(self) -> str:
        counts = (
            f"{len(self.files)} files, {len(self.written)} of them written now, "
            f"{len(self.removed)} stale ones removed"
        )
        failed = f", {len(self.failed)} parts failed" if self.failed else ""
        return self._text(
            f"{self.folder}: {counts}{failed}",
            *(f"failed: {failure}" for failure in self.failed),
            *(f"stale, but changed since: {path}" for path in self.kept),
            *(f"not as it was: {difference}" for difference in self.differences),
        )
