"""Metadata from a sheet: what is wrong is refused by cell, the rest is one commit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError, SourceFileError
from tests.cli.run import run

FIELDS: dict[str, Any] = {
    "condition": {"choices": ["Control", "Drug"], "required": True},
    "depth": {"type": "number", "unit": "um"},
    "born": {"type": "date"},
    "awake": {"type": "flag"},
}


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for image_id in ("a1", "a2", "b1"):
            ds.add_image(np.zeros((4, 4), np.uint8), image_id=image_id)
        yield ds


def metadata_of(ds: ZarrDataset, image_id: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = ds[image_id].load_metadata_payload()["experiment_metadata"]
    except FileNotFoundError:
        return {}
    return found


def test_a_sheet_is_one_commit_that_can_be_undone(ds: ZarrDataset, tmp_path: Path) -> None:
    sheet = tmp_path / "animals.csv"
    sheet.write_text(
        "file,condition,animal,depth\na1,Control,007,40\na2,Drug,008,\n\nb1,Drug,009,55.5\n"
    )
    report = ds.import_metadata(sheet, key="file", who="ada")
    assert (report.n_images, report.n_values, report.refused) == (3, 8, ())
    assert metadata_of(ds, "a1") == {"condition": "Control", "animal": "007", "depth": 40}
    assert metadata_of(ds, "a2") == {"condition": "Drug", "animal": "008"}
    assert ds.images(["animal"])["animal"].tolist() == ["007", "008", "009"]
    assert set(ds.history()["edit_id"]) == {report.edit_id}
    assert ds.import_metadata(sheet).edit_id is None
    assert ds.validate().ok
    assert report.edit_id is not None
    ds.undo(report.edit_id)
    assert [metadata_of(ds, image_id) for image_id in ds] == [{}, {}, {}]


def test_what_is_wrong_is_refused_by_cell_and_the_rest_is_taken(ds: ZarrDataset) -> None:
    ds.save_metadata_fields(FIELDS)
    sheet = pd.DataFrame(
        [
            ["a1", "Drug", "12,5", "2026-05-31", "yes"],
            ["a2", "drug", 30, "31.5.2026", "perhaps"],
            ["b1", "", "inf", None, False],
            ["nobody", "Drug", 1, None, None],
            ["a1", "Control", None, None, None],
            ["", "Drug", None, None, None],
        ],
        columns=["image", "condition", "depth", "born", "awake"],
    )
    before = ds.import_metadata(sheet, dry_run=True)
    report = ds.import_metadata(sheet)
    assert [(c.row, c.column) for c in report.refused] == [
        (2, "depth"), (3, "condition"), (3, "born"), (3, "awake"), (4, "condition"), (4, "depth"),
        (5, "image"), (6, "condition"), (7, "image"),
    ]  # fmt: skip
    reasons = [str(cell) for cell in report.refused]
    assert reasons[0] == "row 2, depth: '12,5' is no number; the decimal sign is a point"
    assert "none of the choices, which are Control, Drug" in reasons[1]
    assert "another row says something else" in reasons[7]
    assert metadata_of(ds, "a1") == {"condition": "Drug", "born": "2026-05-31", "awake": True}
    assert metadata_of(ds, "a2") == {"depth": 30}
    assert metadata_of(ds, "b1") == {"awake": False}
    assert (before.n_values, before.edit_id) == (report.n_values, None)
    deviations = ds.check_metadata()
    assert deviations[["image_id", "field"]].to_numpy().tolist() == [
        ["a2", "condition"], ["b1", "condition"],
    ]  # fmt: skip


def test_an_excel_sheet_is_read_as_it_is_typed(ds: ZarrDataset, tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (
        ["image", "weight", "condition", "cage"],
        ["a1", 21.5, 7, "03"],
        ["b1", 20, None, 4],
    ):
        book.active.append(row)
    book.save(tmp_path / "x.xlsx")
    assert ds.import_metadata(tmp_path / "x.xlsx").refused == ()
    # A condition is text in the payload, whatever Excel takes it for.
    assert metadata_of(ds, "a1") == {"weight": 21.5, "condition": "7", "cage": "03"}
    assert metadata_of(ds, "b1") == {"weight": 20, "cage": "4"}


def test_conditions_come_from_the_names_of_folders(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    for folder in ("Control/A87", "Drug/A90"):
        (tmp_path / "lab" / folder).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "lab" / folder / "1.tif", np.zeros((4, 4), np.uint8))
    with ZarrDataset(tmp_path / "x.zarr", durability="relaxed") as ds:
        ds.ingest_legacy_folder(tmp_path / "lab")
        ds.import_metadata(ds.folder_sheet(["condition", "animal"]))
        images = ds.images(["condition", "animal"])
        assert sorted(map(tuple, images.to_numpy().tolist())) == [
            ("Control", "A87"), ("Drug", "A90"),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", SourceFileError), ("image,image\na1,b\n", ArgumentError),
        ("image,\na1,b\n", ArgumentError), ("image,c\na1,b,d\n", SourceFileError),
    ],
)  # fmt: skip
def test_a_sheet_that_cannot_be_understood_changes_nothing(
    ds: ZarrDataset, tmp_path: Path, text: str, error: type[Exception]
) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(error):
        ds.import_metadata(tmp_path / "s.csv")
    with pytest.raises(ArgumentError):
        ds.import_metadata(tmp_path / "s.docx")
    assert len(ds.history()) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"a": {"type": "colour"}},
        {"a": {"unitt": "um"}},
        {"a": {"type": "number", "choices": ["x"]}},
    ],
)
def test_fields_that_mean_nothing_are_refused(ds: ZarrDataset, fields: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        ds.save_metadata_fields(fields)
    assert ds.load_metadata_fields() == {}


def test_200_pasted_rows_cost_one_commit(ds: ZarrDataset) -> None:
    for number in range(197):
        ds.add_image(np.zeros((2, 2), np.uint8), image_id=f"n{number:03}")
    sheet = pd.DataFrame({"image": list(ds), "condition": ["Drug", "Control"] * 100})
    report = ds.import_metadata(sheet)
    assert (report.n_images, ds.history()["edit_id"].nunique()) == (200, 1)
    assert ds["n000"].curation().history[0].n_images == 200


def test_the_command_names_the_cells_it_refuses(ds: ZarrDataset, tmp_path: Path) -> None:
    (tmp_path / "fields.json").write_text(json.dumps(FIELDS))
    (tmp_path / "s.csv").write_text("image\tcondition\na1\tDrug\na2\tdrug\n")
    told = run("metadata", ds.path, tmp_path / "s.csv", "--fields", tmp_path / "fields.json")
    assert told.exit_code == 1
    assert told.stdout.splitlines()[0] == "1 values of 1 images, 1 refused"
    assert "row 3, condition: 'drug' is none of the choices" in told.stdout
    listed = run("metadata", ds.path, "--json")
    assert listed.exit_code == 1
    assert [row["image_id"] for row in json.loads(listed.stdout)] == ["a2", "b1"]
    assert run("metadata", ds.path, "--folders", "cage").exit_code == 0
