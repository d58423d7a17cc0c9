"""The events of an analysis file become rows, whose columns have one type in all files."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr.errors import SourceFileError, UnsupportedDataError
from kymflow_zarr.formats.dataframe.parquet import encode_parquet
from kymflow_zarr.ingest.sidecars.artifacts import events_rows

WHOLE = ["roi_id", "channel", "i_start", "i_peak", "i_end", "n_valid_in_event"]
TEXT = ["event_type", "machine_type", "user_type", "note"]
NUMBERS = [
    "t_start_s", "t_peak_s", "t_end_s", "score_peak", "baseline_before", "baseline_after",
    "strength", "nan_fraction_in_event", "duration_s",
]  # fmt: skip
ORDER = [
    *WHOLE[:2], "event_type", *WHOLE[2:5], *NUMBERS[:-1], "n_valid_in_event", "duration_s",
    *TEXT[1:],
]  # fmt: skip
CELLS = st.sampled_from([1, 2, 0, 5.0, 2.5, None, math.nan, "a", "", True, -3, 2**40])


@st.composite
def regions(draw: st.DrawFn) -> dict[str, list[dict[str, Any]]]:
    names = [*ORDER[2:], "mine", "more"]
    pools = {name: draw(st.lists(CELLS, min_size=1, max_size=2)) for name in names}
    event = st.fixed_dictionaries(
        {}, optional={name: st.sampled_from(pool) for name, pool in pools.items()}
    )
    return draw(st.dictionaries(st.sampled_from(["1", "2:1"]), st.lists(event, max_size=3)))


def by_pandas(events: dict[str, list[dict[str, Any]]]) -> pd.DataFrame:
    """Return the events as pandas makes a data frame of them, with the types of the schema."""
    frame = pd.DataFrame(
        [
            row | {"roi_id": int(key[0]), "channel": 1}
            for key, rows in events.items()
            for row in rows
        ]
    )
    frame = frame.reindex(columns=[*ORDER, *(name for name in frame.columns if name not in ORDER)])
    types: dict[Any, Any] = dict.fromkeys(TEXT, "object")
    for name in (*WHOLE, *NUMBERS):
        values = frame[name].dropna()
        numbers = all(isinstance(n, int | float) for n in values)
        if name in NUMBERS:
            types[name] = "float64" if numbers else "object"
        else:
            is_whole = numbers and all(float(n).is_integer() for n in values)
            types[name] = "Int64" if is_whole else "object"
    return frame.astype(types)


@given(regions())
def test_events_have_the_types_of_the_schema_where_their_values_fit(
    events: dict[str, list[dict[str, Any]]],
) -> None:
    try:
        expected = encode_parquet(by_pandas(events))
    except UnsupportedDataError:  # One column has words and numbers.
        with pytest.raises(UnsupportedDataError):
            events_rows(events, where="a_events.json")
        return
    assert events_rows(events, where="a_events.json").to_bytes() == expected


def test_events_that_are_no_list_are_refused_with_the_file() -> None:
    with pytest.raises(SourceFileError, match=r"'1' are no list.*a_events\.json"):
        events_rows({"1": {"t_start": 1}}, where="a_events.json")
