"""Names: any Unicode is kept, no two share a file, and what is dangerous is refused."""

from __future__ import annotations

import string
import unicodedata

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given

from kymflow_zarr import ZarrDataset, ZarrImageRecord, layout
from kymflow_zarr.errors import InvalidNameError

REFUSED = [
    "", "..", ".", "a/..", "../a", "a/../b", "/a", "/", "a/", "a//b", "\\a", "C:/a", "c:\\a", "C:",
    "a\0b", "nul", "NUL", "con", "Aux.txt", "com1", "COM9.parquet", "lpt1", "a/nul", "prn/b",
    "\ud800", "x" * 2000, "a\\..\\b",
]  # fmt: skip
SUFFIXES = st.sampled_from(
    ["", ".json", ".parquet", ".csv.gz", ".JSON", "~", "~1", "%41", " ", "."]
)
NAMES = st.lists(
    st.tuples(st.text(alphabet=st.characters(codec="utf-8"), max_size=8), SUFFIXES).map("".join)
    | st.sampled_from(
        ["zarr", "Zarr", "data", "c", "a", "A", "é", "e\u0301", "\ufb01", "\u017f", "\u212a"]
    ),
    min_size=1,
    max_size=3,
).map("/".join)


def folded(key: str) -> str:
    """Return what a disk that folds case and normalizes Unicode takes a key for."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", key).casefold())


def is_kept(name: str) -> bool:
    try:
        layout.check_name(name, what="name")
        for kind in ("json", "parquet", "csv_gz"):
            layout.artifact_key(kind, name)  # Some endings are longer than others.
        layout.array_artifact_prefix(name)
        layout.table_key(name)
    except InvalidNameError:
        return False
    return True


@given(name=NAMES.filter(is_kept))
def test_a_key_gives_its_name_back(name: str) -> None:
    for kind in ("json", "parquet", "csv_gz"):
        key = layout.artifact_key(kind, name)
        assert layout.parse_artifact_key(key) == (kind, name)
    assert layout.parse_table_key(layout.table_key(name)) == name


@given(one=NAMES.filter(is_kept), other=NAMES.filter(is_kept))
def test_two_names_never_share_a_file(one: str, other: str) -> None:
    keys = [
        {folded(layout.artifact_key(kind, name)) for kind in ("json", "parquet", "csv_gz")}
        | {folded(layout.array_artifact_prefix(name))}
        for name in (one, other)
    ]
    assert len(keys[0]) == len(keys[1]) == 4
    assert (one == other) == bool(keys[0] & keys[1])


@given(name=NAMES.filter(is_kept), other=NAMES.filter(is_kept))
def test_no_file_is_another_names_folder(name: str, other: str) -> None:
    file = folded(layout.artifact_key("json", name))
    assert not folded(layout.artifact_key("parquet", other)).startswith(f"{file}/")


@given(name=NAMES.filter(is_kept))
def test_keys_are_legal_on_every_file_system(name: str) -> None:
    for segment in layout.artifact_key("csv_gz", name).split("/"):
        assert set(segment) <= set(string.ascii_letters + string.digits + "_-+=,@(). %^")
        assert segment[0] not in ". "
        assert segment[-1] not in ". "
        assert len(segment) < 255
        assert segment != "zarr.json"


@pytest.mark.parametrize("name", REFUSED)
def test_dangerous_names_are_refused(ds: ZarrDataset, rec: ZarrImageRecord, name: str) -> None:
    df = pd.DataFrame({"image_id": ["a"]})
    for call in (
        lambda: rec.save_json(name, 1),
        lambda: rec.load_json(name),
        lambda: rec.save_df_parquet(name, df),
        lambda: rec.save_array_artifact(name, [1]),
        lambda: ds.save_table(name, df),
        lambda: ds.load_table(name),
        lambda: ds.replace_rows_for_image_id(name, "a", df),
        lambda: ds.add_image([[1]], image_id=name),
    ):
        with pytest.raises(ValueError, match=r"name|image id"):
            call()
    assert rec.list_analysis_keys() == []
    assert ds.list_table_names() == []
    assert len(ds) == 1


def test_a_name_that_is_no_text_is_refused(rec: ZarrImageRecord) -> None:
    with pytest.raises(TypeError, match="must be a str, not int"):
        rec.save_json(5, 1)  # type: ignore[arg-type]


def test_names_are_listed_as_they_were_given(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    names = ["ROI mask", "roi mask", "流速/événement", "a/b", "a", "zarr", "A.json/x", "A"]
    for i, name in enumerate(names):
        rec.save_json(name, i)
        ds.save_table(name, pd.DataFrame({"i": [i]}))
    assert sorted(info.name for info in rec.list_artifacts()) == sorted(names)
    assert ds.list_table_names() == sorted(names)
    for i, name in enumerate(names):
        assert rec.load_json(name) == i
        assert ds.load_table(name)["i"].tolist() == [i]


def test_plain_names_are_plain_file_names() -> None:
    assert layout.artifact_key("json", "velocity_events/events 2") == (
        "analysis/velocity_events/events 2.json"
    )
    assert layout.table_key("kym_velocity_events") == "tables/kym_velocity_events.parquet"


def test_a_file_that_is_no_artifact_is_not_listed(rec: ZarrImageRecord, ds: ZarrDataset) -> None:
    rec.save_json("a", 1)
    folder = ds.path / "images" / rec.image_id / "analysis"
    for name in (".DS_Store", "~$a.json", "notes.txt", "B.json", "%zz.json"):
        (folder / name).write_text("{}")
    assert [info.name for info in rec.list_artifacts()] == ["a"]
