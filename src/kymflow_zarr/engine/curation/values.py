"""What people have judged of an image, as values."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from kymflow_zarr.types import FrameKind, Verdict

EditWhat: TypeAlias = Literal["verdict", "note", "roi", "event_type"]

# Of each kind of change what tells the place, beside before and after.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "verdict": (),
    "note": (),
    "roi": ("roi_id", "position"),
    "event_type": ("artifact_kind", "name", "row", "column", "row_sha256"),
}


@dataclass(frozen=True, kw_only=True)
class EditChange:
    """One value that an edit changed.

    Parameters
    ----------
    what : {"verdict", "note", "roi", "event_type"}
    before, after : object
        The values. A region is the mapping of the metadata payload, None where it is not there.
    roi_id : int, optional
        The region.
    position : int, optional
        Where in the list of regions it was before, from 0.
    artifact_kind : {"parquet", "csv_gz"}, optional
    name : str, optional
        The data frame of events.
    row : int, optional
        Position of the event in it, from 0.
    column : str, optional
    row_sha256 : str, optional
        Digest of the other cells of the row, by which the event is known again.
    """

    what: EditWhat
    before: Any
    after: Any
    roi_id: int | None = None
    position: int | None = None
    artifact_kind: FrameKind | None = None
    name: str | None = None
    row: int | None = None
    column: str | None = None
    row_sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as the document holds it."""
        place = {key: getattr(self, key) for key in FIELDS[self.what]}
        values = copy.deepcopy({"before": self.before, "after": self.after})
        return {"what": self.what, **place, **values}

    def __str__(self) -> str:
        if self.what == "roi":
            return f"region {self.roi_id}"
        if self.what == "event_type":
            return f"{self.column} of row {self.row} of {self.name!r}"
        return self.what


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One entry of the history of an image.

    Parameters
    ----------
    edit_id : str
    who : str
    when_utc : str
        ISO 8601, UTC.
    changes : tuple of EditChange
    undoes : str, optional
        Id of the edit that this one took back.
    undone_by : str, optional
        Id of the edit that took this one back; None too where that one was taken back itself.
    """

    edit_id: str
    who: str
    when_utc: str
    changes: tuple[EditChange, ...]
    undoes: str | None = None
    undone_by: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, with `undone_by`."""
        return {
            "edit_id": self.edit_id,
            "who": self.who,
            "when_utc": self.when_utc,
            "changes": [change.to_dict() for change in self.changes],
            "undoes": self.undoes,
            "undone_by": self.undone_by,
        }


@dataclass(frozen=True, kw_only=True)
class Curation:
    """What people have judged of an image.

    Parameters
    ----------
    verdict : {"accepted", "rejected"}, optional
        None if the image has no verdict.
    note : str
    history : tuple of Edit
        Oldest first.
    """

    verdict: Verdict | None = None
    note: str = ""
    history: tuple[Edit, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "verdict": self.verdict,
            "note": self.note,
            "history": [edit.to_dict() for edit in self.history],
        }
