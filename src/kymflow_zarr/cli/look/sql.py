"""``kymflow-zarr sql``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kymflow_zarr.cli.options import dataset_argument, debug_option, form_of, form_options

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["sql"]


@click.command(short_help="Answer a question in SQL.")
@dataset_argument
@click.argument("query")
@form_options
@debug_option
def sql(dataset: Path, query: str, as_json: bool, as_csv: bool, as_table: bool) -> None:
    """Answer a QUERY in the SQL of DuckDB; - reads it from standard input.

    A query sees each table by its name, images (all columns of ls), and each data-frame
    artifact of all images by its name, in double quotes where that is not a plain word. It
    only reads. It needs the extra sql: pip install 'kymflow-zarr[sql]'.

    \b
    Examples:
      kymflow-zarr sql all.zarr "select condition, count(*) from images group by condition"
      kymflow-zarr sql all.zarr 'select * from "velocity_events/events"' --csv > events.csv
      kymflow-zarr sql all.zarr - --json < question.sql
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.cells import print_frame

    form = form_of(as_json=as_json, as_csv=as_csv, as_table=as_table)
    if query == "-":
        query = sys.stdin.read()
    with ZarrDataset(dataset, mode="r") as ds:
        answer = ds.sql(query, as_="arrow")
    print_frame(_frame(answer), form)


def _frame(answer: pa.Table) -> pd.DataFrame:
    """Return a result as a data frame; integer columns with missing values stay integers."""
    import pandas as pd
    import pyarrow as pa

    kinds = {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(),
        pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    # Columns may share a name, as in `select a.x, b.x`.
    names = [str(name) for name in answer.column_names]
    numbered = answer.rename_columns([str(number) for number in range(len(names))])
    frame: pd.DataFrame = numbered.to_pandas(types_mapper=kinds.get, ignore_metadata=True)
    frame.columns = pd.Index(names)
    return frame
