"""A worklist is random, balanced, and the same again for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError, SourceFileError
from kymflow_zarr.types import WorklistLayout

CONDITIONS = ["control"] * 12 + ["drug"] * 6 + ["sham"] * 2
PINNED = ["i14", "i01", "i15", "i18"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for number, condition in enumerate(CONDITIONS):
            record = ds.add_image(np.zeros((2, 2), np.uint8), image_id=f"i{number:02d}")
            record.save_metadata_payload({"experiment_metadata": {"condition": condition}})
        yield ds


def conditions_of(ids: list[str]) -> Counter[str]:
    return Counter(CONDITIONS[int(image_id[1:])] for image_id in ids)


def test_each_condition_is_chosen_as_often_while_it_has_images_left(lab: ZarrDataset) -> None:
    for seed in range(20):
        assert set(conditions_of(lab.worklist(6, balance="condition", seed=seed)).values()) == {2}
    assert conditions_of(lab.worklist(12, balance=["condition"])) == {
        "control": 5, "drug": 5, "sham": 2,
    }  # fmt: skip
    assert len(set(lab.worklist(20, balance="condition"))) == 20


def test_the_same_seed_chooses_the_same_and_another_seed_others(lab: ZarrDataset) -> None:
    assert lab.worklist(5, seed=7) == lab.worklist(5, seed=7)
    assert len({tuple(lab.worklist(5, seed=seed)) for seed in range(10)}) == 10
    # Written down once, so that no version of the package or of Python changes a lab's choice.
    assert lab.worklist(4, balance="condition", seed=1) == PINNED


def test_every_image_can_be_chosen_and_the_order_reveals_no_condition(lab: ZarrDataset) -> None:
    lists = [lab.worklist(6, balance="condition", seed=seed) for seed in range(200)]
    assert set().union(*lists) == set(lab.list_image_ids())
    first = conditions_of([each[0] for each in lists])
    assert min(first.values()) > 40


def test_more_images_than_there_are_and_unknown_columns_are_refused(lab: ZarrDataset) -> None:
    with pytest.raises(ArgumentError, match="21 images are asked for, and there are 20"):
        lab.worklist(21)
    with pytest.raises(ArgumentError):
        lab.worklist(2, balance="conditon")
    assert len(lab.worklist(2, ids=["i00", "i19"])) == 2


# Saved lists and list files ----------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ZarrDataset]:
    """Six files in two folders, of two conditions."""
    for number in range(6):
        path = tmp_path / "lab" / ["ctrl", "drug"][number % 2] / f"f{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.full((4, 5), number, np.uint8))
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        ds.ingest_legacy_folder(tmp_path / "lab")
        yield ds


def paths_of(ds: ZarrDataset, ids: list[str]) -> list[str]:
    images = ds.images(["image_id", "rel_path"]).set_index("image_id")["rel_path"]
    return [images[image_id] for image_id in ids]


def test_a_list_is_saved_with_its_order_and_forgets_deleted_images(lab: ZarrDataset) -> None:
    lab.save_worklist("pilot", ["i05", "i01", "i09", "i01"])
    assert lab.load_worklist("pilot") == ["i05", "i01", "i09"]
    lab.delete_image("i01")
    assert lab.load_worklist("pilot") == ["i05", "i09"]
    with pytest.raises(FileNotFoundError, match=r"no worklist 'main'.*Saved: pilot"):
        lab.load_worklist("main")
    with pytest.raises(ArgumentError, match="no image 'i01'"):
        lab.save_worklist("pilot", ["i02", "i01"])
    assert lab.load_worklist("pilot") == ["i05", "i09"]


@pytest.mark.parametrize("layout", ["acqstore", "kymflow"])
def test_a_list_file_comes_back_as_the_same_list(
    folder: ZarrDataset, tmp_path: Path, layout: WorklistLayout
) -> None:
    chosen = folder.worklist(4, seed=3)
    path = tmp_path / "list.csv"
    folder.write_worklist(path, chosen, layout=layout)
    assert (
        path.read_text().splitlines()[0] == {"acqstore": "_rel_path", "kymflow": "rel_path"}[layout]
    )
    assert folder.read_worklist(path) == chosen


def test_a_list_by_groups_has_the_columns_of_acqstore(folder: ZarrDataset, tmp_path: Path) -> None:
    ids = folder.list_image_ids()
    by_path = dict(zip(paths_of(folder, ids), ids, strict=True))
    chosen = [by_path[p] for p in ("drug/f5.tif", "ctrl/f4.tif", "drug/f1.tif", "ctrl/f0.tif")]
    folder.write_worklist(tmp_path / "list.csv", chosen, by="parent_folder")
    assert (tmp_path / "list.csv").read_text() == (
        "_rel_path,_group,_random_order,_source_index\n"
        "ctrl/f4.tif,ctrl,0,2\nctrl/f0.tif,ctrl,1,0\n"
        "drug/f5.tif,drug,0,5\ndrug/f1.tif,drug,1,3\n"
    )
    assert folder.read_worklist(tmp_path / "list.csv") == [
        by_path[p] for p in ("ctrl/f4.tif", "ctrl/f0.tif", "drug/f5.tif", "drug/f1.tif")
    ]


def test_list_files_of_other_programs_are_read(folder: ZarrDataset, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(
        b"\xef\xbb\xbfFile Name,rel_path,accepted\r\nf3,drug\\f3.tif,True\r\nf2,f2.tif,False\r\n"
    )
    assert paths_of(folder, folder.read_worklist(path)) == ["drug/f3.tif", "ctrl/f2.tif"]
    path.write_text("_rel_path\ngone.tif\nctrl/f0.tif\n")
    with pytest.raises(ArgumentError, match=r"1 of 2 files .*'gone.tif'"):
        folder.read_worklist(path)
    found = folder.read_worklist(path, skip_missing=True)
    assert paths_of(folder, found) == ["ctrl/f0.tif"]
    for wrong in (b"name\nx\n", b"\xff\xfe\x00"):
        path.write_bytes(wrong)
        with pytest.raises(SourceFileError):
            folder.read_worklist(path)
    with pytest.raises(SourceFileError):
        folder.read_worklist(tmp_path / "nowhere.csv")


def test_an_image_without_a_file_is_on_no_list_file(lab: ZarrDataset, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'i03' comes from no file"):
        lab.write_worklist(tmp_path / "list.csv", ["i03"])
    assert not (tmp_path / "list.csv").exists()
