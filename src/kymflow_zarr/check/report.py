"""What `validate` and `verify` found and `repair` did: values one can print, save and count."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kymflow_zarr.types import Severity

if TYPE_CHECKING:
    import pandas as pd

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
        return (
            f"{self.severity} [{self.code}] {whose}{self.part}: "
            f"{self.what} (at {self.where}). {self.advice}"
        )


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` has found.

    Parameters
    ----------
    level : {"full", "fast"}
    damages : tuple of Damage
    images_checked, files_checked, bytes_checked : int
        `bytes_checked` counts what was read: 0 at the level ``"fast"``.
    """

    level: VerifyLevel
    damages: tuple[Damage, ...]
    images_checked: int
    files_checked: int
    bytes_checked: int

    @property
    def ok(self) -> bool:
        """Whether all is as it was written; warnings do not count."""
        return not self.errors

    @property
    def errors(self) -> tuple[Damage, ...]:
        """What is not as it was written."""
        return tuple(d for d in self.damages if d.severity == "error")

    @property
    def warnings(self) -> tuple[Damage, ...]:
        """What is only worth knowing."""
        return tuple(d for d in self.damages if d.severity == "warning")

    @property
    def image_ids(self) -> list[str]:
        """Ids of the images with an error, sorted."""
        return sorted({d.image_id for d in self.errors if d.image_id is not None})

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "ok": self.ok,
            "level": self.level,
            "images_checked": self.images_checked,
            "files_checked": self.files_checked,
            "bytes_checked": self.bytes_checked,
            "damages": [asdict(damage) for damage in self.damages],
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each damage, with a column for each of its fields."""
        import pandas as pd

        columns = list(Damage.__dataclass_fields__)
        return pd.DataFrame([asdict(damage) for damage in self.damages], columns=columns)

    def __str__(self) -> str:
        verdict = "whole" if self.ok else "DAMAGED"
        read = f", {self.bytes_checked} bytes" if self.level == "full" else ""
        head = (
            f"{verdict}: {self.images_checked} images, {self.files_checked} files{read} checked, "
            f"{len(self.errors)} errors, {len(self.warnings)} warnings"
        )
        return "\n".join([head, *(f"  {damage}" for damage in self.damages)])


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
        return f"{self.kind} {self.where}{to}: {self.why}"


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair has done, or would do.

    Parameters
    ----------
    dry_run : bool
        Whether this is a plan and nothing was changed.
    actions : tuple of RepairAction
    """

    dry_run: bool
    actions: tuple[RepairAction, ...]

    def _of(self, kind: RepairKind) -> tuple[RepairAction, ...]:
        return tuple(action for action in self.actions if action.kind == kind)

    @property
    def restored(self) -> tuple[RepairAction, ...]:
        """What has the bytes again that were written."""
        return self._of("restore")

    @property
    def quarantined(self) -> tuple[RepairAction, ...]:
        """What was broken and put aside."""
        return self._of("quarantine")

    @property
    def lost(self) -> tuple[RepairAction, ...]:
        """What is gone and could not be brought back."""
        return self._of("lost")

    @property
    def ok(self) -> bool:
        """Whether nothing was quarantined or lost."""
        return not self.quarantined and not self.lost

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "ok": self.ok,
            "dry_run": self.dry_run,
            "actions": [asdict(action) for action in self.actions],
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each action, with a column for each of its fields."""
        import pandas as pd

        columns = list(RepairAction.__dataclass_fields__)
        return pd.DataFrame([asdict(action) for action in self.actions], columns=columns)

    def __str__(self) -> str:
        if not self.actions:
            return "nothing to repair"
        head = f"{len(self.actions)} steps" + (", none of them taken yet" if self.dry_run else "")
        return "\n".join([head, *(f"  {action}" for action in self.actions)])
