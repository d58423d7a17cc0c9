"""The registry of artifact kinds: each kind has all that the package asks for."""

from __future__ import annotations

import io
from typing import Any, get_args

import pandas as pd
import pytest

from kymflow_zarr import ZarrImageRecord
from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.formats.kinds import KINDS, dataframe_kinds
from kymflow_zarr.types import ARTIFACT_SUFFIXES, ArtifactKind, FrameKind

VALUES: dict[bool, Any] = {
    True: pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]}),
    False: {"a": [1, None]},
}


def test_every_kind_has_a_row_a_suffix_and_a_loader() -> None:
    assert tuple(KINDS) == get_args(ArtifactKind) == tuple(ARTIFACT_SUFFIXES)
    assert tuple(kind.name for kind in dataframe_kinds()) == get_args(FrameKind)
    assert all(hasattr(ZarrImageRecord, kind.loader) for kind in KINDS.values())
    ends = [(a, b) for a in ARTIFACT_SUFFIXES.values() for b in ARTIFACT_SUFFIXES.values()]
    assert not any(a != b and a.endswith(b) for a, b in ends)


@pytest.mark.parametrize("name", KINDS)
def test_a_value_comes_back_and_its_file_passes_the_check(name: ArtifactKind) -> None:
    kind = KINDS[name]
    value = VALUES[kind.is_dataframe]
    data = kind.encode(value, where="x")
    back = kind.decode(data, where="x")
    if kind.is_dataframe:
        pd.testing.assert_frame_equal(back, value)
    else:
        assert back == value
    if kind.check is not None:
        kind.check(io.BytesIO(data), "x")


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_was_cut_off_is_damage(name: ArtifactKind) -> None:
    kind = KINDS[name]
    data = kind.encode(VALUES[kind.is_dataframe], where="x")[:-9]
    with pytest.raises(CorruptDataError):
        kind.decode(data, where="x")
    if kind.check is not None:
        with pytest.raises(CorruptDataError):
            kind.check(io.BytesIO(data), "x")
