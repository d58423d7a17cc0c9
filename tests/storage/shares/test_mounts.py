"""A dataset of one host is not written where locks do not reach the other hosts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ReadOnlyError, StorageError
from kymflow_zarr.storage.shares import mounts
from kymflow_zarr.types import Mode

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows its mounts")
PIXELS = np.arange(20, dtype="uint16").reshape(5, 4)
SAFE = [
    ("ext4", "/dev/sda1", "rw"),
    ("nfs4", "server:/lab", "rw,vers=4.2,local_lock=none"),
    ("nfs", "server:/lab", "rw,vers=3,local_lock=posix"),
    ("cifs", "//server/lab", "rw,vers=3.1.1,actimeo=1"),
    ("fuse.glusterfs", "server:/lab", "rw,allow_other"),
]
UNSAFE = [
    ("nfs", "server:/lab", "rw,vers=3,nolock,local_lock=all", "local_lock=all, nolock"),
    ("nfs4", "server:/lab", "rw,local_lock=flock", "local_lock=flock"),
    ("cifs", "//server/lab", "rw,nobrl,actimeo=1", "nobrl"),
    ("lustre", "mgs@tcp:/lab", "rw,localflock", "localflock"),
    ("fuse.sshfs", "user@server:/lab", "rw,user_id=0", "sshfs, which has none"),
]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    ZarrDataset(tmp_path / "x.zarr").add_image(PIXELS, image_id="a")
    return tmp_path / "x.zarr"


def mount(
    monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str, source: str, given: str
) -> None:
    """Make the folder look as if it were mounted so."""
    device = 61
    status = os.stat

    class Status:
        st_dev = os.makedev(0, device)

    def looked(path: Path) -> object:
        status(path)  # It must be there.
        return Status()

    table = folder / "mountinfo"
    table.write_text(
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        f"90 22 0:{device} / /mnt/lab rw,relatime shared:7 - {kind} {source} {given}\n"
    )
    monkeypatch.setattr(mounts, "MOUNTS", table)
    monkeypatch.setattr(os, "stat", looked)
    reason = mounts.locks_stay_on_host(folder / "x.zarr")
    monkeypatch.setattr(os, "stat", status)
    monkeypatch.setattr("kymflow_zarr.engine.opening.locks_stay_on_host", lambda _: reason)


@pytest.mark.parametrize(("kind", "source", "given"), SAFE)
def test_a_mount_with_locks_is_written(
    kind: str, source: str, given: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(monkeypatch, dataset.parent, kind, source, given)
    ZarrDataset(dataset)["a"].save_json("note", 1)


@pytest.mark.parametrize(("kind", "source", "given", "shown"), UNSAFE)
def test_a_mount_without_locks_is_read_only_and_says_why(
    kind: str, source: str, given: str, shown: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(monkeypatch, dataset.parent, kind, source, given)
    before = sorted(dataset.rglob("*"))
    with pytest.warns(UserWarning, match=f"locks do not reach other computers.*{shown}"):
        ds = ZarrDataset(dataset)
    assert np.array_equal(ds["a"].load_array(), PIXELS)
    with pytest.raises(ReadOnlyError):
        ds["a"].save_json("note", 1)
    modes: tuple[Mode, ...] = ("r+", "w")
    for mode in modes:
        with pytest.raises(StorageError, match="copy --shared"):
            ZarrDataset(dataset, mode=mode)
    with pytest.raises(StorageError, match="shared=True"):
        ZarrDataset(dataset.parent / "new.zarr")
    assert sorted(dataset.rglob("*")) == before
    ZarrDataset(dataset, mode="r")  # without a warning
    with ZarrDataset(dataset.parent / "shared.zarr", shared=True) as shared:
        shared.add_image(PIXELS)


def test_a_single_writer_says_so_in_the_environment(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(mounts.ONE_HOST, "1")
    mount(monkeypatch, dataset.parent, "fuse.sshfs", "user@server:/lab", "rw")
    ZarrDataset(dataset)["a"].save_json("note", 1)
