"""Base classes for the reports of long calls, which can be printed and saved as JSON."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from kymflow_zarr.errors import printable

if TYPE_CHECKING:
    import pandas as pd

E = TypeVar("E")


class Report(Generic[E]):
    """A frozen dataclass with a tuple of entries, which are frozen dataclasses, too.

    A subclass names the field that holds its entries and their class.
    """

    __slots__ = ()

    ENTRIES: ClassVar[str]
    ENTRY: ClassVar[type]

    def _with(self, **wanted: object) -> tuple[E, ...]:
        """Return the entries whose fields have these values."""
        return tuple(
            entry
            for entry in getattr(self, self.ENTRIES)
            if all(getattr(entry, field) == value for field, value in wanted.items())
        )

    def _summary(self) -> dict[str, Any]:
        """Return the values that `to_dict` adds to the fields."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        values: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        return self._summary() | values

    def to_dataframe(self) -> pd.DataFrame:
        """Return a data frame with a row for each entry and a column for each of its fields."""
        import pandas as pd

        rows = [asdict(entry) for entry in getattr(self, self.ENTRIES)]
        return pd.DataFrame(rows, columns=[field.name for field in fields(self.ENTRY)])

    @staticmethod
    def _text(head: str, *notes: object) -> str:
        """Return a line of text and one for each note, safe to print to a terminal."""
        return "\n".join(printable(line) for line in [head, *(f"  {note}" for note in notes)])


class FindingsReport(Report[E]):
    """A report whose entries have a severity; it is ok if none of them is an error."""

    __slots__ = ()

    @property
    def ok(self) -> bool:
        """True if there is no error; warnings do not count."""
        return not self._with(severity="error")

    def _summary(self) -> dict[str, Any]:
        return {"ok": self.ok}
