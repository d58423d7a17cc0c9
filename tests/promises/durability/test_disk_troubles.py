"""A full disk, a lost permission, a folder that is gone, too many open files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import KymflowZarrError, StorageError
from kymflow_zarr.storage.local.disk import Disk
from kymflow_zarr.testing import FaultyDisk, check_invariants, fault_points, state_of
from tests.helpers.operations import PIXELS

NOISE = np.random.default_rng(1).integers(0, 2**16, (1024, 512), dtype=np.uint16)  # 1 MB


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    if sys.platform != "linux" or mount is None or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small file system")
    command = [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a file system be mounted")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fill a file system up to some bytes."""
    ballast = folder / "ballast"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with ballast.open("ab") as file:
        file.write(b"x" * max(0, free - leave))
    return ballast


@pytest.mark.parametrize("leave", [0, 4096, 8192, 12288, 16384, 65536, 500_000])
def test_a_full_disk_is_an_error_and_with_room_the_same_call_works(small: Path, leave: int) -> None:
    path = small / "x.zarr"
    with ZarrDataset(path) as ds:
        rec = ds.add_image(PIXELS, image_id="a")
        rec.save_json("old", {"n": 1})
        before = state_of(ds)
        ballast = fill(small, leave)
        with pytest.raises(StorageError, match="make room"):
            ds.add_image(NOISE, image_id="big")
        assert state_of(ds) == before
        with pytest.raises(StorageError, match="make room"):
            rec.save_array(NOISE)
        assert state_of(ds) == before
        with pytest.raises(StorageError, match="make room"):
            rec.save_json("old", "y" * 600_000)
        assert state_of(ds) == before
        with pytest.raises(StorageError, match="make room"):
            ds.save_table("t", pd.DataFrame({"x": NOISE.ravel()[:400_000]}))
        assert state_of(ds) == before
        ballast.unlink()
        ds.add_image(NOISE, image_id="big")
        rec.save_array(NOISE)
        rec.save_json("old", "y" * 600_000)
        assert np.array_equal(ds["big"].load_array(), NOISE)
        assert np.array_equal(rec.load_array(), NOISE)
    with ZarrDataset(path, "r+") as ds:
        check_invariants(ds)


def test_a_full_disk_can_be_read_and_things_be_deleted_from(small: Path) -> None:
    with ZarrDataset(small / "x.zarr") as ds:
        ds.add_image(NOISE, image_id="big")
        ds.add_image(PIXELS, image_id="a")
        fill(small, 16384)
        with ZarrDataset(small / "x.zarr", "r") as reader:
            assert np.array_equal(reader["big"].load_array(), NOISE)
        ds.delete_image("big")
        ds["a"].save_json("note", 1)
    with ZarrDataset(small / "x.zarr", "r+") as ds:
        check_invariants(ds)
        assert ds.list_image_ids() == ["a"]


def test_on_a_disk_without_any_room_everything_can_be_deleted_to_make_room(small: Path) -> None:
    with ZarrDataset(small / "x.zarr") as ds:
        rec = ds.add_image(NOISE, image_id="a")
        ds.add_image(PIXELS, image_id="b").save_json("note", 1)
        for number in range(3):
            rec.save_json(f"big{number}", "y" * 5000)
            rec.save_array_artifact(f"mask{number}", PIXELS)
        for number in range(3):
            fill(small, 0)
            rec.delete_analysis([f"big{number}"])
            fill(small, 0)
            rec.delete_array_artifact(f"mask{number}")
        fill(small, 0)
        ds.delete_image("a")
        with pytest.raises(StorageError, match="make room"):
            ds.add_image(np.concatenate([NOISE] * 9))
        (small / "ballast").unlink()
    with ZarrDataset(small / "x.zarr", "r+") as ds:
        check_invariants(ds)
        assert ds.list_image_ids() == ["b"]


def test_without_a_reserve_a_deletion_takes_the_room_of_the_index(small: Path) -> None:
    with ZarrDataset(small / "x.zarr") as ds:
        rec = ds.add_image(PIXELS, image_id="a")
        rec.save_json("big", "y" * 5000)
        ds.update_manifest()
        rec.thumbnail()
        (small / "x.zarr" / ".kymflow_zarr" / "reserve").unlink()
        fill(small, 0)
        rec.delete_analysis(["big"])
        (small / "ballast").unlink()
        assert len(ds.images()) == 1
    with ZarrDataset(small / "x.zarr", "r+") as ds:
        check_invariants(ds)


@pytest.mark.parametrize("kind", ["EACCES", "EROFS"])
def test_a_disk_that_became_read_only_is_an_error_and_can_be_read(
    ds: ZarrDataset, kind: str
) -> None:
    rec = ds.add_image(PIXELS, image_id="a")
    before = state_of(ds)
    point = next(
        fault_points("EROFS", disk=lambda at, _, torn: FaultyDisk(at, kind, times=None))  # type: ignore[arg-type]
    )
    with point:
        for call in (
            lambda: ds.add_image(PIXELS),
            lambda: rec.save_array(PIXELS),
            lambda: ds.delete_image("a"),
            lambda: ds.save_table("t", pd.DataFrame({"a": [1]})),
        ):
            with pytest.raises(StorageError, match=r"permission|read-only"):
                call()
            assert state_of(ds) == before
        with ZarrDataset(ds.path, "r") as reader:
            assert state_of(reader) == before
    rec.save_json("note", 1)
    assert rec.load_json("note") == 1


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind root"
)
def test_a_folder_that_may_not_be_written_to(ds: ZarrDataset) -> None:
    rec = ds.add_image(PIXELS)
    ds.close()
    for folder in (ds.path, ds.path / ".kymflow_zarr" / "sessions"):
        folder.chmod(0o500)
        try:
            with pytest.raises(StorageError, match="permission"):
                rec.save_json("note", 1)
        finally:
            folder.chmod(0o700)
    rec.save_json("note", 1)


def test_a_dataset_whose_folder_has_vanished_is_an_error_and_comes_not_back_half(
    ds: ZarrDataset,
) -> None:
    rec = ds.add_image(PIXELS, image_id="a")
    elsewhere = ds.path.with_name("unmounted")
    ds.path.rename(elsewhere)
    for call in (
        lambda: ds.add_image(PIXELS),
        lambda: rec.save_json("note", 1),
        lambda: rec.save_array(PIXELS),
        lambda: ds.save_table("t", pd.DataFrame({"a": [1]})),
        lambda: ds.delete_image("a"),
        ds.update_manifest,
    ):
        with pytest.raises(KymflowZarrError):
            call()
        assert not ds.path.exists()
    elsewhere.rename(ds.path)
    rec.save_json("note", 1)
    assert ds.add_image(PIXELS).shape == PIXELS.shape


FEW_FILES = textwrap.dedent("""
    import resource, sys
    import numpy as np, pandas as pd
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.errors import StorageError

    ds = ZarrDataset(sys.argv[1], "r+")
    pixels = np.arange(120, dtype=np.uint16).reshape(20, 6)
    # All modules are loaded by the time that no file can be opened any more.
    ds.add_image(pixels, image_id="warm").save_json("note", 1)
    ds["warm"].load_array()
    ds.delete_image("warm")
    held = []
    try:
        while True:
            held.append(open(sys.argv[1] + "/zarr.json"))
    except OSError:
        pass
    for free in range(0, 4):
        for call in (
            lambda: "b" in ds or ds.add_image(pixels, image_id="b"),
            lambda: ds["a"].save_json("note", free),
            lambda: ds["a"].load_array(),
        ):
            try:
                call()
            except StorageError as error:
                assert "files open" in str(error), str(error)
            else:
                assert free, "there was a file to open"
        held.pop().close()
    held.clear()
    if "b" not in ds:
        ds.add_image(pixels, image_id="b")
    ds["a"].save_json("note", "free")
    ds.close()
""")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_too_many_open_files(ds: ZarrDataset) -> None:
    ds.add_image(PIXELS, image_id="a")
    ds.close()
    limited = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))\n{FEW_FILES}"
    )
    command = [sys.executable, "-c", limited, str(ds.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    with ZarrDataset(ds.path, "r+") as again:
        check_invariants(again)
        assert again.list_image_ids() == ["a", "b"]
        assert again["a"].load_json("note") == "free"


class TestWindows:
    """A virus scanner or a viewer holds a file for a moment, and renames fail meanwhile."""

    @pytest.fixture(autouse=True)
    def _windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kymflow_zarr.storage.local.disk.sys.platform", "win32")
        monkeypatch.setattr("kymflow_zarr.storage.local.disk.time.sleep", lambda _: None)

    @pytest.mark.parametrize("times", [1, 3])
    def test_a_lock_that_is_held_for_a_moment_is_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
    ) -> None:
        left = {"replace": times, "rename": times, "unlink": times}
        for name in left:
            real = getattr(os, name)

            def held(*args: object, _real: object = real, _name: str = name) -> object:
                if left[_name]:
                    left[_name] -= 1
                    raise PermissionError(13, "being used by another process", str(args[0]))
                return _real(*args)  # type: ignore[operator]

            monkeypatch.setattr(os, name, held)
        (tmp_path / "a").write_bytes(b"a")
        Disk().replace(tmp_path / "a", tmp_path / "b")
        Disk().make_folder(tmp_path / "c")
        Disk().rename_folder(tmp_path / "c", tmp_path / "d")
        Disk().unlink(tmp_path / "b")
        assert [path.name for path in tmp_path.iterdir()] == ["d"]
        assert set(left.values()) == {0}

    def test_a_lock_that_is_held_for_ever_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def held(self: Path, target: Path) -> None:
            raise PermissionError(13, "being used by another process", str(self))

        monkeypatch.setattr(Path, "replace", held)
        (tmp_path / "a").write_bytes(b"a")
        with pytest.raises(PermissionError):
            Disk().replace(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "a").read_bytes() == b"a"


class TestMacOS:
    """fsync leaves the bytes in the drive's cache there; another call empties that too."""

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fcntl")
    @pytest.mark.parametrize("known", [True, False])
    def test_the_cache_of_the_drive_is_emptied_where_the_disk_knows_how(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
    ) -> None:
        import fcntl

        calls: list[object] = []

        def control(descriptor: int, what: int) -> int:
            if not known:
                raise OSError(45, "Operation not supported")
            calls.append(what)
            return 0

        monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
        monkeypatch.setattr(fcntl, "fcntl", control)
        monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
        monkeypatch.setattr("kymflow_zarr.storage.local.disk.sys.platform", "darwin")
        (tmp_path / "a").write_bytes(b"a")
        Disk().sync(tmp_path / "a")
        Disk().sync_folder(tmp_path)
        assert calls == ([51, 51] if known else ["fsync", "fsync"])
