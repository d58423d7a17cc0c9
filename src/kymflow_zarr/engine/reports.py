"""What long work says of itself: values one can print, save as JSON and count."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from kymflow_zarr.engine import seam

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
Severity: TypeAlias = Literal["error", "warning"]
ExportKind: TypeAlias = Literal["image", "table", "source_file"]


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
        return seam.viewer().report_html(self)


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
        return f"{self.kind.replace('_', ' ')} {self.name!r}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ExportDifference:
    """A file of an export that is not, byte by byte, the one that was ingested.

    Parameters
    ----------
    path : str
        Below the exported folder.
    reason : str
        How it differs; or why it was not written.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote.

    Parameters
    ----------
    folder : str
    files : tuple of str
        Paths below `folder` of the files that make up the export, sorted.
    removed : tuple of str
        Files of an earlier export of this dataset that were stale.
    kept : tuple of str
        Stale ones that somebody has changed since, and that were left alone.
    written : tuple of str
        Those of `files` that were written now, sorted; the others were there already.
    failed : tuple of ExportFailure
        What could not be read. Its files of an earlier export, if any, are left as they were.
    differences : tuple of ExportDifference
        With the layout ``"kymflow"``: files that are not those that were ingested.
    """

    folder: str
    files: tuple[str, ...]
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    failed: tuple[ExportFailure, ...] = ()
    differences: tuple[ExportDifference, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        counts = (
            f"{len(self.files)} files, {len(self.written)} of them written now, "
            f"{len(self.removed)} stale ones removed"
        )
        failed = f", {len(self.failed)} parts failed" if self.failed else ""
        return "\n".join(
            [
                f"{self.folder}: {counts}{failed}",
                *(f"  failed: {failure}" for failure in self.failed),
                *(f"  stale, but changed since: {path}" for path in self.kept),
                *(f"  not as it was: {difference}" for difference in self.differences),
            ]
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that validation found.

    Parameters
    ----------
    severity : {"error", "warning"}
        An error breaks a rule of the format; a warning is worth knowing.
    code : str
        Short, stable name of the rule, for programs.
    where : str
        Key of the place in the dataset.
    message : str
        What is wrong, and what can be done.
    """

    severity: Severity
    code: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity} [{self.code}] {self.where}: {self.message}"


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What validation found.

    Parameters
    ----------
    problems : tuple of Problem
    images_checked : int
    """

    problems: tuple[Problem, ...]
    images_checked: int

    @property
    def ok(self) -> bool:
        """Whether no rule of the format is broken; warnings do not count."""
        return not self.errors

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that break a rule."""
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that are only worth knowing."""
        return tuple(p for p in self.problems if p.severity == "warning")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "ok": self.ok,
            "images_checked": self.images_checked,
            "problems": [asdict(problem) for problem in self.problems],
        }

    def __str__(self) -> str:
        verdict = "valid" if self.ok else "NOT valid"
        head = (
            f"{verdict}: {self.images_checked} images checked, "
            f"{len(self.errors)} errors, {len(self.warnings)} warnings"
        )
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])
