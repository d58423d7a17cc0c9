"""A dataset in a folder that several hosts write to, without locks between them."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from click.testing import CliRunner

from kymflow_zarr import ZarrDataset, copy_dataset
from kymflow_zarr.cli.app import app
from kymflow_zarr.errors import (
    ArgumentError,
    DatasetExistsError,
    DatasetNotFoundError,
    FormatVersionError,
    SchemaValidationError,
    StorageError,
)
from kymflow_zarr.storage.local.disk import Disk, disk_replaced
from kymflow_zarr.storage.shares.folder import KEPT, SharedFolder
from kymflow_zarr.testing import fault_points, state_of
from kymflow_zarr.testing.power import PowerLossDisk
from tests.frozen.make_v2 import EXPECTED, values_of
from tests.frozen.make_v3_shared import STORE
from tests.storage.object.races import run
from tests.storage.test_dataset_on_memory import work

PIXELS = np.arange(2000, dtype="uint16").reshape(50, 40)
HEAD = "heads/images/a.json"


@pytest.fixture
def shared(tmp_path: Path) -> ZarrDataset:
    ds = ZarrDataset(tmp_path / "x.zarr", mode="w", shared=True, durability="relaxed")
    ds.add_image(PIXELS, image_id="a", line_period_s=0.001)
    return ds


def test_it_holds_what_a_dataset_of_one_host_holds(tmp_path: Path) -> None:
    with (
        ZarrDataset(tmp_path / "shared.zarr", shared=True) as shared,
        ZarrDataset(tmp_path / "local.zarr") as local,
    ):
        for ds in (shared, local):
            work(ds)
        assert state_of(shared) == state_of(local)
        assert shared.verify().ok
        assert shared.validate().ok
        assert shared.path == tmp_path / "shared.zarr"


def test_modes_mean_what_they_mean_elsewhere(shared: ZarrDataset, tmp_path: Path) -> None:
    assert ZarrDataset(shared.path).list_image_ids() == ["a"]
    assert ZarrDataset(shared.path, mode="r+", shared=True).list_image_ids() == ["a"]
    with pytest.raises(DatasetExistsError):
        ZarrDataset(shared.path, mode="w-", shared=True)
    with pytest.raises(DatasetNotFoundError):
        ZarrDataset(tmp_path / "other.zarr", mode="r", shared=True)
    assert not (tmp_path / "other.zarr").exists()
    with ZarrDataset(shared.path, mode="w") as emptied:
        assert len(emptied) == 0
        emptied.add_image(PIXELS + 1, image_id="a")
        assert np.array_equal(emptied["a"].load_array(), PIXELS + 1)


def test_what_is_not_made_for_several_hosts_is_refused_and_not_changed(tmp_path: Path) -> None:
    local = tmp_path / "local.zarr"
    ZarrDataset(local).add_image(PIXELS, image_id="a")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "plan.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArgumentError, match=r"not made for several hosts.*copy --shared"):
        ZarrDataset(local, mode="w", shared=True)
    with pytest.raises(SchemaValidationError, match=r"plan\.txt"):
        ZarrDataset(tmp_path / "notes", shared=True)
    with pytest.raises(SchemaValidationError, match="a file"):
        ZarrDataset(tmp_path / "file", shared=True)
    with pytest.raises(SchemaValidationError, match="inside the dataset"):
        ZarrDataset(local / "images" / "x.zarr", shared=True)
    with pytest.raises(ArgumentError, match="any number of hosts"):
        ZarrDataset("memory://x", shared=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_line_makes_one_and_copies_to_one(tmp_path: Path) -> None:
    local, copy = tmp_path / "local.zarr", tmp_path / "copy.zarr"
    ZarrDataset(local).add_image(PIXELS, image_id="a").save_json("note", 1)
    result = CliRunner().invoke(app, ["copy", "--shared", str(local), str(copy)])
    assert result.exit_code == 0, result.output
    assert (copy / "heads" / "images" / "a" / "1.json").is_file()
    with ZarrDataset(copy) as ds:
        ds["a"].save_json("note", 2)
    assert copy_dataset(copy, local).ok
    assert ZarrDataset(local)["a"].load_json("note") == 2
    tifffile.imwrite(tmp_path / "b.tif", PIXELS)
    new = tmp_path / "new.zarr"
    result = CliRunner().invoke(app, ["ingest", "--shared", str(tmp_path / "b.tif"), str(new)])
    assert result.exit_code == 0, result.output
    assert (new / "heads" / "top").is_dir()
    assert len(ZarrDataset(new)) == 1


def test_every_value_of_the_frozen_dataset_is_read_as_it_was_written(tmp_path: Path) -> None:
    ds = ZarrDataset(STORE, mode="r")
    assert values_of(ds) == json.loads(EXPECTED.read_text(encoding="utf-8"))
    assert ds.verify().ok
    shutil.copytree(STORE, tmp_path / "copy.zarr")
    ds = ZarrDataset(tmp_path / "copy.zarr")
    ds["empty"].save_json("note", 1)  # The change that was left is finished first.
    assert "gone" not in ds
    ds.add_image(PIXELS, image_id="gone")
    assert ds.verify().ok


def test_an_earlier_reader_names_the_version_that_it_does_not_know(shared: ZarrDataset) -> None:
    document = json.loads((shared.path / "zarr.json").read_text())
    assert document["attributes"]["kymflow_zarr"]["format_version"] == 3
    shutil.rmtree(shared.path / "heads")
    with pytest.raises(FormatVersionError, match="format version 3"):
        ZarrDataset(shared.path)


def test_zarr_reads_an_image_without_this_package(shared: ZarrDataset) -> None:
    group: Any = zarr.open_group(shared.path / "images" / "a", mode="r")
    (image,) = group.attrs["ome"]["multiscales"]
    array = group[image["datasets"][0]["path"]]
    assert np.array_equal(array[:], PIXELS)


def test_killed_writers_without_locks_lose_nothing(tmp_path: Path) -> None:
    # Each writer reaches the folder by a path of its own, and asking for a lock is an error.
    through = []
    for number in range(2):
        (tmp_path / f"host{number}").mkdir()
        (tmp_path / f"host{number}" / "mount").symlink_to(tmp_path, target_is_directory=True)
        through.append(str(tmp_path / f"host{number}" / "mount" / "x.zarr"))
    account = run(
        str(tmp_path / "x.zarr"), {}, seconds=3, writers=2, kills_per_s=1, through=through
    )  # fmt: skip
    assert account.problems == []
    assert account.acknowledged > 0
    assert account.killed > 0


def test_a_writer_with_an_old_list_does_not_undo_what_others_did(shared: ZarrDataset) -> None:
    folder = SharedFolder(shared.path, durable=False)
    shared["a"].save_json("x", 1)
    data, old = folder.get(HEAD) or (b"", "")
    for number in range(KEPT + 5):
        shared["a"].save_json("x", number)
    newest = folder.get(HEAD)
    number = int(old.partition(".")[0])
    assert not (shared.path / f"heads/images/a/{number + 1}.json").exists()
    # The next number is free again, since its file was deleted.
    assert folder.put_if(HEAD, data, old) is None
    assert not (shared.path / f"heads/images/a/{number + 1}.json").exists()
    assert folder.get(HEAD) == newest
    # The first number is never free again.
    assert folder.put_if(HEAD, data, None) is None
    assert len([*(shared.path / "heads/images/a").iterdir()]) == KEPT + 1


def test_a_copy_for_viewers_that_went_back_is_put_again(
    shared: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shared.path / "images" / "a" / "zarr.json"
    other = ZarrDataset(shared.path)
    replace = SharedFolder.put_if
    raced: list[str] = []

    def slow(folder: SharedFolder, name: str, data: bytes, tag: str | None) -> str | None:
        if name == "images/a/zarr.json" and not raced:
            raced.append(name)  # Another host comes first, with a later state.
            other["a"].save_array(PIXELS + 2)
        return replace(folder, name, data, tag)

    monkeypatch.setattr(SharedFolder, "put_if", slow)
    shared["a"].save_array(PIXELS + 1)
    monkeypatch.undo()
    assert raced
    group = json.loads(copy.read_text())
    path = group["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"]
    array: Any = zarr.open_array(copy.parent / path, mode="r")
    assert np.array_equal(array[:], PIXELS + 2)


@pytest.mark.parametrize("made_shared", [True, False])
def test_a_stale_handle_is_a_file_that_is_looked_up_again(
    made_shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr", shared=made_shared)
    ds.add_image(PIXELS, image_id="a").save_json("note", 1)
    opened = os.open
    stale: dict[str, int] = {}

    def open_stale(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        left = stale.get("left", 0)
        if isinstance(path, str) and path.endswith(".json") and left:
            stale["left"] = left - 1
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_stale)
    stale["left"] = 1
    assert ZarrDataset(ds.path, mode="r")["a"].load_json("note") == 1
    assert stale["left"] == 0


def test_files_that_a_host_deleted_while_they_were_open_are_none_of_the_dataset(
    shared: ZarrDataset,
) -> None:
    for folder in ("heads", "heads/images", "heads/images/a", "images/a", "staged"):
        (shared.path / folder).mkdir(exist_ok=True)
        (shared.path / folder / ".nfs00000000004b01c80000002a").write_bytes(b"?")
    ds = ZarrDataset(shared.path)
    assert ds.list_image_ids() == ["a"]
    assert ds.verify().ok
    assert ds.repair().ok
    ds.delete_image("a")
    assert len(ZarrDataset(shared.path)) == 0


class NoLinks(Disk):
    def link(self, source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(source), None, str(target))


def test_a_file_system_without_hard_links_is_refused(tmp_path: Path) -> None:
    with disk_replaced(NoLinks()), pytest.raises(StorageError, match="no hard links"):
        ZarrDataset(tmp_path / "x.zarr", shared=True)


def test_nothing_is_read_or_written_through_a_link(shared: ZarrDataset, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.move(shared.path / "images" / "a", tmp_path / "elsewhere" / "a")
    (shared.path / "images" / "a").symlink_to(tmp_path / "elsewhere" / "a")
    before = sorted((tmp_path / "elsewhere").rglob("*"))
    with pytest.raises(StorageError, match="a link, through which nothing is read"):
        shared["a"].load_array()
    with pytest.raises(StorageError, match="a link, through which nothing is written"):
        shared["a"].save_json("note", 1)
    assert sorted((tmp_path / "elsewhere").rglob("*")) == before


def test_it_travels_to_another_host_by_its_path(shared: ZarrDataset) -> None:
    there = pickle.loads(pickle.dumps(shared))
    assert np.array_equal(there["a"].load_array(), PIXELS)


CHANGES: dict[str, Callable[[ZarrDataset], object]] = {
    "add": lambda ds: ds.add_image(PIXELS, image_id="b"),
    "replace": lambda ds: ds["a"].save_array(PIXELS + 1),
    "save": lambda ds: ds["a"].save_json("note", 2),
    "rows": lambda ds: ds.save_table("t", pd.DataFrame({"image_id": ["a"], "v": [1]})),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_acknowledged_survives_a_power_loss(name: str, tmp_path: Path) -> None:
    base, disks = tmp_path / "base.zarr", tmp_path / "after.zarr"
    with ZarrDataset(base, shared=True) as ds:
        ds.add_image(PIXELS, image_id="a").save_json("note", 1)
        before = state_of(ds)
        ds.verify()
    done = tmp_path / "done.zarr"
    shutil.copytree(base, done)
    with ZarrDataset(done) as ds:
        CHANGES[name](ds)
        after = state_of(ds)
    top = tmp_path / "top.zarr"
    points = fault_points("crash", step=9, torn=False, disk=lambda at, *_: PowerLossDisk(top, at))
    while True:
        shutil.rmtree(top, ignore_errors=True)
        shutil.copytree(base, top)
        point = next(points)
        with ZarrDataset(top) as ds, point:
            CHANGES[name](ds)
        for seed in range(4):
            shutil.rmtree(disks, ignore_errors=True)
            point.disk.rebuild(disks, seed=seed)  # type: ignore[attr-defined]
            with ZarrDataset(disks) as found:
                assert state_of(found) in ([before, after] if point.reached else [after])
                assert found.verify().ok
        if not point.reached:
            break
