"""Tables of the dataset as the pooled files they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import CorruptDataError, TableNotFoundError
from kymflow_zarr.export.dataset_layout.files import kept_bytes
from kymflow_zarr.export.dataset_layout.places import table_place
from kymflow_zarr.export.lab_layout.analysis import edited_csv
from kymflow_zarr.export.lab_layout.plan import TreePlan
from kymflow_zarr.schema.analysis_columns import IMAGE_ID, POOLED_PATH, names_in_table
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.interface import Storage

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TreeTables", "pooled_table_name"]


def pooled_table_name(file: SourceFileDocument) -> str:
    """Return the name of the table that a pooled file went into."""
    return str(PurePosixPath(file.rel_path).with_suffix("")).lstrip("/")


@dataclass
class TreeTables:
    """The tables on their way into the tree.

    Parameters
    ----------
    plan : TreePlan
    storage : Storage
    dataset : OpenDataset
    files : sequence of SourceFileDocument
        All pooled files that the dataset has ever seen.
    """

    plan: TreePlan
    storage: Storage
    dataset: OpenDataset
    files: Sequence[SourceFileDocument]
    _from_files: set[str] = field(default_factory=set)

    def _load(self, name: str) -> tuple[pd.DataFrame, set[str]]:
        """Return a table and the paths of its files; remember a table that has no other rows."""
        table = self.dataset.load_table(name)
        paths = {file.path for file in self.files if pooled_table_name(file) == name}
        if paths and POOLED_PATH in table.columns and table[POOLED_PATH].isin(paths).all():
            self._from_files.add(name)
        return table, paths

    def pooled(self, file: SourceFileDocument, place: str) -> None:
        """Plan one pooled file: as it was, or with its rows as they are now."""
        kept = kept_bytes(self.storage, file.kept_as or "", file)
        name = pooled_table_name(file)
        try:
            table, _ = self._load(name)
        except TableNotFoundError:
            self.plan.note(place, "not written: its table was deleted in the dataset")
            return
        except CorruptDataError:
            # The file is not, and the table is reported by itself.
            self._verbatim(file, place)
            return
        in_file = _of_csv(kept)
        names = {} if in_file is None else names_in_table(list(in_file.columns))
        before = None if in_file is None else in_file.rename(columns=names)
        if POOLED_PATH not in table.columns or before is None:
            rows = table[:0]
        else:
            rows = table[table[POOLED_PATH] == file.path]
        if before is None or _same(rows, before):
            self._verbatim(file, place)
        elif rows.empty:
            self.plan.note(place, "not written: its rows were deleted in the dataset")
        else:
            in_table = {new: old for old, new in names.items()}
            write = partial(self._rows, rows, list(before), in_table, kept)
            self.plan.built(name, place, write, "table")

    def _verbatim(self, file: SourceFileDocument, place: str) -> None:
        read = partial(kept_bytes, self.storage, file.kept_as or "", file)
        self.plan.verbatim(file.path, file, place, read, "source_file")

    @staticmethod
    def _rows(
        rows: pd.DataFrame, columns: list[Any], in_table: dict[str, object], kept: bytes
    ) -> tuple[bytes, str]:
        own = rows.drop(columns=[c for c in (IMAGE_ID, POOLED_PATH) if c in rows.columns])
        # Other files of the same table may have other columns.
        others = [c for c in own.columns if c not in columns and own[c].isna().all()]
        own = own.drop(columns=others).reset_index(drop=True).rename(columns=in_table)
        data, same = edited_csv(own, kept, velocity=False)
        reason = "its rows were edited in the dataset"
        return data, reason if same else f"{reason}; a CSV does not hold all of their types"

    def other(self, name: str) -> None:
        """Plan what is in a table and came from no file."""
        if name in self._from_files:
            return
        table, paths = self._load(name)
        reason = "made in the dataset; there was no such file"
        if paths and POOLED_PATH in table.columns:
            table = table[~table[POOLED_PATH].isin(paths)].reset_index(drop=True)
            if table.empty:
                return
            reason = "rows that were added in the dataset"
        self._table(name, table, reason)

    def _table(self, name: str, table: pd.DataFrame, reason: str) -> None:
        from kymflow_zarr.export.dataframes import csv_of
        from kymflow_zarr.formats.dataframe.parquet import encode_parquet

        place = table_place(name)
        assert place.plain is not None
        stored = encode_parquet(table)
        csv, complete = csv_of("parquet", stored, where=place.key)
        files = [(place.plain, csv)]
        if not complete:
            files.append((place.exact, stored))
        for path, data in files:
            stem, dot, suffix = path.rpartition(".")
            free = self.plan.names.take(stem, suffix=f"{dot}{suffix}")
            self.plan.built(name, free, partial(_given, data, reason), "table")


def _given(data: bytes, reason: str) -> tuple[bytes, str]:
    return data, reason


def _of_csv(data: bytes) -> pd.DataFrame | None:
    from kymflow_zarr.formats.dataframe.csv_foreign import decode_csv

    try:
        return decode_csv(data)
    except ValueError:
        return None  # It never became a table.


def _same(now: pd.DataFrame, before: pd.DataFrame) -> bool:
    """Tell whether rows are those of a file, whatever images they mean."""
    columns = [c for c in before.columns if c not in (IMAGE_ID, POOLED_PATH)]
    if not set(columns) <= set(now.columns) or len(now) != len(before):
        return False
    added = [c for c in now.columns if c not in (*before.columns, IMAGE_ID, POOLED_PATH)]
    if not now[added].isna().all(axis=None):
        return False
    return all(_same_column(now[column], before[column]) for column in columns)


def _same_column(now: pd.Series[Any], before: pd.Series[Any]) -> bool:
    one, other = now.reset_index(drop=True), before.reset_index(drop=True)
    if one.dtype == other.dtype:
        values = one.to_numpy(), other.to_numpy()
        # Bit by bit, as 0.0 and -0.0 are equal.
        if one.dtype.kind in "iufb" and values[0].tobytes() == values[1].tobytes():
            return True
        if one.dtype == "str" and one.equals(other):
            return True
    return one.astype("object").astype("str").equals(other.astype("object").astype("str"))
