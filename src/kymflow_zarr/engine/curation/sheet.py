"""Metadata from a sheet: what is wrong is refused by cell, the rest is one commit."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pandas as pd

from kymflow_zarr.engine.curation.fields import (
    MetadataField,
    is_usual,
    load_fields,
    usual_field,
)
from kymflow_zarr.engine.curation.judging import edited
from kymflow_zarr.engine.index.names import find_one, names_of
from kymflow_zarr.errors import (
    ArgumentError,
    RecordNotFoundError,
    SourceFileError,
    extra_module,
)
from kymflow_zarr.runtime.report import Report

if TYPE_CHECKING:
    from kymflow_zarr.engine.curation.editing import EditedImage
    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.types import StrPath

# The plain numbers: no leading zeros, which names of animals have.
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")
_SUFFIXES: Final = (".csv", ".tsv", ".txt", ".xlsx")


@dataclass(frozen=True, kw_only=True)
class RefusedCell:
    """One cell of a sheet that was not taken over.

    Parameters
    ----------
    row : int
        Of the sheet: its first row, which names the columns, is 1.
    column : str
    value : object
    reason : str
        In words.
    image_id : str, optional
        None if the row names no image.
    """

    row: int
    column: str
    value: Any
    reason: str
    image_id: str | None = None

    def __str__(self) -> str:
        return f"row {self.row}, {self.column}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class SheetReport(Report[RefusedCell]):
    """What was taken over from a sheet, and which cells were refused.

    Parameters
    ----------
    n_images : int
        Number of images that have new values now.
    n_values : int
        Number of these values.
    edit_id : str, optional
        Id of the edit, for :meth:`kymflow_zarr.ZarrDataset.undo`; None if nothing changed.
    refused : tuple of RefusedCell
    image_ids : tuple of str
        The images that have new values now.
    """

    ENTRIES: ClassVar[str] = "refused"
    ENTRY: ClassVar[type] = RefusedCell

    n_images: int
    n_values: int
    edit_id: str | None
    refused: tuple[RefusedCell, ...]
    image_ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{self.n_values} values of {self.n_images} images, {len(self.refused)} refused"
        return self._text(head, *self.refused)


def import_metadata(
    dataset: OpenDataset,
    sheet: StrPath | pd.DataFrame,
    key: str | None,
    *,
    who: str | None,
    dry_run: bool,
    seen: Mapping[str, Mapping[str, Any]] | None = None,
) -> SheetReport:
    """Take over metadata; see :meth:`kymflow_zarr.ZarrDataset.import_metadata`.

    With `seen`, values by image and field as an editor saw them, a cell whose value has changed
    since is refused too.
    """
    if not dry_run:
        dataset.require_writable()
    frame = sheet if isinstance(sheet, pd.DataFrame) else read_sheet(Path(sheet))
    columns = [str(column) for column in frame.columns]
    _check_columns(columns, key)
    key = key or columns[0]
    fields = load_fields(dataset)
    shown = [*(seen or {}).values()]
    known = {
        name: fields.get(name)
        or _field_for([*frame[name], *(values.get(name) for values in shown)], name)
        for name in columns if name != key
    }  # fmt: skip
    refused: list[RefusedCell] = []
    wanted: dict[str, dict[str, Any]] = {}
    values: dict[tuple[str, str], Any] = {}
    places: dict[tuple[str, str], RefusedCell] = {}
    present = _present(dataset, [name for name in known if known[name].required])
    for row, image_id, cells in _rows(dataset, frame, key, refused):
        for name, field in known.items():
            cell = cells[name]
            if seen is not None and cell is None:
                continue  # Another row has a new value of this field.
            try:
                if _is_empty(cell):
                    if field.required and (image_id, name) not in present:
                        raise ArgumentError("it is required, and the image has no value")
                    continue
                value = field.value_of(cell)
                if values.setdefault((image_id, name), value) != value:
                    raise ArgumentError("another row says something else of the same image")
            except ArgumentError as error:
                refused.append(
                    RefusedCell(
                        row=row, column=name, value=cell, reason=error.what, image_id=image_id
                    )
                )
                continue
            wanted.setdefault(image_id, {})[name] = value
            places[image_id, name] = RefusedCell(
                row=row, column=name, value=cell, reason="", image_id=image_id
            )
    return _set_all(dataset, wanted, refused, who=who, dry_run=dry_run, seen=seen, places=places)


def check_metadata(dataset: OpenDataset) -> pd.DataFrame:
    """Return what deviates; see :meth:`kymflow_zarr.ZarrDataset.check_metadata`."""
    fields = load_fields(dataset)
    images = dataset.images()
    rows: list[tuple[str, str, Any, str]] = []
    for name, field in fields.items():
        column = f"experiment_metadata.{name}"
        column = column if column in images else name
        cells = images[column] if column in images else pd.Series([None] * len(images))
        for image_id, error, cell in zip(images["image_id"], images["error"], cells, strict=True):
            if isinstance(error, str):
                continue
            try:
                if _is_empty(cell):
                    if field.required:
                        raise ArgumentError("it is required, and the image has no value")
                    continue
                field.value_of(cell)
            except ArgumentError as deviation:
                rows.append((image_id, name, None if _is_empty(cell) else cell, deviation.what))
    return pd.DataFrame(rows, columns=["image_id", "field", "value", "reason"])


def folder_sheet(dataset: OpenDataset, names: Sequence[str]) -> pd.DataFrame:
    """Return a sheet of folders; see :meth:`kymflow_zarr.ZarrDataset.folder_sheet`."""
    _check_columns(["image_id", *names], "image_id")
    rows = []
    for named in dataset.named_images():
        folders = named.path.replace("\\", "/").split("/")[:-1]
        # From the file upwards, so that the depth of the scanned folder does not matter.
        near = folders[-len(names) :] if names else []
        rows.append([named.image_id, *[None] * (len(names) - len(near)), *near])
    return pd.DataFrame(rows, columns=["image_id", *names], dtype=object)


def read_sheet(path: Path) -> pd.DataFrame:
    """Read a sheet as it is: text of CSV, cells of the first sheet of an Excel workbook.

    Raises
    ------
    SourceFileError
        If it cannot be read.
    ArgumentError
        If it is no CSV or Excel file by its name.
    """
    path = path.expanduser()
    if path.suffix.casefold() not in _SUFFIXES:
        raise ArgumentError(f"the name of a sheet ends in {', '.join(_SUFFIXES)}", where=str(path))
    if path.suffix.casefold() == ".xlsx":
        return _excel(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceFileError(
            "the sheet is not in UTF-8", where=str(path),
            hint='In Excel, save it as "CSV UTF-8", or as .xlsx.',
        ) from error  # fmt: skip
    return sheet_of_text(text, where=str(path))


def sheet_of_text(text: str, *, where: str) -> pd.DataFrame:
    """Return a sheet from text with commas, semicolons or tabs, such as cells that were copied."""
    first = text.split("\n", 1)[0]
    between = max("\t;,", key=first.count)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=between) if any(row)]
    if not rows:
        raise SourceFileError("the sheet is empty", where=where)
    width = len(rows[0])
    wrong = [at for at, row in enumerate(rows, start=1) if len(row) > width]
    if wrong:
        raise SourceFileError(
            f"row {wrong[0]} has more cells than the first row has names", where=where
        )
    cells = [[*row, *[""] * (width - len(row))] for row in rows[1:]]
    return pd.DataFrame(cells, columns=[name.strip() for name in rows[0]], dtype=object)


def _excel(path: Path) -> pd.DataFrame:
    needs = "Excel files need the package openpyxl"
    openpyxl = extra_module("openpyxl", extra="excel", needs=needs)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        rows = [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
        book.close()
    except FileNotFoundError:
        raise
    except Exception as error:  # openpyxl raises many types for damaged files.
        raise SourceFileError(f"the workbook cannot be read: {error}", where=str(path)) from error
    if not rows:
        raise SourceFileError("the sheet is empty", where=str(path))
    names = ["" if name is None else str(name).strip() for name in rows[0]]
    return pd.DataFrame(rows[1:], columns=names, dtype=object)


def sheet_of_cells(cells: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a sheet from values by image id and field; the others are left as they are."""
    names = list(dict.fromkeys(name for row in cells.values() for name in row))
    rows = [[image_id, *(row.get(name) for name in names)] for image_id, row in cells.items()]
    return pd.DataFrame(rows, columns=["image_id", *names], dtype=object)


def _check_columns(columns: Sequence[str], key: str | None) -> None:
    doubled = [name for name in columns if columns.count(name) > 1]
    if not columns or "" in columns or doubled:
        raise ArgumentError(
            f"two columns are called {doubled[0]!r}" if doubled and doubled[0] else
            "a column has no name in the first row", where="sheet",
        )  # fmt: skip
    if key is not None and key not in columns:
        raise ArgumentError(
            f"the sheet has no column {key!r}", where="key",
            hint=f"Its columns are {', '.join(columns)}.",
        )  # fmt: skip


def _field_for(cells: Iterable[Any], name: str) -> MetadataField:
    """Return the field for a column that the lab has not agreed on, by what is in it."""
    if is_usual(name):
        return usual_field(name)
    there = [cell for cell in cells if not _is_empty(cell)]
    numeric = bool(there) and all(
        (isinstance(cell, int | float) and not isinstance(cell, bool))
        or (isinstance(cell, str) and _NUMBER.fullmatch(cell.strip()))
        for cell in there
    )  # fmt: skip
    flags = bool(there) and all(isinstance(cell, bool) for cell in there)
    return MetadataField(name=name, type="number" if numeric else "flag" if flags else "text")


def _rows(
    dataset: OpenDataset, frame: pd.DataFrame, key: str, refused: list[RefusedCell]
) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Yield number in the sheet, image and cells of each row; refuse rows of no image."""
    named = dataset.named_images()
    by_name = {name: image_id for image_id, name in names_of(named).items()}
    by_name |= {image.image_id: image.image_id for image in named}
    # The first row of the sheet names the columns.
    for row, cells in enumerate(frame.to_dict("records"), start=2):
        called = cells[key]
        try:
            if _is_empty(called):
                if all(map(_is_empty, cells.values())):
                    continue
                raise ArgumentError("it names no image")
            text = str(called).strip()
            image_id = by_name.get(text) or find_one(text, named, where=dataset.location)
        except (ArgumentError, RecordNotFoundError) as error:
            refused.append(RefusedCell(row=row, column=key, value=called, reason=error.what))
            continue
        yield row, image_id, {str(name): cell for name, cell in cells.items()}


def _present(dataset: OpenDataset, names: Sequence[str]) -> set[tuple[str, str]]:
    """Return the pairs of image and field that have a value."""
    if not names:
        return set()
    images = dataset.images()
    present = set()
    for name in names:
        column = f"experiment_metadata.{name}"
        column = column if column in images else name
        if column in images:
            there = ~images[column].map(_is_empty)
            present |= {(image_id, name) for image_id in images.loc[there, "image_id"]}
    return present


def _set_all(
    dataset: OpenDataset,
    wanted: Mapping[str, Mapping[str, Any]],
    refused: list[RefusedCell],
    *,
    who: str | None,
    dry_run: bool,
    seen: Mapping[str, Mapping[str, Any]] | None,
    places: Mapping[tuple[str, str], RefusedCell],
) -> SheetReport:
    """Set values of images in one commit, but for those that were changed since they were seen."""
    changed: dict[str, int] = {}
    stale: list[RefusedCell] = []

    def each(images: Mapping[str, EditedImage]) -> None:
        # It is called again if another writer was faster.
        changed.clear()
        stale.clear()
        for image_id, image in images.items():
            rois = image.rois()
            for name, value in wanted[image_id].items():
                there = rois.field(name)
                if there == value and type(there) is type(value):
                    continue
                shown = None if seen is None else seen.get(image_id, {}).get(name)
                if seen is not None and _comparable(there) != _comparable(shown):
                    stale.append(
                        replace(
                            places[image_id, name],
                            reason=f"it was changed to {there!r} since it was shown",
                        )
                    )
                    continue
                rois.set_field(name, value)
                changed[image_id] = changed.get(image_id, 0) + 1

    edit_id = None
    if dry_run:
        from kymflow_zarr.engine.curation.editing import EditedImage as Looked

        each({i: Looked(dataset.storage, i, who="") for i in wanted})
    elif wanted:
        edit_id = edited(dataset, list(wanted), who, (), each)
    return SheetReport(
        n_images=len(changed), n_values=sum(changed.values()), edit_id=edit_id,
        refused=tuple(sorted([*refused, *stale], key=lambda cell: cell.row)),
        image_ids=tuple(changed),
    )  # fmt: skip


def _comparable(value: Any) -> Any:
    """Return a value as a page shows it: without a difference of 40 and 40.0, or "" and None."""
    if _is_empty(value):
        return None
    if isinstance(value, str | bool):
        return value
    return float(value) if isinstance(value, int | float) else str(value)


def _is_empty(cell: Any) -> bool:
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return (isinstance(cell, float) and cell != cell) or (
        isinstance(cell, str) and not cell.strip()
    )
