"""Datasets in one file, parts of datasets, and datasets that are put together."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from kymflow_zarr import RectRoi, ZarrDataset
from kymflow_zarr.errors import (
    ArgumentError,
    CorruptDataError,
    DatasetExistsError,
    ReadOnlyError,
    RecordExistsError,
    RecordNotFoundError,
    SchemaValidationError,
)
from tests.cli.run import run

PIXELS = np.arange(40 * 30, dtype="u2").reshape(40, 30)


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def lab(tmp_path: Path) -> ZarrDataset:
    ds = ZarrDataset(tmp_path / "lab.zarr")
    for number, name in enumerate("abc"):
        rec = ds.add_image(PIXELS + number, axes="yx", image_id=name)
        rec.save_rois([RectRoi(roi_id=1, x0=0, x1=4, y0=0, y1=4 + number)])
        rec.save_df_parquet("velocity", pd.DataFrame({"v": [1.0 * number]}))
        rec.save_array_artifact("mask", number < PIXELS)
    ds.save_table("events", pd.DataFrame({"image_id": list("aabc"), "t": [1, 2, 3, 4]}))
    ds.save_table("settings", pd.DataFrame({"key": ["k"], "value": [1]}))
    return ds


def test_a_packed_dataset_reads_like_the_one_it_was_made_of(
    lab: ZarrDataset, tmp_path: Path
) -> None:
    lab.pack(tmp_path / "lab.ozx")
    with ZarrDataset(tmp_path / "lab.ozx") as packed:
        assert packed.list_image_ids() == lab.list_image_ids()
        assert packed.list_table_names() == ["events", "settings"]
        rec = packed.record("c")
        assert np.array_equal(rec.load_array(), PIXELS + 2)
        assert np.array_equal(rec.load_array((slice(3, 5), slice(2))), PIXELS[3:5, :2] + 2)
        assert rec.load_rois() == lab.record("c").load_rois()
        assert rec.load_array_artifact("mask").sum() == (PIXELS > 2).sum()
        assert packed.gather("velocity")["v"].tolist() == [0, 1, 2]
        assert packed.sql("SELECT sum(t) AS t FROM events")["t"].tolist() == [10]
        assert packed.verify().ok
        assert packed.validate().ok
        assert pickle.loads(pickle.dumps(rec)).load_array()[0, 0] == 2


def test_a_packed_dataset_is_not_changed(lab: ZarrDataset, tmp_path: Path) -> None:
    file = tmp_path / "lab.ozx"
    lab.pack(file)
    before = file.read_bytes()
    with ZarrDataset(file) as packed:
        for change in (
            lambda: packed.add_image(PIXELS),
            lambda: packed.delete_image("a"),
            lambda: packed.record("a").save_json("x", 1),
            lambda: packed.save_table("t", pd.DataFrame({"a": [1]})),
        ):
            with pytest.raises(ReadOnlyError):
                change()
    for mode in ("r+", "w", "w-"):
        with pytest.raises(ArgumentError, match="can only be read"):
            ZarrDataset(file, mode=mode)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name[0] == "."] == []


def test_the_file_is_what_rfc_9_asks_for(lab: ZarrDataset, tmp_path: Path) -> None:
    lab.pack(tmp_path / "lab.ozx")
    with zipfile.ZipFile(tmp_path / "lab.ozx") as archive:
        entries = archive.infolist()
        comment = json.loads(archive.comment)
        assert archive.testzip() is None
    names = [entry.filename for entry in entries]
    assert names[:2] == ["zarr.json", "images/zarr.json"]
    documents = [name.endswith("zarr.json") for name in names]
    assert documents == sorted(documents, reverse=True)
    depths = [name.count("/") for name in names if name.endswith("zarr.json")]
    assert depths == sorted(depths)
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert comment["ome"] == {
        "version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": True}},
    }  # fmt: skip


def test_zarr_opens_a_packed_dataset(lab: ZarrDataset, tmp_path: Path) -> None:
    lab.pack(tmp_path / "lab.ozx")
    store = zarr.storage.ZipStore(tmp_path / "lab.ozx", mode="r")
    array = zarr.open_array(store, path="images/b/data", mode="r")
    assert np.array_equal(array[...], PIXELS + 1)
    store.close()


def test_validators_of_ome_zarr_accept_the_images_of_a_packed_dataset(tmp_path: Path) -> None:
    models: Any = pytest.importorskip("ome_zarr_models.v05")
    ngff: Any = pytest.importorskip("ngff_zarr.validate")
    yaozarrs: Any = pytest.importorskip("yaozarrs")
    ds = ZarrDataset(tmp_path / "lab.zarr", durability="relaxed")
    ds.add_image(np.zeros((2100, 2100), "u1"), image_id="large", pixel_size_um=0.5)
    small = ds.add_image(PIXELS, axes="yx", image_id="small")
    small.save_labels("cells", PIXELS // 100)
    ds.pack(tmp_path / "lab.ozx")
    store = zarr.storage.ZipStore(tmp_path / "lab.ozx", mode="r")
    levels = {}
    for path in ("images/large", "images/small", "images/small/labels/cells"):
        group = zarr.open_group(store, path=path, mode="r")
        ome = group.attrs.asdict()["ome"]
        # Reads the document of each array as well.
        image = models.image.Image.from_zarr(group)
        ngff.validate({"ome": ome}, version="0.5")
        levels[path] = len(image.attributes.ome.multiscales[0].datasets)
        assert len(yaozarrs.validate_ome_object(ome).multiscales[0].datasets) == levels[path]
    assert list(levels.values()) == [2, 1, 1]
    store.close()


def test_a_choice_of_images_is_packed_with_its_rows(lab: ZarrDataset, tmp_path: Path) -> None:
    lab.pack(tmp_path / "two.ozx", image_ids=["c", "a"])
    with ZarrDataset(tmp_path / "two.ozx") as packed:
        assert packed.list_image_ids() == ["a", "c"]
        assert packed.load_table("events")["t"].tolist() == [1, 2, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab.zarr", "two.ozx"]


def test_two_packs_of_one_dataset_are_the_same_bytes(lab: ZarrDataset, tmp_path: Path) -> None:
    lab.pack(tmp_path / "a.ozx")
    lab.pack(tmp_path / "b.ozx")
    assert (tmp_path / "a.ozx").read_bytes() == (tmp_path / "b.ozx").read_bytes()


def test_a_wrong_name_or_a_taken_one_is_refused(lab: ZarrDataset, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"ends in \.ozx"):
        lab.pack(tmp_path / "lab.zip")
    (tmp_path / "mine.ozx").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        lab.pack(tmp_path / "mine.ozx")
    assert (tmp_path / "mine.ozx").read_bytes() == b"mine"
    with pytest.raises(RecordNotFoundError):
        lab.pack(tmp_path / "other.ozx", image_ids=["nothing"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab.zarr", "mine.ozx"]


@pytest.mark.parametrize(
    ("name", "compression", "says"),
    [
        ("../outside", zipfile.ZIP_STORED, "leads out of it"),
        ("/etc/passwd", zipfile.ZIP_STORED, "leads out of it"),
        ("images/a", zipfile.ZIP_DEFLATED, "is compressed"),
    ],
)
def test_entries_that_could_harm_are_refused(
    tmp_path: Path, name: str, compression: int, says: str
) -> None:
    with zipfile.ZipFile(tmp_path / "bad.ozx", "w") as archive:
        archive.writestr(name, b"0" * 100, compress_type=compression)
    with pytest.raises(SchemaValidationError, match=says):
        ZarrDataset(tmp_path / "bad.ozx")


def test_a_damaged_file_is_named(lab: ZarrDataset, tmp_path: Path) -> None:
    file = tmp_path / "lab.ozx"
    file.write_bytes(b"no zip")
    with pytest.raises(SchemaValidationError, match="is no packed dataset"):
        ZarrDataset(file)
    file.unlink()
    lab.pack(file)
    data = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        info = next(i for i in archive.infolist() if i.filename.startswith("images/a/data/c"))
    data[info.header_offset + 60 + len(info.filename)] ^= 1
    file.write_bytes(data)
    with ZarrDataset(file) as packed:
        assert not packed.verify().ok
        with pytest.raises(CorruptDataError):
            packed.record("a").load_array()


def test_a_subset_has_all_that_belongs_to_its_images(lab: ZarrDataset, tmp_path: Path) -> None:
    lab.subset(["b"], tmp_path / "one.zarr")
    with ZarrDataset(tmp_path / "one.zarr") as one:
        assert one.list_image_ids() == ["b"]
        assert one.dataset_id != lab.dataset_id
        assert one.load_table("events")["t"].tolist() == [3]
        assert one.load_table("settings").equals(lab.load_table("settings"))
        assert one.verify().ok
        assert one.validate().ok
        assert bytes_of(one.path / "images" / "b") == bytes_of(lab.path / "images" / "b")
        one.record("b").save_json("note", "mine")
    root = json.loads((tmp_path / "one.zarr" / "zarr.json").read_text())
    origin = root["attributes"]["kymflow_zarr_subset"]
    assert (origin["dataset_id"], origin["image_ids"]) == (lab.dataset_id, ["b"])


def test_a_subset_of_what_is_not_there_writes_nothing(lab: ZarrDataset, tmp_path: Path) -> None:
    with pytest.raises(RecordNotFoundError):
        lab.subset(["a", "z"], tmp_path / "one.zarr")
    assert not (tmp_path / "one.zarr").exists()
    with pytest.raises(DatasetExistsError):
        lab.subset(["a"], lab.path)
    with pytest.raises(ArgumentError, match="is one text"):
        lab.subset("abc", tmp_path / "one.zarr")


def test_datasets_that_are_merged_have_the_images_of_both(lab: ZarrDataset, tmp_path: Path) -> None:
    lab.subset(["a"], tmp_path / "first.zarr")
    lab.subset(["b", "c"], tmp_path / "rest.zarr")
    with ZarrDataset(tmp_path / "first.zarr") as first, ZarrDataset(tmp_path / "rest.zarr") as rest:
        assert first.merge(rest) == ["b", "c"]
        assert first.list_image_ids() == ["a", "b", "c"]
        assert sorted(first.load_table("events")["t"]) == [1, 2, 3, 4]
        assert np.array_equal(first.record("c").load_array(), PIXELS + 2)
        assert first.verify().ok
        with pytest.raises(RecordExistsError, match="both datasets have 2 images"):
            first.merge(rest)
        assert len(first) == 3


def test_the_command_packs_and_the_others_read_the_file(lab: ZarrDataset, tmp_path: Path) -> None:
    packed = run("pack", lab.path, tmp_path / "lab.ozx")
    assert (packed.exit_code, packed.output.startswith("3 images in")) == (0, True)
    for command in ("ls", "validate", "verify"):
        assert run(command, tmp_path / "lab.ozx").exit_code == 0
