"""What ingest and refresh say of each file: values one can print, save as JSON and count."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    import pandas as pd

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
    """What became of one file.

    Parameters
    ----------
    status : {"ingested", "updated", "moved", "unchanged", "skipped", "failed", "pooled", \
"unmatched", "missing"}
        ``pooled`` files are tables over the folder, which became tables of the dataset;
        ``unmatched`` files belong to no image; ``missing`` ones were ingested before and are
        not there any more.
    path : str
        The file, as it was found.
    image_id : str, optional
        The image it is in the dataset.
    reason : str, optional
        Why it was skipped or failed, or what was noticed.
    """

    status: IngestStatus
    path: str
    image_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of each file of a folder.

    Parameters
    ----------
    folder : str
    items : tuple of IngestItem
        In the order of the files' paths.
    """

    folder: str
    items: tuple[IngestItem, ...]

    def _with(self, status: IngestStatus) -> tuple[IngestItem, ...]:
        return tuple(item for item in self.items if item.status == status)

    @property
    def ingested(self) -> tuple[IngestItem, ...]:
        """Files that became images now."""
        return self._with("ingested")

    @property
    def updated(self) -> tuple[IngestItem, ...]:
        """Files that have changed and whose images were changed with them."""
        return self._with("updated")

    @property
    def moved(self) -> tuple[IngestItem, ...]:
        """Files that were found again under another path."""
        return self._with("moved")

    @property
    def pooled(self) -> tuple[IngestItem, ...]:
        """Tables over the folder, and what became of them."""
        return self._with("pooled")

    @property
    def unmatched(self) -> tuple[IngestItem, ...]:
        """Files that belong to no image, with the reason."""
        return self._with("unmatched")

    @property
    def missing(self) -> tuple[IngestItem, ...]:
        """Files that are gone; their images stay."""
        return self._with("missing")

    @property
    def unchanged(self) -> tuple[IngestItem, ...]:
        """Files that were in the dataset already."""
        return self._with("unchanged")

    @property
    def skipped(self) -> tuple[IngestItem, ...]:
        """Files left alone, with the reason."""
        return self._with("skipped")

    @property
    def failed(self) -> tuple[IngestItem, ...]:
        """Files that could not be read, with the reason."""
        return self._with("failed")

    @property
    def image_ids(self) -> list[str]:
        """Ids of the images that were added, in the order of the files."""
        return [item.image_id for item in self.ingested if item.image_id is not None]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return asdict(self) | {"counts": self._counts()}

    def _counts(self) -> dict[str, int]:
        return {status: len(self._with(status)) for status in get_args(IngestStatus)}

    def to_dataframe(self) -> pd.DataFrame:
        """Return the items as rows: ``status``, ``path``, ``image_id``, ``reason``."""
        import pandas as pd

        columns = ["status", "path", "image_id", "reason"]
        return pd.DataFrame([asdict(item) for item in self.items], columns=columns)

    def __str__(self) -> str:
        always = ("ingested", "unchanged", "failed")
        counts = ", ".join(f"{n} {s}" for s, n in self._counts().items() if n or s in always)
        notes = [
            f"  {item.status}: {item.path}: {item.reason}"
            for item in self.items
            if item.reason is not None
        ]
        return "\n".join([f"{self.folder}: {counts}", *notes])

    def _repr_html_(self) -> str:
        from kymflow_zarr.views.report_html import report_html

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
