"""The list of checksums: changed in place, it equals the list that is written from scratch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr.errors import SchemaValidationError
from kymflow_zarr.schema.checksums import (
    FileSum,
    dump_checksums,
    parse_checksums,
    updated_checksums,
)

SEGMENTS = st.sampled_from(["a", "b", "a-", "a.json", "a0", "z", "\u00e9", "\udcff", "\U0001f600"])
KEYS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)
SUMS = st.binary(max_size=3).map(FileSum.of)
LISTS = st.dictionaries(KEYS, SUMS, max_size=8)


@given(files=LISTS, changed=LISTS, removed=st.lists(KEYS, max_size=3))
def test_a_changed_list_equals_a_list_built_from_scratch(
    files: dict[str, FileSum], changed: dict[str, FileSum], removed: list[str]
) -> None:
    gone = tuple(f"{key}/" for key in removed)
    left = {key: found for key, found in files.items() if not f"{key}/".startswith(gone)}
    data = updated_checksums(dump_checksums(files), changed, removed, where="here")
    assert data == dump_checksums(left | changed)
    assert parse_checksums(data, where="here") == left | changed


@pytest.mark.parametrize("how", ["digest", "count", "order"])
def test_a_list_that_is_not_as_it_was_written_is_not_written_over(how: str) -> None:
    data = dump_checksums({"a": FileSum.of(b"1"), "b": FileSum.of(b"2")})
    if how == "digest":
        data = data[:-1] + b"c"
    elif how == "count":
        data = data + data.split(b"\n", 1)[1]
    else:
        data = dump_checksums({"a/b": FileSum.of(b"1")}).replace(b"a/b", b"../")
    with pytest.raises(SchemaValidationError, match="damaged"):
        updated_checksums(data, {"c": FileSum.of(b"3")}, where="here")
