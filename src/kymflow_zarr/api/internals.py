"""The engine objects behind the face, for the rooms that import the face.

It imports the face only for annotations, so that modules that the face imports late may import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from kymflow_zarr.api.dataset import ZarrDataset
    from kymflow_zarr.api.image import ZarrImageRecord
    from kymflow_zarr.engine.curation.document import Edit
    from kymflow_zarr.engine.curation.sheet import SheetReport
    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.engine.image import StoredImage
    from kymflow_zarr.formats.kinds import Kind
    from kymflow_zarr.storage.traffic import Traffic
    from kymflow_zarr.types import ArtifactInfo, Verdict


def judge_blind(
    dataset: ZarrDataset, ids: Sequence[str], verdict: Any, *, who: str | None, blind: Sequence[str]
) -> str | None:
    """Give images one verdict, and note what was hidden; see :meth:`ZarrDataset.judge`."""
    from kymflow_zarr.engine.curation.judging import judge

    return judge(open_dataset_of(dataset), ids, verdict, who=who, seen=None, blind=blind)


def import_cells(
    dataset: ZarrDataset,
    cells: Mapping[str, Mapping[str, Any]],
    *,
    who: str | None,
    seen: Mapping[str, Mapping[str, Any]],
) -> SheetReport:
    """Set metadata, by image and field, unless changed since `seen`; see `import_metadata()`."""
    from kymflow_zarr.engine.curation.sheet import import_metadata, sheet_of_cells

    sheet = sheet_of_cells(cells)
    return import_metadata(
        open_dataset_of(dataset), sheet, "image_id", who=who, dry_run=False, seen=seen
    )


def sheet_of_text(text: str, *, where: str) -> pd.DataFrame:
    """Return a sheet for `import_metadata()` from text, such as cells that were copied."""
    from kymflow_zarr.engine.curation import sheet

    return sheet.sheet_of_text(text, where=where)


def undo_blind(
    dataset: ZarrDataset, edit_id: str, ids: Sequence[str], *, who: str | None, blind: Sequence[str]
) -> str:
    """Undo an edit of images, and note what was hidden; see :meth:`ZarrDataset.undo`."""
    from kymflow_zarr.engine.curation.judging import undo

    return undo(open_dataset_of(dataset), edit_id, ids, who=who, blind=blind)


def log_view(dataset: ZarrDataset, who: str | None, hidden: Sequence[str] | None) -> None:
    """Write down that a person opens a blind page, or one that is not blind after such a one."""
    from kymflow_zarr.engine.curation import blind_log

    opened = open_dataset_of(dataset)
    if hidden is not None:
        blind_log.log(opened, who, "blinded", hidden)
    elif (earlier := blind_log.is_blind(opened, who)) is not None:
        blind_log.log(opened, who, "unblinded", earlier)


def verdicts_in(history: Iterable[Edit]) -> dict[str, Verdict | None]:
    """Return the verdict that each person gave last, by name."""
    from kymflow_zarr.engine.curation import document

    return document.verdicts_in(history)


def kind_of(info: ArtifactInfo) -> Kind:
    """Return the row of the registry for the kind of an artifact."""
    from kymflow_zarr.formats.kinds import KINDS

    return KINDS[info.kind]


def group_labels_of(values: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Return for each row of `unit_values()` or `summary()` the label of its group."""
    from kymflow_zarr.engine.query.summary import group_labels

    return list(group_labels(values, by)) if by else [""] * len(values)


def write_excel(path: Path, sheets: Mapping[str, pd.DataFrame]) -> None:
    """Write data frames to an Excel workbook, by the names of its sheets."""
    from kymflow_zarr.export.sheets.excel import write_workbook

    write_workbook(path, sheets)


def is_metadata_column(name: str) -> bool:
    """Return True if a column of `images()` is a key of the experiment's metadata."""
    from kymflow_zarr.engine.index.images_dataframe import is_own_column

    return not is_own_column(name)


def total_traffic() -> Traffic:
    """Return the requests to stores and web hosts that this process has made."""
    from kymflow_zarr.storage.traffic import TOTAL

    return TOTAL


def open_dataset_of(dataset: ZarrDataset) -> OpenDataset:
    """Return the engine object that a dataset holds."""
    return dataset._open  # noqa: SLF001 - the face hides it from users, not from the package


def snapshot_of(record: ZarrImageRecord) -> ZarrImageRecord:
    """Return a record whose document is read once; see :meth:`StoredImage.snapshot`."""
    return type(record)(stored_image_of(record).snapshot())


def stored_image_of(record: ZarrImageRecord) -> StoredImage:
    """Return the engine object that a record holds."""
    return record._image  # noqa: SLF001 - the face hides it from users, not from the package
