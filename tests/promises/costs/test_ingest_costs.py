"""How often ingest and export open, parse and sync, whatever the number of images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.csv
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.storage.local.disk import disk_replaced
from kymflow_zarr.testing import SyntheticVessel, write_experiment
from tests.helpers.opened_files import OpenedFiles
from tests.promises.costs.test_costs import CountingDisk


@pytest.fixture(scope="module")
def opened() -> OpenedFiles:
    return OpenedFiles()


def write_lab(folder: Path, images: int) -> Path:
    """Write analyzed kymographs in one folder, with pooled tables and a file of no image."""
    vessels = [
        SyntheticVessel(name=f"v{number}", condition="Control", n_lines=400, seed=number)
        for number in range(images)
    ]
    write_experiment(folder, vessels=vessels)
    (folder / "kym_event_db.csv").write_text("rel_path,strength\nControl/v0.tif,1\n")
    (folder / "notes.docx").write_bytes(b"notes")
    return folder


@contextmanager
def calls_of(module: object, name: str) -> Iterator[list[object]]:
    """Collect the first argument of each call of a function of a module."""
    calls: list[object] = []
    real = getattr(module, name)

    def counting(*args: object, **kwargs: object) -> object:
        calls.append(args[0])
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, counting)
        yield calls


def test_ingest_opens_each_file_once_and_parses_each_table_and_document_once(
    tmp_path: Path, ds: ZarrDataset, opened: OpenedFiles
) -> None:
    lab = write_lab(tmp_path / "lab", 3)
    with (
        opened.below(lab) as paths,
        calls_of(pyarrow.csv, "read_csv") as tables,
        calls_of(json, "loads") as documents,
    ):
        ds.ingest_legacy_folder(lab)
    assert {path for path in lab.rglob("*") if path.is_file()} == set(paths)
    assert max(Counter(path for path in paths if path.suffix != ".tif").values()) == 1
    assert len(tables) == len(list(lab.rglob("*.csv")))
    given = Counter(path.read_bytes() for path in lab.rglob("*.json"))  # Some are alike.
    assert Counter(data for data in documents if data in given) == given


def test_an_image_costs_the_same_syncs_in_a_folder_of_few_and_of_many(tmp_path: Path) -> None:
    changes = []
    for images in (2, 4, 6):
        lab = write_lab(tmp_path / f"lab {images}", images)
        disk = CountingDisk()
        with ZarrDataset(tmp_path / f"{images}.zarr") as ds, disk_replaced(disk):
            ds.ingest_legacy_folder(lab)
        changes.append(Counter(disk.changes))
    few, more, many = changes
    assert more - few == many - more
    # One image has some twenty files: each is written and synced once, and moved with its folder.
    each = many - more
    assert each["sync"] == each["create"]
    assert each["rename_folder"] == 2
    assert each["replace"] == 0


def test_all_that_belongs_to_no_image_is_one_commit(tmp_path: Path) -> None:
    changes = []
    for days in (1, 5):
        lab = tmp_path / f"lab {days}"
        for day in range(days):
            (lab / f"{day}").mkdir(parents=True)
            (lab / f"{day}" / "kym_event_db.csv").write_text(f"rel_path,v\na.tif,{day}\n")
            (lab / f"{day}" / "notes.docx").write_text(f"{day}")
        disk = CountingDisk()
        with ZarrDataset(tmp_path / f"{days}.zarr") as ds, disk_replaced(disk):
            ds.ingest_legacy_folder(lab)
        changes.append(Counter(disk.changes))
    few, many = changes
    # A journal is created, and unlinked when all files are in their places.
    assert few["unlink"] == many["unlink"]
    assert many["replace"] - few["replace"] == 3 * 4
    assert many["create"] - few["create"] == 3 * 4


def test_export_opens_each_source_file_once(
    tmp_path: Path, ds: ZarrDataset, opened: OpenedFiles
) -> None:
    ds.ingest_legacy_folder(write_lab(tmp_path / "lab", 2))
    with opened.below(ds.path) as paths:
        ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    kept = [path for path in paths if "source_files" in path.parts and path.suffix == ".gz"]
    assert set(kept) == set(ds.path.rglob("source_files/*.gz"))
    assert max(Counter(kept).values()) == 1
