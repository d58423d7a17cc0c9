"""Several users, and several processes, in one folder."""

from __future__ import annotations

import multiprocessing
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import StorageError
from kymflow_zarr.testing import check_invariants
from tests.helpers.operations import PIXELS
from tests.helpers.process_pool import clean_processes

GROUP, ANNA, BEN = 4242, 5001, 5002
two_users = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can act as two users"
)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder of a group, as `chmod 2775` makes it."""
    # Not below pytest's own folder: each run of pytest closes that to other users.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        place = folder / "shared"
        place.mkdir()
        os.chown(place, 0, GROUP)
        place.chmod(0o2775)
        yield place / "lab.zarr"


def as_user(user: int, work: Callable[..., object], *args: object) -> str:
    """Do something as a user with the usual umask; return what went wrong."""
    context = clean_processes()
    told, answer = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as warm:
        process = context.Process(target=_become, args=(user, answer, Path(warm), work, args))
        process.start()
        answer.close()
        try:
            assert told.poll(120), "no answer"
            return str(told.recv())
        except EOFError:
            return "it died"
        finally:
            process.kill()
            process.join(60)
            told.close()


def _become(user: int, answer: Any, warm: Path, work: Callable[..., object], args: Any) -> None:
    # What is imported late has to be there before: the user may not read where Python lies.
    with ZarrDataset(warm / "x.zarr") as ds:
        ds.add_image(PIXELS, image_id="a").save_json("n", 1)
        ds.save_table("t", pd.DataFrame({"image_id": ["a"]}))
    told = ""
    try:
        os.setgroups([GROUP])
        os.setgid(GROUP)
        os.setuid(user)
        os.umask(0o022)
        work(*args)
    except BaseException as error:  # noqa: BLE001 - told to the parent
        told = f"{type(error).__name__}: {error}"
    answer.send(told)


def create(path: Path) -> None:
    ZarrDataset(path).close()


def save(path: Path, value: object, die: bool = False) -> None:
    ds = ZarrDataset(path)
    if "a" not in ds:
        ds.add_image(PIXELS, image_id="a")
    ds["a"].save_json("n", value)
    ds.save_table(f"t{value}", pd.DataFrame({"image_id": ["a"]}))
    if die:
        os._exit(0)
    ds.close()


@two_users
def test_in_a_folder_that_a_group_may_write_its_members_work_on_one_dataset(shared: Path) -> None:
    assert as_user(ANNA, create, shared) == ""
    shared.chmod(0o2775)
    for path in shared.rglob("*"):
        path.chmod(path.stat().st_mode | stat.S_IWGRP)
    for number in range(2):
        assert as_user(ANNA, save, shared, f"a{number}") == ""
        # Anna's next kernel dies in the midst of its work.
        assert as_user(ANNA, save, shared, "dies", True) == "it died"
        assert as_user(BEN, save, shared, f"b{number}") == ""
    for path in shared.rglob("*"):
        assert path.stat().st_mode & stat.S_IWGRP, path
        assert path.stat().st_gid == GROUP, path
    with ZarrDataset(shared) as ds:
        assert ds["a"].load_json("n") == "b1"
        check_invariants(ds)


@two_users
def test_a_refused_permission_says_whose_file_it_is_and_what_to_do(shared: Path) -> None:
    as_user(ANNA, save, shared, 1)
    told = as_user(BEN, save, shared, 2)
    assert StorageError.__name__ in told
    assert str(shared) in told
    assert "5001" in told
    assert "chmod -R g+w" in told


def _create(path: Path) -> str:
    try:
        with ZarrDataset(path, durability="relaxed") as ds:
            ds.add_image(PIXELS)
            return ds.dataset_id
    except Exception as error:  # noqa: BLE001 - shown by the assertion
        return f"{type(error).__name__}: {error}"


def test_several_processes_that_create_one_dataset_at_once_all_get_it(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for number in range(8):
            path = tmp_path / f"{number}.zarr"
            assert len(set(pool.map(_create, [path] * 4))) == 1
            with ZarrDataset(path) as ds:
                assert len(ds) == 4


def _save_tables(path: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with ZarrDataset(path, "r+", durability="relaxed") as ds:
                for _ in range(20):
                    ds.save_table("t", pd.DataFrame({"image_id": ["a"]}))
        except (StorageError, FileNotFoundError):
            pass


def test_a_dataset_emptied_beside_a_writer_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    ZarrDataset(path, durability="relaxed").close()
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_save_tables, args=(path, 4)) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        until = time.monotonic() + 120
        while any(writer.is_alive() for writer in writers):
            assert time.monotonic() < until
            ZarrDataset(path, "w", durability="relaxed").close()
    finally:
        for writer in writers:
            writer.kill()
            writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    with ZarrDataset(path) as ds:
        check_invariants(ds)
