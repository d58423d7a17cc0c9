"""The reports of `validate`, `verify` and `repair`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from kymflow_zarr.errors import printable
from kymflow_zarr.runtime.report import FindingsReport, Report
from kymflow_zarr.types import Severity

VerifyLevel: TypeAlias = Literal["full", "fast"]
RepairKind: TypeAlias = Literal[
    "sweep", "rebuild", "restore", "relist", "quarantine", "lost", "link"
]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem found by validation.

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
        return printable(f"{self.severity} [{self.code}] {self.where}: {self.message}")


@dataclass(frozen=True, slots=True)
class ValidationReport(FindingsReport[Problem]):
    """The outcome of a validation.

    Parameters
    ----------
    problems : tuple of Problem
    images_checked : int
    """

    ENTRIES: ClassVar[str] = "problems"
    ENTRY: ClassVar[type] = Problem

    problems: tuple[Problem, ...]
    images_checked: int

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that break a rule of the format."""
        return self._with(severity="error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that break no rule."""
        return self._with(severity="warning")

    def __str__(self) -> str:
        verdict = "valid" if self.ok else "NOT valid"
        head = (
            f"{verdict}: {self.images_checked} images checked, "
            f"{len(self.errors)} errors, {len(self.warnings)} warnings"
        )
        return self._text(head, *self.problems)


@dataclass(frozen=True, slots=True)
class Damage:
    """A file or folder that differs from what was written.

    Parameters
    ----------
    severity : {"error", "warning"}
        A warning concerns files that no reader opens.
    code : str
        Short, stable name, for programs.
    image_id : str, optional
        Id of the damaged image; None for the top of the dataset.
    part : str
        The damaged part: ``"pixels"``, ``"json artifact 'flow'"``, ``"table 'events'"`` ...
    where : str
        Key in the dataset.
    what : str
        What is wrong with it.
    advice : str
        What can be done.
    """

    severity: Severity
    code: str
    image_id: str | None
    part: str
    where: str
    what: str
    advice: str

    def __str__(self) -> str:
        whose = "" if self.image_id is None else f"image {self.image_id!r}, "
        return printable(
            f"{self.severity} [{self.code}] {whose}{self.part}: "
            f"{self.what} (at {self.where}). {self.advice}"
        )


@dataclass(frozen=True, slots=True)
class VerifyReport(FindingsReport[Damage]):
    """The outcome of `verify`.

    Parameters
    ----------
    level : {"full", "fast"}
    damages : tuple of Damage
    images_checked, files_checked, bytes_checked : int
        `bytes_checked` counts what was read: 0 at the level ``"fast"``.
    """

    ENTRIES: ClassVar[str] = "damages"
    ENTRY: ClassVar[type] = Damage

    level: VerifyLevel
    damages: tuple[Damage, ...]
    images_checked: int
    files_checked: int
    bytes_checked: int

    @property
    def errors(self) -> tuple[Damage, ...]:
        """The damages that readers may meet."""
        return self._with(severity="error")

    @property
    def warnings(self) -> tuple[Damage, ...]:
        """The damages in files that no reader opens."""
        return self._with(severity="warning")

    @property
    def image_ids(self) -> list[str]:
        """Ids of the images with an error, sorted."""
        return sorted({d.image_id for d in self.errors if d.image_id is not None})

    def __str__(self) -> str:
        verdict = "whole" if self.ok else "DAMAGED"
        read = f", {self.bytes_checked} bytes" if self.level == "full" else ""
        head = (
            f"{verdict}: {self.images_checked} images, {self.files_checked} files{read} checked, "
            f"{len(self.errors)} errors, {len(self.warnings)} warnings"
        )
        return self._text(head, *self.damages)


@dataclass(frozen=True, slots=True)
class RepairAction:
    """One action of a repair.

    Parameters
    ----------
    kind : {"sweep", "rebuild", "restore", "relist", "quarantine", "lost", "link"}
        ``sweep`` deletes the leftovers of a dead writer, ``rebuild`` rebuilds a derived file,
        ``restore`` restores the original bytes, ``relist`` rebuilds a list of checksums,
        ``quarantine`` moves a damaged file to the quarantine, ``lost`` removes a missing file from
        the list, ``link`` leaves a link alone and what is damaged behind it, which may be whole
        where the link leads.
    image_id : str, optional
    where : str
        Key in the dataset.
    why : str
        What was found, and how it is repaired.
    quarantined_as : str, optional
        Key in the quarantine; None in a plan.
    """

    kind: RepairKind
    image_id: str | None
    where: str
    why: str
    quarantined_as: str | None = None

    def __str__(self) -> str:
        to = "" if self.quarantined_as is None else f" -> {self.quarantined_as}"
        return printable(f"{self.kind} {self.where}{to}: {self.why}")


@dataclass(frozen=True, slots=True)
class RepairReport(Report[RepairAction]):
    """The outcome of a repair, or its plan.

    Parameters
    ----------
    dry_run : bool
        Whether this is a plan and nothing was changed.
    actions : tuple of RepairAction
    """

    ENTRIES: ClassVar[str] = "actions"
    ENTRY: ClassVar[type] = RepairAction

    dry_run: bool
    actions: tuple[RepairAction, ...]

    @property
    def restored(self) -> tuple[RepairAction, ...]:
        """Files whose original bytes were restored."""
        return self._with(kind="restore")

    @property
    def quarantined(self) -> tuple[RepairAction, ...]:
        """Damaged files that were moved to the quarantine."""
        return self._with(kind="quarantine")

    @property
    def lost(self) -> tuple[RepairAction, ...]:
        """Missing files that could not be restored."""
        return self._with(kind="lost")

    @property
    def ok(self) -> bool:
        """Whether nothing was quarantined or lost, and nothing damaged was left behind a link."""
        return not self.quarantined and not self.lost and not self._with(kind="link")

    def _summary(self) -> dict[str, Any]:
        return {"ok": self.ok}

    def __str__(self) -> str:
        if not self.actions:
            return "nothing to repair"
        head = f"{len(self.actions)} steps" + (", none of them taken yet" if self.dry_run else "")
        return self._text(head, *self.actions)
