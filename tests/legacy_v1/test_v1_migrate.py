"""Datasets of format version 1: carried over to version 2."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import (
    ArgumentError,
    DatasetExistsError,
    DatasetNotFoundError,
    SchemaValidationError,
    TargetExistsError,
)
from kymflow_zarr.legacy_v1.migrate import MigrationReport, migrate_dataset, migrate_in_place
from tests.conftest import files_of
from tests.helpers.v1_dataset import (
    CHANNELS_LAST,
    CREATED,
    KYMOGRAPH,
    LINES,
    MASK,
    PAYLOAD,
    PLAIN,
    POOLED,
    STACK,
    add_array,
    add_image,
    edit_json,
    run,
    write_v1,
)


def assert_equal(old: ZarrImageRecord, new: ZarrImageRecord) -> None:
    """Compare all of two records through the public interface."""
    assert old.image_id == new.image_id
    assert (old.axes, old.created_utc, old.updated_utc) == (
        new.axes,
        new.created_utc,
        new.updated_utc,
    )
    assert old.dtype == new.dtype
    assert np.array_equal(old.load_array(), new.load_array(), equal_nan=old.dtype.kind in "fc")
    artifacts = [(info.name, info.kind) for info in old.list_artifacts()]
    assert [(info.name, info.kind) for info in new.list_artifacts()] == artifacts
    for name, kind in artifacts:
        if kind == "json":
            np.testing.assert_equal(new.load_json(name), old.load_json(name))
        elif kind == "parquet":
            pd.testing.assert_frame_equal(new.load_df_parquet(name), old.load_df_parquet(name))
        else:
            pd.testing.assert_frame_equal(new.load_df_csv_gz(name), old.load_df_csv_gz(name))
    assert new.list_array_artifacts() == old.list_array_artifacts()
    for name in old.list_array_artifacts():
        before, now = old.load_array_artifact(name), new.load_array_artifact(name)
        assert before.dtype == now.dtype
        assert np.array_equal(before, now)


def assert_same_dataset(old: Path, new: Path) -> None:
    with ZarrDataset(old, mode="r") as before, ZarrDataset(new, mode="r+") as now:
        assert (now.dataset_id, now.created_utc) == (before.dataset_id, before.created_utc)
        assert now.list_image_ids() == before.list_image_ids()
        for image_id in before:
            assert_equal(before[image_id], now[image_id])
        assert now.list_table_names() == before.list_table_names()
        for name in before.list_table_names():
            pd.testing.assert_frame_equal(now.load_table(name), before.load_table(name))
        assert not now.validate().errors


def test_everything_is_carried_over(old: Path, tmp_path: Path) -> None:
    before = files_of(old)
    new = tmp_path / "new.zarr"
    report = migrate_dataset(old, new)
    assert report.ok
    assert report.backup is None
    assert {(item.kind, item.name) for item in report.migrated} == {
        *(("image", image_id) for image_id in (KYMOGRAPH, STACK, PLAIN)),
        ("table", "Kym_events"),
        ("table", "sources"),
    }
    assert files_of(old) == before
    assert_same_dataset(old, new)
    attributes = json.loads((new / "zarr.json").read_text())["attributes"]
    assert attributes["kymflow_zarr_v1"] == json.loads((old / ".zattrs").read_text())


def test_the_new_dataset_is_what_other_programs_read(old: Path, tmp_path: Path) -> None:
    migrate_dataset(old, tmp_path / "new.zarr")
    stack = zarr.open_group(tmp_path / "new.zarr" / "images" / STACK, mode="r")
    # OME-Zarr has no channel-last images: a plain array, with its true axes.
    assert "ome" not in stack.attrs
    document = json.loads((Path(str(stack.store_path.store.root)) / "data/zarr.json").read_text())  # type: ignore[attr-defined]
    assert document["dimension_names"] == ["t", "z", "y", "x", "c"]
    assert "ome" in zarr.open_group(tmp_path / "new.zarr" / "images" / KYMOGRAPH, mode="r").attrs


def test_a_second_migration_writes_nothing(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.zarr"
    migrate_dataset(old, new)
    before = files_of(new)
    report = migrate_dataset(old, new)
    assert not report.migrated
    assert not report.failed
    assert len(report.unchanged) == 5
    assert files_of(new) == before


class Stop(BaseException):
    """What a user does at any time."""


def stop_after(steps: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, label: str) -> None:
        if done == steps:
            raise Stop

    return progress


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_a_stopped_migration_goes_on(old: Path, tmp_path: Path, steps: int) -> None:
    new = tmp_path / "new.zarr"
    with pytest.raises(Stop):
        migrate_dataset(old, new, progress=stop_after(steps))
    report = migrate_dataset(old, new)
    assert (len(report.unchanged), len(report.migrated)) == (steps, 5 - steps)
    assert_same_dataset(old, new)


def test_what_was_changed_in_the_new_dataset_is_left_alone_and_reported(
    old: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new.zarr"
    migrate_dataset(old, new)
    with ZarrDataset(new, mode="r+") as ds:
        ds[KYMOGRAPH].save_json("provenance", {"edited": True})
        ds[STACK].save_array(CHANNELS_LAST + 1)
        ds.save_table("sources", POOLED)
        ds.add_image(LINES, image_id="later")
    report = migrate_dataset(old, new)
    assert {item.name for item in report.failed} == {KYMOGRAPH, STACK, "sources"}
    assert "provenance" in str(report)
    with ZarrDataset(new, mode="r") as ds:
        assert ds[KYMOGRAPH].load_json("provenance") == {"edited": True}
        assert "later" in ds


def test_in_place_keeps_the_old_one_under_another_name(old: Path) -> None:
    before = files_of(old)
    report = migrate_in_place(old)
    backup = old.with_name("old.zarr.v1-backup")
    assert report.ok
    assert report.new == str(old)
    assert report.backup == str(backup)
    assert str(backup) in str(report)
    assert files_of(backup) == before
    assert_same_dataset(backup, old)
    assert sorted(path.name for path in old.parent.iterdir()) == ["old.zarr", "old.zarr.v1-backup"]
    with pytest.raises(ArgumentError, match="version 2 already"):
        migrate_in_place(old)


def test_in_place_stopped_leaves_the_old_one_and_goes_on(old: Path) -> None:
    before = files_of(old)
    with pytest.raises(Stop):
        migrate_in_place(old, progress=stop_after(2))
    assert files_of(old) == before
    # The old program goes on meanwhile: what it has changed since is carried over again.
    with ZarrDataset(old, mode="r") as ds:
        first = ds.list_image_ids()[0]
    edit_json(old / "images" / first / ".zattrs", updated_utc="2026-06-06T00:00:00Z")
    shutil.rmtree(old / "images" / PLAIN)
    (old / "tables" / "Kym_events.parquet").unlink()
    report = migrate_in_place(old)
    assert report.ok
    assert first in {item.name for item in report.migrated}
    assert_same_dataset(old.with_name("old.zarr.v1-backup"), old)


def test_in_place_killed_between_the_two_renamings_goes_on(old: Path) -> None:
    migrate_in_place(old)
    old.rename(old.with_name("old.zarr.migrating"))
    with pytest.raises(DatasetNotFoundError):
        ZarrDataset(old, mode="r")
    report = migrate_in_place(old)
    assert report.ok
    assert not report.migrated
    assert_same_dataset(old.with_name("old.zarr.v1-backup"), old)


def test_in_place_renames_nothing_if_an_image_cannot_be_read(old: Path) -> None:
    for chunk in (old / "images" / KYMOGRAPH / "data").glob("[0-9]*"):
        chunk.write_bytes(b"garbage")
    before = files_of(old)
    report = migrate_in_place(old)
    assert [item.name for item in report.failed] == [KYMOGRAPH]
    assert report.backup is None
    assert report.new.endswith(".migrating")
    assert files_of(old) == before
    assert not old.with_name("old.zarr.v1-backup").exists()


def test_in_place_refuses_names_that_are_taken(old: Path) -> None:
    old.with_name("old.zarr.v1-backup").mkdir()
    before = files_of(old)
    with pytest.raises(TargetExistsError, match="v1-backup"):
        migrate_in_place(old)
    old.with_name("old.zarr.v1-backup").rmdir()
    ZarrDataset(old.with_name("old.zarr.migrating"), mode="w-")
    with pytest.raises(DatasetExistsError, match="another dataset"):
        migrate_in_place(old)
    assert files_of(old) == before


def test_wrong_calls_change_nothing(old: Path, tmp_path: Path) -> None:
    other = write_v1(tmp_path / "other.zarr")
    edit_json(other / ".zattrs", created_utc="2020-01-01T00:00:00Z")
    new = tmp_path / "new.zarr"
    migrate_dataset(other, new)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    before = files_of(tmp_path)
    with pytest.raises(ArgumentError, match="version 2 already"):
        migrate_dataset(new, tmp_path / "third.zarr")
    with pytest.raises(DatasetNotFoundError):
        migrate_dataset(tmp_path / "nothing", tmp_path / "third.zarr")
    for target in (old, old / "new.zarr", tmp_path):
        with pytest.raises(ArgumentError, match="beside"):
            migrate_dataset(old, target)
    for target in (new, other):
        with pytest.raises(DatasetExistsError):
            migrate_dataset(old, target)
    with pytest.raises(SchemaValidationError):
        migrate_dataset(old, tmp_path / "folder")
    assert files_of(tmp_path) == before


def test_files_without_a_place_in_version_2_are_preserved_and_reported(
    old: Path, tmp_path: Path
) -> None:
    line = old / "images" / KYMOGRAPH
    edit_json(line / ".zattrs", operator="Ada", gain=[1, None])
    (line / "data" / ".zattrs").write_text('{"lut": "fire"}')
    (line / "analysis" / "notes.txt").write_text("a note")
    (line / "analysis" / "broken.json").write_text("{")
    (line / "analysis" / "metadata.json.gz").write_bytes(gzip.compress(b'{"older": 1}'))
    (old / "README.txt").write_text("read me")
    (old / "tables" / "con.parquet").write_bytes(b"old")
    add_image(old, "con", LINES, ["y", "x"])
    new = tmp_path / "new.zarr"
    report = migrate_dataset(old, new)
    assert [(item.kind, item.name) for item in report.failed] == [("image", "con")]
    notes = {item.name: item.reason or "" for item in report.migrated}
    assert "broken" in notes[KYMOGRAPH]
    assert "v1_attributes" in notes[KYMOGRAPH]
    assert "v1_files" in notes["README.txt"]
    assert "v1_files" in notes["tables/con.parquet"]
    with ZarrDataset(new, mode="r") as ds:
        kept = ds[KYMOGRAPH].load_json("v1_attributes")
        assert kept[".zattrs"]["operator"] == "Ada"
        assert kept[".zattrs"]["gain"] == [1, None]
        assert kept["data/.zattrs"] == {"lut": "fire"}
        assert set(kept) == {".zattrs", "data/.zattrs"}
        assert ds[KYMOGRAPH].load_metadata_payload() == PAYLOAD
        warned = {p.where for p in ds.validate().problems if p.code == "foreign-file"}
        assert warned == {"v1_files", f"images/{KYMOGRAPH}/v1_files"}
    files = new / "images" / KYMOGRAPH / "v1_files" / "analysis"
    assert (files / "notes.txt").read_text() == "a note"
    assert (files / "broken.json").read_text() == "{"
    assert gzip.decompress((files / "metadata.json.gz").read_bytes()) == b'{"older": 1}'
    assert (new / "v1_files" / "README.txt").read_text() == "read me"
    assert (new / "v1_files" / "tables" / "con.parquet").read_bytes() == b"old"
    assert not migrate_dataset(old, new).migrated


def test_names_that_nest_come_over(old: Path, tmp_path: Path) -> None:
    add_array(old / "images" / STACK, "roi/Mask 1", MASK, ["y", "x"])
    assert migrate_dataset(old, tmp_path / "new.zarr").ok
    for root in (old, tmp_path / "new.zarr"):
        with ZarrDataset(root, mode="r") as ds:
            assert ds[STACK].list_array_artifacts() == ["roi/Mask 1"]
            assert np.array_equal(ds[STACK].load_array_artifact("roi/Mask 1"), MASK)


def test_json_that_is_not_strict_is_rewritten_and_the_rest_stays_as_it_is(
    old: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new.zarr"
    migrate_dataset(old, new)
    before, now = (root / "images" / KYMOGRAPH / "analysis" for root in (old, new))
    assert (before / "metadata.json").read_bytes() == (now / "metadata.json").read_bytes()
    [nested] = (now / "nested").iterdir()
    assert "NaN" not in json.loads(nested.read_text(), parse_constant=lambda c: c).values()


DTYPES = st.sampled_from(["|b1", "<u2", ">u2", "<i8", "<f4", ">f8", "<c8", "|u1", "<f2"])
AXES = st.permutations("tczyx").flatmap(
    lambda names: st.integers(2, 5).map(lambda ndim: names[:ndim])
)


@settings(max_examples=25)
@given(dtype=DTYPES, axes=AXES, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_any_image_comes_over_with_its_bits(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: str,
    axes: list[str],
    seed: int,
    data: st.DataObject,
) -> None:
    root = tmp_path_factory.mktemp("any")
    shape = tuple(data.draw(st.integers(1, 5)) for _ in axes)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    pixels = (raw % 2 == 0) if dtype == "|b1" else raw.view(dtype)
    pixels = pixels.reshape(shape)
    old = root / "old.zarr"
    old.mkdir()
    (old / ".zgroup").write_text('{"zarr_format": 2}')
    (old / ".zattrs").write_text(json.dumps({"format": "kymflow_zarr_v1", "created_utc": CREATED}))
    add_image(old, "Bild ü", pixels, axes)
    assert migrate_dataset(old, root / "new.zarr").ok
    with ZarrDataset(root / "new.zarr", mode="r") as ds:
        found = ds["Bild ü"].load_array()
        assert found.tobytes() == pixels.astype(pixels.dtype.newbyteorder("=")).tobytes()
        assert ds["Bild ü"].get_axes() == list(axes)


def test_migrate_prints_what_became_of_it(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.zarr"
    code, text = run("migrate", old, new)
    assert code == 0
    assert text.startswith("5 migrated")
    code, text = run("migrate", old, new, "--json")
    document = json.loads(text)
    assert document["ok"]
    assert document["counts"] == {"migrated": 0, "unchanged": 5, "failed": 0}
    code, text = run("migrate", old, "--in-place")
    assert code == 0
    assert "old.zarr.v1-backup" in text
    assert_same_dataset(old.with_name("old.zarr.v1-backup"), old)


def test_migrate_wants_one_target_and_reports_failures(old: Path, tmp_path: Path) -> None:
    assert run("migrate", old)[0] == 2
    assert run("migrate", old, tmp_path / "new.zarr", "--in-place")[0] == 2
    (old / "images" / STACK / "data" / ".zarray").write_text("{}")
    code, text = run("migrate", old, "--in-place")
    assert code == 1
    assert f"failed image {STACK}" in text
    assert "is as it was" in text


def test_the_real_dataset_migrates(shared_data: Path, tmp_path: Path) -> None:
    old = shared_data / "v1_dataset.zarr"
    report: MigrationReport = migrate_dataset(old, tmp_path / "new.zarr")
    assert report.ok
    assert all(item.reason is None for item in report.items)
    assert_same_dataset(old, tmp_path / "new.zarr")
