"""Images are called by the names of their files, wherever that is not ambiguous."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError, RecordNotFoundError
from tests.cli.run import json_of, one_error_line, run

FILES = ["A/cap_2.tif", "A/cap_10.tif", "B/cap_2.tif", "B/veins.ome.tif"]


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Four files, two of one name, and an image that is from no file."""
    for number, name in enumerate(FILES):
        file = tmp_path / "lab" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, np.full((6, 8), number, np.uint8))
    path = tmp_path / "x.zarr"
    with ZarrDataset(path, "w-", durability="relaxed") as ds:
        ds.ingest_legacy_folder(tmp_path / "lab")
        ds.add_image(np.zeros((4, 4), np.uint8), image_id="by-hand")
    return path


def value_of(ds: ZarrDataset, text: str) -> int:
    return int(ds.find(text).load_array()[0, 0])


def test_an_image_is_called_by_its_file_then_its_folder_then_its_id(lab: Path) -> None:
    with ZarrDataset(lab, "r") as ds:
        names = ds.image_names()
        assert sorted(names.values()) == [
            "A/cap_2.tif", "B/cap_2.tif", "by-hand", "cap_10.tif", "veins.ome.tif",
        ]  # fmt: skip
        for image_id, name in names.items():
            assert ds.find(name).image_id == image_id
            assert ds.find(image_id).image_id == image_id
            assert ds.find(image_id[:6]).image_id == image_id
        assert value_of(ds, "cap_10") == 1
        assert value_of(ds, "B/cap_2.tif") == 2
        assert value_of(ds, "veins") == 3
        with pytest.raises(ArgumentError, match=r"2 images are called .*A/cap_2\.tif"):
            ds.find("cap_2.tif")
        with pytest.raises(RecordNotFoundError, match="no image is called 'cap_3'"):
            ds.find("cap_3")


def test_images_of_one_file_are_distinguished_by_their_series(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr", "w-") as ds:
        for image_id in ("aaaaaaaabbbb", "aaaaaaaacccc"):
            record = ds.add_image(np.zeros((4, 4), np.uint8), image_id=image_id)
            record.save_json("provenance", {"original_path": "C:\\data\\scan.oir"})
        assert ds.image_names() == {
            "aaaaaaaabbbb": "scan.oir [aaaaaaaab]",
            "aaaaaaaacccc": "scan.oir [aaaaaaaac]",
        }


def test_commands_take_names(lab: Path) -> None:
    assert json_of(run("show", lab, "cap_10.tif", "--json"))["shape"] == [6, 8]
    assert "B/cap_2.tif" in one_error_line(run("show", lab, "cap_2.tif"))
    listed = run("ls", lab, "--ids", "A/cap_2.tif,veins").stdout
    assert "A/cap_2.tif" in listed
    assert "veins.ome.tif" in listed
    assert "cap_10" not in listed


def test_the_list_is_printed_as_csv(lab: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("ls", lab, "--csv", "--ids", "cap_10").stdout)))
    assert [row["rel_path"] for row in rows] == ["A/cap_10.tif"]
    assert rows[0]["dtype"] == "uint8"


def test_some_images_are_exported_or_deleted(lab: Path, tmp_path: Path) -> None:
    assert run("export", lab, tmp_path / "out", "--where", "parent_folder=B").exit_code == 0
    with ZarrDataset(lab, "r") as ds:
        wanted = {ds.find("B/cap_2.tif").image_id, ds.find("veins").image_id}
    assert {folder.name for folder in (tmp_path / "out" / "images").iterdir()} == wanted
    back = tmp_path / "back"
    assert run("export", lab, back, "--layout", "kymflow", "--ids", "cap_10").exit_code == 0
    tiffs = [path.relative_to(back).as_posix() for path in back.rglob("*.tif")]
    assert tiffs == ["A/cap_10.tif"]
    refused = run("delete", lab, "--ids", "cap_10,veins")
    assert "cap_10.tif, veins.ome.tif" in refused.stdout
    with ZarrDataset(lab, "r") as ds:
        assert len(ds) == 5
    assert "deleted 2 images" in run("delete", lab, "--ids", "cap_10,veins", "--yes").stdout
    with ZarrDataset(lab, "r") as ds:
        assert sorted(ds.image_names().values()) == ["A/cap_2.tif", "B/cap_2.tif", "by-hand"]
    assert run("delete", lab).exit_code == 2


def test_info_says_what_is_in_a_dataset_and_who_judged(lab: Path) -> None:
    with ZarrDataset(lab, "r+") as ds, ds.find("cap_10").edit(who="maria") as edit:
        edit.set_verdict("accepted")
    facts = json_of(run("info", lab, "--json"))
    assert facts["images"] == 5
    assert facts["verdicts"] == {"accepted": 1, "rejected": 0, "undecided": 4}
    assert facts["judged_by"] == {"maria": 1}
    assert "maria: 1" in run("info", lab).stdout
