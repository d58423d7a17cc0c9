"""Repair: what is broken is restored or quarantined, and everything else stays as it is."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import KymflowZarrError, RepairReport, ZarrDataset
from kymflow_zarr.errors import FormatVersionError, ReadOnlyError, StorageError
from kymflow_zarr.storage.local.disk import Disk, disk_replaced
from kymflow_zarr.types import StrPath
from tests.helpers.v1_dataset import write_v1
from tests.helpers.whole_dataset import PIXELS, files_below, values_of, write_whole

LINE = "images/line"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_whole(folder / "whole.zarr", folder / "source")
    return folder


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole / "whole.zarr", tmp_path / "copy.zarr"))


@pytest.fixture(scope="module")
def scan(whole: Path) -> str:
    """Key of the image that was ingested."""
    with ZarrDataset(whole / "whole.zarr", mode="r") as ds:
        return next(f"images/{image_id}" for image_id in ds if image_id != "line")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def repair(root: Path) -> RepairReport:
    """Repair, and see that nothing is left to do."""
    with ZarrDataset(root, mode="r+", durability="relaxed") as ds:
        done = ds.repair()
        assert ds.verify().errors == ()
        assert ds.repair().actions == ()
    return done


def data_of(root: Path) -> dict[str, bytes]:
    own = ("quarantine/", ".kymflow_zarr/")
    return {k: v for k, v in files_below(root).items() if not k.startswith(own)}


def test_nothing_is_done_to_a_whole_dataset(root: Path) -> None:
    before = files_below(root)
    with ZarrDataset(root, mode="r+") as ds:
        assert ds.repair().actions == ()
        assert str(ds.repair()) == "nothing to repair"
    assert files_below(root) == before


def test_a_plan_changes_nothing(root: Path) -> None:
    flip(root / LINE / "analysis/metadata.json")
    flip(root / "tables/events.parquet")
    before = files_below(root)
    with ZarrDataset(root, mode="r") as ds:
        report = ds.repair(dry_run=True)
        assert [(a.kind, a.where) for a in report.actions] == [
            ("quarantine", f"{LINE}/analysis/metadata.json"),
            ("quarantine", "tables/events.parquet"),
        ]
        with pytest.raises(ReadOnlyError):
            ds.repair()
    assert files_below(root) == before


@pytest.mark.parametrize(
    "key",
    [
        "data/c/0/0", "data/zarr.json", "analysis/tiff.json", "analysis/metadata.json",
        "analysis/provenance.json", "analysis/note.json", "source_files/scan.note.json.gz",
    ],
)  # fmt: skip
@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_what_was_made_of_a_file_is_made_of_it_again(
    root: Path, scan: str, key: str, damage: Callable[[Path], object]
) -> None:
    before = data_of(root)
    damage(root / scan / key)
    report = repair(root)
    assert [(a.kind, a.where) for a in report.actions] == [("restore", f"{scan}/{key}")]
    assert report.ok
    assert data_of(root) == before


def test_a_source_that_has_changed_restores_nothing(whole: Path, tmp_path: Path) -> None:
    write_whole(tmp_path / "a.zarr", tmp_path / "source")
    flip(tmp_path / "source" / "scan.tif")
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        scan = next(image_id for image_id in ds if image_id != "line")
        flip(tmp_path / f"a.zarr/images/{scan}/data/c/0/0")
        report = ds.repair()
        assert [(a.kind, a.where) for a in report.actions] == [("quarantine", f"images/{scan}")]
        assert ds.list_image_ids() == ["line"]
        assert ds.verify().ok


def test_edited_pixels_are_not_replaced_by_those_of_the_source(root: Path, scan: str) -> None:
    with ZarrDataset(root) as ds:
        path = ds[scan.partition("/")[2]].save_array(PIXELS + 1)
    flip(root / path / "c/0/0")
    report = repair(root)
    assert [(a.kind, a.where) for a in report.actions] == [("quarantine", scan)]


def test_a_broken_artifact_goes_alone_and_says_why(root: Path) -> None:
    before = data_of(root)
    key = f"{LINE}/analysis/flow/velocity.parquet"
    flip(root / key)
    broken = (root / key).read_bytes()
    [action] = repair(root).actions
    assert action.kind == "quarantine"
    assert action.image_id == "line"
    assert action.quarantined_as is not None
    assert (root / action.quarantined_as).read_bytes() == broken
    box = root.joinpath(*Path(action.quarantined_as).parts[:2])
    [why] = json.loads((box / "why.json").read_text())["put_aside"]
    assert (why["key"], why["what"], why["image_id"]) == (key, "quarantine", "line")
    assert "parquet artifact 'flow/velocity'" in why["why"]
    after = data_of(root)
    changed = {key, f"{LINE}/checksums.sha256"}
    assert {k: v for k, v in after.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }
    with ZarrDataset(root, mode="r") as ds:
        assert ds["line"].load_json("flow/Summary").keys() == {"mean"}
        assert "quarantine" in [damage.code for damage in ds.verify().warnings]
        assert "quarantine" in [problem.code for problem in ds.validate().warnings]
        assert ds.validate().ok


@pytest.mark.parametrize("key", ["zarr.json", "data/c/0/0", "data/zarr.json"])
def test_an_image_without_its_pixels_goes_as_a_whole(root: Path, key: str) -> None:
    held = files_below(root / LINE)
    (root / LINE / key).unlink()
    [action] = repair(root).actions
    assert (action.kind, action.where) == ("quarantine", LINE)
    del held[key]
    assert action.quarantined_as is not None
    assert files_below(root / action.quarantined_as) == held
    with ZarrDataset(root, mode="r") as ds:
        assert "line" not in ds
        assert len(ds) == 1
        ds.load_table("events")


def test_one_missing_chunk_takes_the_array_artifact_along(root: Path) -> None:
    (root / LINE / "analysis_arrays/mask/data/c/0/0").unlink()
    [action] = repair(root).actions
    assert action.where == f"{LINE}/analysis_arrays/mask"
    with ZarrDataset(root, mode="r") as ds:
        assert ds["line"].list_array_artifacts() == []
        np.testing.assert_array_equal(ds["line"].load_array(), PIXELS)


def test_missing_files_are_reported_as_lost(root: Path) -> None:
    (root / LINE / "analysis/flow/velocity.csv.gz").unlink()
    report = repair(root)
    assert [(a.kind, a.where) for a in report.lost] == [
        ("lost", f"{LINE}/analysis/flow/velocity.csv.gz")
    ]
    assert not report.ok
    [why] = (root / "quarantine").rglob("why.json")
    assert json.loads(why.read_text())["put_aside"][0]["what"] == "lost"


def test_a_foreign_file_where_readers_look_goes_to_quarantine(root: Path) -> None:
    (root / LINE / "analysis/mine.json").write_text("{}")
    (root / LINE / "notes.txt").write_text("mine")
    [action] = repair(root).actions
    assert (action.kind, action.where) == ("quarantine", f"{LINE}/analysis/mine.json")
    assert (root / LINE / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_lists_of_checksums_are_rebuilt(
    root: Path, scan: str, damage: Callable[[Path], object]
) -> None:
    before = data_of(root)
    for folder in ("", LINE, scan):
        damage(root / folder / "checksums.sha256")
    report = repair(root)
    assert [a.kind for a in report.actions] == ["relist"] * 3
    assert data_of(root) == before


def test_without_a_list_the_documents_show_what_is_whole(root: Path, scan: str) -> None:
    before = data_of(root)
    (root / scan / "checksums.sha256").unlink()
    flip(root / scan / "data/c/0/0")
    flip(root / scan / "source_files/scan.note.json.gz")
    (root / LINE / "checksums.sha256").unlink()
    flip(root / LINE / "analysis/flow/velocity.csv.gz")
    flip(root / LINE / "analysis_arrays/mask/data/c/0/0")
    report = repair(root)
    assert {a.where for a in report.restored} == {
        f"{scan}/data/c/0/0", f"{scan}/source_files/scan.note.json.gz"
    }  # fmt: skip
    assert {a.where for a in report.quarantined} == {
        f"{LINE}/analysis/flow/velocity.csv.gz", f"{LINE}/analysis_arrays/mask"
    }  # fmt: skip
    after = data_of(root)
    assert {k: v for k, v in after.items() if k.startswith(scan)} == {
        k: v for k, v in before.items() if k.startswith(scan)
    }


def test_the_top_is_mended(root: Path) -> None:
    before = data_of(root)
    flip(root / "images/zarr.json")
    flip(next((root / "source_files").glob("*.gz")))
    flip(root / "index/images.parquet")
    report = repair(root)
    assert {a.kind for a in report.actions} == {"rebuild", "restore"}
    del before["index/images.parquet"]
    assert data_of(root) == before


def test_leftovers_of_dead_writers_are_swept(root: Path) -> None:
    dead = root / ".kymflow_zarr/sessions" / ("0" * 32)
    dead.mkdir(parents=True)
    (dead / "half").write_bytes(b"x")
    (root / f".tmp-{'0' * 32}").write_bytes(b"x")
    with ZarrDataset(root, mode="r") as ds:
        kinds = [action.kind for action in ds.repair(dry_run=True).actions]
        assert kinds == ["sweep", "sweep"]
    repair(root)
    assert not dead.exists()
    assert not (root / f".tmp-{'0' * 32}").exists()


def test_version_1_is_refused_by_name(tmp_path: Path) -> None:
    write_v1(tmp_path / "old.zarr")
    with ZarrDataset(tmp_path / "old.zarr", mode="r") as ds:
        for call in (ds.verify, lambda: ds.repair(dry_run=True)):
            with pytest.raises(FormatVersionError, match="migrate"):
                call()


def test_reports_are_values(root: Path) -> None:
    flip(root / LINE / "analysis/metadata.json")
    with ZarrDataset(root) as ds:
        found, done = ds.verify(), ds.repair()
    assert json.loads(json.dumps(found.to_dict()))["damages"][0]["code"] == "file-changed"
    assert found.to_dataframe()["image_id"].tolist() == ["line"]
    assert found.image_ids == ["line"]
    assert json.loads(json.dumps(done.to_dict()))["actions"][0]["kind"] == "quarantine"
    assert done.to_dataframe()["kind"].tolist() == ["quarantine"]


@given(st.data())
@settings(max_examples=25)
def test_any_damage_is_mended_and_leaves_the_rest_as_it_was(
    whole: Path, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(shutil.copytree(whole / "whole.zarr", Path(folder) / "x.zarr"))
        before = data_of(root)
        # Without the root document there is no dataset that could be asked to repair itself.
        keys = sorted(before.keys() - {"zarr.json"})
        harmed = data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=5, unique=True))
        for key in harmed:
            content = before[key]
            kind = data.draw(st.sampled_from(["flip", "cut", "grow", "zero", "delete"]))
            if kind == "delete":
                (root / key).unlink()
                continue
            position = data.draw(st.integers(0, len(content) - 1))
            (root / key).write_bytes(
                {
                    "flip": content[:position]
                    + bytes([content[position] ^ data.draw(st.integers(1, 255))])
                    + content[position + 1 :],
                    "cut": content[:position],
                    "grow": content + b"\n",
                    "zero": bytes(len(content)),
                }[kind]
            )
        with ZarrDataset(root, mode="r+", durability="relaxed") as ds:
            report = ds.repair()
            assert ds.verify().errors == (), str(report)
            assert ds.repair().actions == ()
        values_of(root)  # All that is left can be read.
        gone = {a.where for a in report.actions if a.kind in ("quarantine", "lost")}
        after = data_of(root)
        for key, content in before.items():
            aside = any(f"{key}/".startswith(f"{where}/") for where in gone)
            rewritten = key.endswith(("checksums.sha256", "zarr.json", "files.json"))
            if not aside and not rewritten and key not in harmed:
                assert after[key] == content, f"{key}: {report}"


def test_a_deleted_dataset_is_an_error_that_says_so(root: Path) -> None:
    with ZarrDataset(root, mode="r") as ds:
        shutil.rmtree(root)
        with pytest.raises(KymflowZarrError):
            ds.verify()


class Dying(Disk):
    """Refuses from the n-th operation on, as a disk that is pulled."""

    def __init__(self, n: int) -> None:
        self.left = n

    def _one(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.EIO, "pulled")

    def create(self, path: StrPath, data: bytes | memoryview) -> None:
        self._one()
        super().create(path, data)

    def replace(self, source: Path, target: Path) -> None:
        self._one()
        super().replace(source, target)

    def rename_folder(self, source: StrPath, target: StrPath) -> None:
        self._one()
        super().rename_folder(source, target)

    def make_folder(self, path: StrPath) -> None:
        self._one()
        super().make_folder(path)

    def unlink(self, path: Path) -> None:
        self._one()
        super().unlink(path)

    def remove_tree(self, path: Path) -> None:
        self._one()
        super().remove_tree(path)


def test_a_repair_that_is_stopped_anywhere_is_finished_by_the_next(
    whole: Path, scan: str, tmp_path: Path
) -> None:
    aside = f"{LINE}/analysis/metadata.json", "tables/events.parquet"
    for n in range(200):
        root = Path(shutil.copytree(whole / "whole.zarr", tmp_path / f"{n}.zarr"))
        for key in (*aside, f"{scan}/data/c/0/0"):
            flip(root / key)
        broken = [(root / key).read_bytes() for key in aside]
        finished = True
        with ZarrDataset(root, durability="relaxed") as ds, disk_replaced(Dying(n)):
            try:
                ds.repair()
            except StorageError:
                finished = False
        repair(root)
        held = list(files_below(root / "quarantine").values())
        assert all(held.count(data) == 1 for data in broken), n
        with ZarrDataset(root, mode="r") as ds:
            assert ds.verify().ok
            assert len(ds) == 2
        shutil.rmtree(root)
        if finished:
            assert n > 10
            return
    pytest.fail("a repair takes more than 200 operations")


def with_hostile_list(folder: Path, key: str) -> None:
    body = f"# 3 bytes\n{'0' * 64}  {key}\n".encode()
    digest = hashlib.sha256(body).hexdigest()
    (folder / "checksums.sha256").write_bytes(
        f"# kymflow_zarr checksums 1, 1 files, {digest}\n".encode() + body
    )


@pytest.mark.parametrize("key", ["../../../mine.txt", "/mine.txt", "a/../../../../mine.txt"])
@pytest.mark.parametrize("folder", ["", LINE])
def test_a_list_that_leads_out_of_the_dataset_reaches_nothing(
    root: Path, key: str, folder: str
) -> None:
    mine = root.parent / "mine.txt"
    mine.write_text("mine")
    with_hostile_list(root / folder, key)
    with ZarrDataset(root, mode="r") as ds:
        assert "checksums-damaged" in [damage.code for damage in ds.verify().damages]
    repair(root)
    assert mine.read_text() == "mine"


def test_a_document_that_names_a_file_outside_has_nothing_written_there(
    root: Path, scan: str, whole: Path
) -> None:
    path = root / scan / "zarr.json"
    document = json.loads(path.read_text())
    files = document["attributes"]["kymflow_zarr"]["source_files"]
    files[1]["kept_as"] = "source_files/../../../../mine.gz"
    path.write_text(json.dumps(document))
    (root / scan / "checksums.sha256").unlink()
    repair(root)
    assert not (root.parent / "mine.gz").exists()
