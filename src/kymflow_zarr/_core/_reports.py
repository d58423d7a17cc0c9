"""What long work says of itself: values one can print, save as JSON and count."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

IngestStatus: TypeAlias = Literal["ingested", "unchanged", "skipped", "failed"]
Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class IngestItem:
    """What became of one file.

    Parameters
    ----------
    status : {"ingested", "unchanged", "skipped", "failed"}
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
        statuses: tuple[IngestStatus, ...] = ("ingested", "unchanged", "skipped", "failed")
        return {status: len(self._with(status)) for status in statuses}

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {status}" for status, n in self._counts().items())
        notes = [
            f"  {item.status}: {item.path}: {item.reason}"
            for item in self.items
            if item.reason is not None
        ]
        return "\n".join([f"{self.folder}: {counts}", *notes])


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
    """

    folder: str
    files: tuple[str, ...]
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        head = f"{self.folder}: {len(self.files)} files, {len(self.removed)} stale ones removed"
        return "\n".join([head, *(f"  stale, but changed since: {path}" for path in self.kept)])


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
