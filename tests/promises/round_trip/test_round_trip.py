"""A dataset that was exported as a folder and ingested again is equal."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pandas.testing import assert_frame_equal

from kymflow_zarr import Axis, IngestReport, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import FormatVersionError, SourceFileError
from kymflow_zarr.testing import default_vessels, write_experiment
from kymflow_zarr.types import Quantity
from tests.helpers.export_dataset import MANIFEST, dataset, manifest_of

# Comparing ------------------------------------------------------------------------------


def of_image(rec: ZarrImageRecord) -> dict[str, Any]:
    """Return what can be compared with ``==`` of an image."""
    document = rec._image.document()
    return {
        "times": (rec.created_utc, rec.updated_utc),
        "pixels": (rec.shape, rec.dtype, rec.load_array().tobytes()),
        "chunks": document.pixels.chunks,
        "stored": document.pixels.sha256,
        "axes": rec.axes,
        "channel_names": rec.channel_names,
        "source_files": rec.source_files,
        "kept": [
            (rec._image.storage.read(f"{rec._image.prefix}/{file.kept_as}"))
            for file in rec.source_files
            if file.kept_as is not None
        ],
        "earlier": rec.list_earlier_artifacts(),
        "artifacts": {(info.name, info.kind, info.key) for info in rec.list_artifacts()},
        "json": {
            info.name: (rec._image.storage.read(info.key), repr(rec.load_json(info.name)))
            for info in rec.list_artifacts()
            if info.kind == "json"
        },
        "arrays": {name: of_array(rec, name) for name in rec.list_array_artifacts()},
    }


def of_array(rec: ZarrImageRecord, name: str) -> Any:
    document, array = rec._image._arrays.document(name), rec.load_array_artifact(name)
    return array.dtype, array.shape, array.tobytes(), document


def assert_equal(one: ZarrDataset, other: ZarrDataset) -> None:
    assert one.list_image_ids() == other.list_image_ids()
    assert one.list_table_names() == other.list_table_names()
    for name in one.list_table_names():
        assert_same_frame(one.load_table(name), other.load_table(name))
    for rec in one.iter_records():
        back = other.record(rec.image_id)
        expected, found = of_image(rec), of_image(back)
        for key, value in expected.items():
            assert found[key] == value, (rec.image_id, key)
        for info in rec.list_artifacts():
            if info.kind == "parquet":
                assert_same_frame(rec.load_df_parquet(info.name), back.load_df_parquet(info.name))
            elif info.kind == "csv_gz":
                assert_same_frame(rec.load_df_csv_gz(info.name), back.load_df_csv_gz(info.name))
    kept = one._open.source_files.documents()
    assert kept == other._open.source_files.documents()
    for document in kept.values():
        assert one._open.source_files.read(document) == other._open.source_files.read(document)


def assert_same_frame(one: pd.DataFrame, other: pd.DataFrame) -> None:
    assert_frame_equal(one, other, check_exact=True, check_freq=True)
    assert list(map(str, one.dtypes)) == list(map(str, other.dtypes))
    assert one.columns.identical(other.columns)
    assert one.attrs == other.attrs


def there_and_back(ds: ZarrDataset, folder: Path) -> tuple[ZarrDataset, IngestReport]:
    exported = ds.export_legacy_folder(folder / "exported")
    assert not exported.failed
    new = ZarrDataset(folder / "new.zarr", mode="w-", durability="relaxed")
    report = new.ingest_legacy_folder(folder / "exported")
    return new, report


# What there may be ----------------------------------------------------------------------

DTYPES = [
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip
Listed: TypeAlias = list[tuple[str, Quantity, str | None]]
STEPS = st.none() | st.floats(1e-6, 1e6)
AXES: list[str | Listed] = [
    "yx", "tyx", "zyx", "cyx", "czyx", "tczyx",
    [("t", "time", "second"), ("x", "space", "micrometer")],
    [("y", "time", "millisecond"), ("x", "space", "micrometer")],
    [("y", "space", "micrometer"), ("x", "space", "micrometer"), ("c", "channel", None)],
    [("frame", "time", "second"), ("λ", "other", "nm"), ("Depth", "space", "parsec")],
]  # fmt: skip
QUANTITIES: dict[str, Quantity] = {"t": "time", "c": "channel"}
NAMES = st.sampled_from(
    ["events", "Events", "EVENTS", "a/b", "a/B", "µm/Größe/流速", "zarr", "x.csv/y", "x", "con_"]
)


@st.composite
def axes(draw: st.DrawFn) -> list[Axis]:
    chosen = draw(st.sampled_from(AXES))
    listed: Listed = (
        [(name, QUANTITIES.get(name, "space"), None) for name in chosen]
        if isinstance(chosen, str)
        else chosen
    )
    return [
        Axis(name, quantity, unit, None if quantity == "channel" else draw(STEPS))
        for name, quantity, unit in listed
    ]


CELLS: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "Int16": st.none() | st.integers(-(2**15), 2**15 - 1),
    "uint8": st.integers(0, 255),
    "float64": st.floats(),
    "float32": st.floats(width=32),
    "bool": st.booleans(),
    "str": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    "category": st.none() | st.sampled_from(["a", "", "NA", "µ"]),
    "datetime64[ns]": st.none() | st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),
    "timedelta64[us]": st.none() | st.timedeltas(dt.timedelta(-90000), dt.timedelta(90000)),
}


@st.composite
def frames(draw: st.DrawFn, *, csv: bool = False) -> pd.DataFrame:
    """A frame; `csv` takes what a CSV is sure to keep with its dtypes noted."""
    cells = {"int64", "bool", "category"} if csv else set(CELLS)
    dtypes = draw(st.lists(st.sampled_from(sorted(cells)), min_size=1, max_size=3))
    rows = draw(st.integers(0, 4))
    df = pd.DataFrame(
        {
            f"{dtype} {i}": pd.Series(
                draw(st.lists(CELLS[dtype], min_size=rows, max_size=rows)), dtype=dtype
            )
            for i, dtype in enumerate(dtypes)
        }
    )
    kind = draw(st.sampled_from(["range", "labels", "column", "times"]))
    if kind == "labels":
        df.index = pd.Index([7 * i for i in range(rows)], name="roi_id")
    elif kind == "column" and len(dtypes) > 1 and not csv:
        df = df.set_index(df.columns[0])
    elif kind == "times" and not csv:
        df.index = pd.date_range("2026-02-19", periods=rows, freq="s", tz="Europe/Berlin")
    return df


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)


@st.composite
def fill(draw: st.DrawFn, ds: ZarrDataset) -> None:
    """Put one to three images and up to two tables into a dataset."""
    image_ids = draw(
        st.lists(
            st.sampled_from(["a", "A", "vessel 1", "ß-流", "5b"]),
            min_size=1, max_size=3, unique=True,
        )
    )  # fmt: skip
    for image_id in image_ids:
        _add_image(draw, ds, image_id)
    for name in draw(st.lists(NAMES, max_size=2, unique=True)):
        rows = len(image_ids)
        table = pd.DataFrame({"image_id": image_ids, "value": draw(_floats(rows))})
        if draw(st.booleans()):
            table["when"] = pd.to_datetime(["2026-02-19T05:38"] * rows)
        ds.save_table(name, table)


def _floats(count: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(), min_size=count, max_size=count)


def _add_image(draw: st.DrawFn, ds: ZarrDataset, image_id: str) -> None:
    true_axes = draw(axes())
    size = st.sampled_from([1, 2, 3, 3, 4, 0])
    shape = tuple(draw(size) for _ in true_axes)
    pixels = draw(hnp.arrays(draw(st.sampled_from(DTYPES)), shape))
    channels = [n for n, axis in zip(shape, true_axes, strict=True) if axis.quantity == "channel"]
    names = None
    if draw(st.booleans()):
        names = [draw(st.text(st.characters(codec="utf-8"), max_size=4)) for _ in range(
            channels[0] if channels else 1)]  # fmt: skip
    chunks = draw(st.none() | st.just([2] * len(shape)))
    rec = ds.add_image(
        pixels, axes=true_axes, chunks=chunks, image_id=image_id, channel_names=names
    )
    if draw(st.booleans()):
        rec.save_metadata_payload({"version": "2.0", "rois": [], "more": draw(JSON)})
        rec.save_json("provenance", {"original_path": "/data/流/a.tif"})
    for name in draw(st.lists(NAMES, max_size=2, unique=True)):
        rec.save_json(name, draw(JSON))
    for name in draw(st.lists(NAMES, max_size=2, unique=True)):
        rec.save_df_parquet(name, draw(frames()))
    for name in draw(st.lists(NAMES, max_size=2, unique=True)):
        rec.save_df_csv_gz(name, draw(frames(csv=True)))
    for name in draw(st.lists(NAMES, max_size=2, unique=True)):
        array = draw(hnp.arrays(draw(st.sampled_from(DTYPES)), draw(st.sampled_from(ARRAY_SHAPES))))
        named = draw(st.none() | st.just(["y", "µ", "x"][: array.ndim]))
        rec.save_array_artifact(name, array, axes=named)


ARRAY_SHAPES = [(), (0,), (3,), (2, 3), (2, 0, 1)]


# The proof ------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.data())
def test_a_dataset_comes_back_equal_from_its_export(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ds = ZarrDataset(folder / "d.zarr", mode="w-", durability="relaxed")
        data.draw(fill(ds))
        new, report = there_and_back(ds, folder)
        assert report.image_ids == list(manifest_of(folder / "exported")["images"])
        assert len(report.pooled) == len(ds.list_table_names())
        assert {item.status for item in report.items} <= {"ingested", "pooled"}
        assert_equal(ds, new)
        assert new.validate().ok


@pytest.fixture
def lab(tmp_path: Path) -> ZarrDataset:
    """A dataset that came from a folder of a lab, whose files are gone since."""
    folder = tmp_path / "lab"
    write_experiment(folder, vessels=default_vessels()[:2])
    (folder / "notes of the day.txt").write_text("nothing moved")
    ds = ZarrDataset(tmp_path / "lab.zarr", mode="w-", durability="relaxed")
    assert not ds.ingest_legacy_folder(folder).failed
    return ds


def test_a_folder_of_a_lab_comes_back_from_its_dataset(lab: ZarrDataset, tmp_path: Path) -> None:
    assert lab._open.source_files.documents()
    new, report = there_and_back(lab, tmp_path)
    assert not report.failed
    assert_equal(lab, new)
    # What is known of the lab's files is known again: a scan finds nothing new.
    again = new.refresh_from_folder(tmp_path / "lab", mode="reingest_if_changed")
    assert again == []
    assert {item.status for item in again.report.items} <= {"unchanged", "pooled", "unmatched"}


def test_artifacts_of_earlier_pixels_are_so_still(lab: ZarrDataset, tmp_path: Path) -> None:
    rec = next(lab.iter_records())
    path = Path(rec.source_files[0].path)
    import tifffile

    tifffile.imwrite(path, tifffile.imread(path) + 1)
    assert lab.refresh_from_folder(tmp_path / "lab", mode="reingest_if_changed")
    assert rec.list_earlier_artifacts()
    new, _ = there_and_back(lab, tmp_path)
    assert new.record(rec.image_id).list_earlier_artifacts() == rec.list_earlier_artifacts()
    assert_equal(lab, new)


# Again, and changed ---------------------------------------------------------------------


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The export of a small dataset."""
    dataset(tmp_path).export_legacy_folder(tmp_path / "exported")
    return tmp_path / "exported"


@pytest.fixture
def new(tmp_path: Path) -> ZarrDataset:
    """An empty dataset."""
    return ZarrDataset(tmp_path / "new.zarr", mode="w-", durability="relaxed")


def test_a_second_time_nothing_is_new(exported: Path, new: ZarrDataset) -> None:
    planned = new.refresh_from_folder(exported, dry_run=True).report
    assert new.list_image_ids() == []
    assert new.list_table_names() == []
    assert planned.image_ids == new.ingest_legacy_folder(exported).image_ids
    again = new.refresh_from_folder(exported)
    assert again == []
    assert {item.status for item in again.report.items} == {"unchanged"}


def test_an_export_without_tiffs_has_no_images_to_give(tmp_path: Path, new: ZarrDataset) -> None:
    ds = dataset(tmp_path)
    ds.export_legacy_folder(tmp_path / "exported", include_tiff=False)
    report = new.ingest_legacy_folder(tmp_path / "exported")
    assert {item.image_id: item.reason for item in report.failed} == {
        "plain": "exported without TIFFs",
        "rich": "exported without TIFFs",
    }
    assert new.list_image_ids() == []
    assert new.list_table_names() == ds.list_table_names()


def test_a_tiff_that_was_changed_is_taken_if_it_fits(exported: Path, new: ZarrDataset) -> None:
    import tifffile

    tifffile.imwrite(exported / "images/plain/image.tif", np.full((4, 5), 7, "uint8"))
    tifffile.imwrite(exported / "images/rich/image.tif", np.zeros((4, 5), "uint8"))
    report = new.ingest_legacy_folder(exported)
    (taken,) = report.ingested
    assert taken.image_id == "plain"
    assert taken.reason is not None
    assert "changed since the export" in taken.reason
    assert (new["plain"].load_array() == 7).all()
    (refused,) = report.failed
    assert refused.image_id == "rich"
    assert refused.reason is not None
    assert "the image was uint16 (10, 6)" in refused.reason


def test_a_table_edited_by_hand_comes_in_as_it_is(exported: Path, new: ZarrDataset) -> None:
    (exported / "images/rich/exact.csv").write_text("roi_id,velocity\n1,9.5\n")
    (exported / "images/rich/typed.csv").write_text("n\n1\n")
    (item,) = (i for i in new.ingest_legacy_folder(exported).ingested if i.image_id == "rich")
    assert new["rich"].load_df_parquet("exact")["velocity"].to_list() == [9.5]
    assert list(new["rich"].load_df_parquet("typed").columns) == ["when", "n"]
    assert item.reason is not None
    assert "exact.csv was changed since the export and is taken" in item.reason
    assert "typed.csv was changed since the export and not taken" in item.reason


def test_a_lost_artifact_is_reported_and_the_image_comes(exported: Path, new: ZarrDataset) -> None:
    (exported / "images/rich/array_artifacts/seg/mask.npy").unlink()
    (exported / "images/rich/metadata.json").write_text("{")
    report = new.ingest_legacy_folder(exported)
    assert sorted(report.image_ids) == ["plain", "rich"]
    assert sorted(Path(item.path).name for item in report.failed) == ["mask.npy", "metadata.json"]
    assert new["rich"].list_array_artifacts() == []


def test_stored_bytes_that_were_changed_are_not_exported(lab: ZarrDataset, tmp_path: Path) -> None:
    lab.export_legacy_folder(tmp_path / "exported")
    files = manifest_of(tmp_path / "exported")["files"]
    path = next(path for path in files if "/source_files/" in path)
    (tmp_path / "exported" / path).write_text("something else")
    new = ZarrDataset(tmp_path / "new.zarr", mode="w-", durability="relaxed")
    report = new.ingest_legacy_folder(tmp_path / "exported")
    (failed,) = report.failed
    assert failed.path.endswith(path)
    assert len(report.image_ids) == len(lab)
    assert new.validate().ok


def test_another_table_of_that_name_is_left_alone(exported: Path, new: ZarrDataset) -> None:
    mine = pd.DataFrame({"mine": [1]})
    new.save_table("typed", mine)
    (failed,) = new.ingest_legacy_folder(exported).failed
    assert failed.path.endswith("typed.parquet")
    assert_frame_equal(new.load_table("typed"), mine)


def test_files_added_by_others_are_named(exported: Path, new: ZarrDataset) -> None:
    (exported / "images" / "my notes.txt").write_text("?")
    (item,) = new.ingest_legacy_folder(exported).unmatched
    assert item.path.endswith("my notes.txt")


# Manifests that are not to be trusted ---------------------------------------------------


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = manifest_of(folder)
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize("how", ["dots", "absolute", "link"])
def test_no_file_outside_of_the_folder_is_read(
    exported: Path, new: ZarrDataset, how: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"secret": 1}')
    path = {"dots": "../secret.json", "absolute": str(secret), "link": "images/link.json"}[how]
    if how == "link":
        (exported / path).symlink_to(secret)

    def change(manifest: dict[str, Any]) -> None:
        digest = hashlib.sha256(secret.read_bytes()).hexdigest()
        manifest["files"][path] = {"size_bytes": 13, "sha256": digest, "made_from": ""}
        (events,) = (a for a in manifest["images"]["rich"]["artifacts"] if "event" in a["name"])
        events["file"] = path

    rewrite(exported, change)
    report = new.ingest_legacy_folder(exported)
    assert len(report.failed) == 1
    assert sorted(report.image_ids) == ["plain", "rich"]
    assert "velocity_events/events" not in {a.name for a in new["rich"].list_artifacts()}


@pytest.mark.parametrize(
    "damage",
    [
        lambda image: image.update(axes="yx"),
        lambda image: image.update(shape=[2, 2]),
        lambda image: image.update(created_utc="yesterday"),
        lambda image: image["pixels"].update(axes=["t", "x"]),
        lambda image: image["pixels"].update(file="images/rich/image.tif"),
        lambda image: image.update(dtype="no such"),
        lambda image: image.clear(),
    ],
)
def test_a_damaged_entry_stops_no_other(exported: Path, new: ZarrDataset, damage: Any) -> None:
    rewrite(exported, lambda manifest: damage(manifest["images"]["plain"]))
    report = new.ingest_legacy_folder(exported)
    assert [item.image_id for item in report.failed] == ["plain"]
    assert report.image_ids == ["rich"]
    assert new.list_image_ids() == ["rich"]


def test_an_artifact_named_twice_comes_once(exported: Path, new: ZarrDataset) -> None:
    def change(manifest: dict[str, Any]) -> None:
        artifacts = manifest["images"]["rich"]["artifacts"]
        artifacts.append(dict(artifacts[0]))

    rewrite(exported, change)
    report = new.ingest_legacy_folder(exported)
    assert len(report.failed) == 1
    assert sorted(report.image_ids) == ["plain", "rich"]


def test_a_newer_export_is_refused(exported: Path, new: ZarrDataset) -> None:
    rewrite(exported, lambda manifest: manifest.update(format_version=2))
    with pytest.raises(FormatVersionError, match="2"):
        new.ingest_legacy_folder(exported)
    assert new.list_image_ids() == []


def test_a_manifest_cut_off_is_named(exported: Path, new: ZarrDataset) -> None:
    (exported / MANIFEST).write_text('{"format": ')
    with pytest.raises(SourceFileError, match=MANIFEST):
        new.ingest_legacy_folder(exported)


def test_parts_that_the_export_could_not_read_are_named(tmp_path: Path, new: ZarrDataset) -> None:
    ds = dataset(tmp_path)
    shutil.rmtree(ds.path / "images/plain/data")
    assert ds.export_legacy_folder(tmp_path / "exported").failed
    (failed,) = new.ingest_legacy_folder(tmp_path / "exported").failed
    assert failed.image_id == "plain"
    assert failed.reason is not None
    assert "the export could not read the image 'plain'" in failed.reason
    assert new.list_image_ids() == ["rich"]
