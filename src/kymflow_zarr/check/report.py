"""What `validate` and `verify` found and `repair` did: values one can print, save and count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from kymflow_zarr.errors import printable
from kymflow_zarr.runtime.report import FindingsReport, Report
from kymflow_zarr.types import Severity

VerifyLevel: TypeAlias = Literal["full", "fast"]
RepairKind: TypeAlias = Literal["sweep", "rebuild", "restore", "relist", "quarantine", "lost"]


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
        return printable(f"{self.severity} [{self.code}] {self.where}: {self.message}")


@dataclass(frozen=True, slots=True)
class ValidationReport(FindingsReport[Problem]):
    """What validation found.

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
        """The problems that break a rule."""
        return self._with(severity="error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that are only worth knowing."""
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
    """Something that is not as it was written.

    Parameters
    ----------
    severity : {"error", "warning"}
        A warning is of what no reader looks at.
    code : str
        Short, stable name, for programs.
    image_id : str, optional
        The image it is of; None for what belongs to the dataset.
    part : str
        What it is: ``"pixels"``, ``"json artifact 'flow'"``, ``"table 'events'"`` ...
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
    """What `verify` has found.

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
        """What is not as it was written."""
        return self._with(severity="error")

    @property
    def warnings(self) -> tuple[Damage, ...]:
        """What is only worth knowing."""
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
    """One step of a repair.

    Parameters
    ----------
    kind : {"sweep", "rebuild", "restore", "relist", "quarantine", "lost"}
        ``sweep`` deletes what a dead writer has left, ``rebuild`` makes anew what is derived,
        ``restore`` brings back the bytes that were, ``relist`` makes a list of checksums anew,
        ``quarantine`` puts aside what is broken, ``lost`` takes a file off the list that is gone.
    image_id : str, optional
    where : str
        Key in the dataset.
    why : str
        What was found, and what is made of it.
    quarantined_as : str, optional
        Key of what was put aside; None in a plan.
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
    """What a repair has done, or would do.

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
        """What has the bytes again that were written."""
        return self._with(kind="restore")

    @property
    def quarantined(self) -> tuple[RepairAction, ...]:
        """What was broken and put aside."""
        return self._with(kind="quarantine")

    @property
    def lost(self) -> tuple[RepairAction, ...]:
        """What is gone and could not be brought back."""
        return self._with(kind="lost")

    @property
    def ok(self) -> bool:
        """Whether nothing was quarantined or lost."""
        return not self.quarantined and not self.lost

    def _summary(self) -> dict[str, Any]:
        return {"ok": self.ok}

    def __str__(self) -> str:
        if not self.actions:
            return "nothing to repair"
        head = f"{len(self.actions)} steps" + (", none of them taken yet" if self.dry_run else "")
        return self._text(head, *self.actions)
