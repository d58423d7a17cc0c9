"""Reports of ingest and refresh, with one item for each file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from kymflow_zarr.runtime.report import Report

IngestStatus: TypeAlias = Literal[
    "ingested",
    "updated",
    "moved",
    "unchanged",
    "skipped",
    "failed",
    "pooled",
    "unmatched",
    "missing",
]


@dataclass(frozen=True, slots=True)
class IngestItem:
    """The outcome for one file.

    Parameters
    ----------
    status : {"ingested", "updated", "moved", "unchanged", "skipped", "failed", "pooled", \
"unmatched", "missing"}
        ``pooled`` files are tables over the folder, which became tables of the dataset;
        ``unmatched`` files belong to no image; ``missing`` ones were ingested before and are
        not there any more.
    path : str
        The file's path as the scan found it.
    image_id : str, optional
        Id of its image in the dataset.
    reason : str, optional
        Why the file was skipped or failed, or a note on it.
    results : int
        How many results of other programs, such as velocities of regions, were in its sidecars.
    """

    status: IngestStatus
    path: str
    image_id: str | None = None
    reason: str | None = None
    results: int = field(default=0, repr=False)


@dataclass(frozen=True, slots=True)
class IngestReport(Report[IngestItem]):
    """The outcome for each file of a folder.

    Parameters
    ----------
    folder : str
    items : tuple of IngestItem
        In the order of the files' paths.
    """

    ENTRIES: ClassVar[str] = "items"
    ENTRY: ClassVar[type] = IngestItem

    folder: str
    items: tuple[IngestItem, ...]

    @property
    def ingested(self) -> tuple[IngestItem, ...]:
        """Files that were added as new images."""
        return self._with(status="ingested")

    @property
    def updated(self) -> tuple[IngestItem, ...]:
        """Changed files whose images were updated."""
        return self._with(status="updated")

    @property
    def moved(self) -> tuple[IngestItem, ...]:
        """Files that have moved to another path."""
        return self._with(status="moved")

    @property
    def pooled(self) -> tuple[IngestItem, ...]:
        """Tables over the folder, and their outcomes."""
        return self._with(status="pooled")

    @property
    def unmatched(self) -> tuple[IngestItem, ...]:
        """Files that belong to no image, with the reason."""
        return self._with(status="unmatched")

    @property
    def missing(self) -> tuple[IngestItem, ...]:
        """Files that are gone; their images stay."""
        return self._with(status="missing")

    @property
    def unchanged(self) -> tuple[IngestItem, ...]:
        """Files that were in the dataset already."""
        return self._with(status="unchanged")

    @property
    def skipped(self) -> tuple[IngestItem, ...]:
        """Files left alone, with the reason."""
        return self._with(status="skipped")

    @property
    def failed(self) -> tuple[IngestItem, ...]:
        """Files that could not be read, with the reason."""
        return self._with(status="failed")

    @property
    def image_ids(self) -> list[str]:
        """Ids of the images that were added, in the order of the files."""
        return [item.image_id for item in self.ingested if item.image_id is not None]

    @property
    def results(self) -> int:
        """Number of results of other programs that came with the new images."""
        return sum(item.results for item in self.items)

    def _counts(self) -> dict[str, int]:
        return {s: len(self._with(status=s)) for s in get_args(IngestStatus)}

    def _summary(self) -> dict[str, Any]:
        return {"counts": self._counts()}

    def __str__(self) -> str:
        always = ("ingested", "unchanged", "failed")
        counts = ", ".join(f"{n} {s}" for s, n in self._counts().items() if n or s in always)
        if self.results:
            counts += f"; {self.results} results of other programs"
        notes = [
            f"{item.status}: {item.path}: {item.reason}"
            for item in self.items
            if item.reason is not None
        ]
        return self._text(f"{self.folder}: {counts}", *notes)

    def _repr_html_(self) -> str:
        from kymflow_zarr.views.html import report_html

        rows = [(item.status, item.path, item.image_id, item.reason) for item in self.items]
        return report_html(self.folder, rows)


class RefreshResult(list[str]):
    """Ids of the images that a refresh added or updated; ``report`` says everything.

    Attributes
    ----------
    report : IngestReport
    """

    def __init__(self, report: IngestReport) -> None:
        changed = [item.image_id for item in report.items if item.status in ("ingested", "updated")]
        super().__init__(image_id for image_id in changed if image_id is not None)
        self.report = report

    def _repr_html_(self) -> str:
        return self.report._repr_html_()
