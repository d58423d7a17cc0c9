"""Bytes of a small dataset, changed one by one: verify finds each that makes a difference."""

from __future__ import annotations

import functools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kymflow_zarr import KymflowZarrError, VerifyReport, ZarrDataset, ZarrImageRecord
from kymflow_zarr.check.verify.checksum_scope import Hasher, examine
from kymflow_zarr.storage.local.storage import LocalStorage
from tests.helpers.whole_dataset import values_of, write_whole

# One byte of 16 is changed. A longer run flips each bit of each byte, and all of them, and asks
# the whole API each time.
LONG = bool(os.environ.get("KYMFLOW_ZARR_LONG"))
DERIVED = ("index/", ".kymflow_zarr/")


class Inline(Executor):
    """Does it now: for files of a few bytes, threads only cost."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_whole(folder / "whole.zarr", folder / "source")
    return folder / "whole.zarr"


@pytest.fixture(scope="module")
def said(root: Path) -> Any:
    """What the API says of the dataset as long as nothing is wrong with it."""
    assert values_of(root) == values_of(root)
    return values_of(root)


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@functools.cache
def record(root: Path, image_id: str) -> ZarrImageRecord:
    return ZarrDataset(root, mode="r")[image_id]


def is_derived(root: Path, path: Path) -> bool:
    return f"{path.relative_to(root).as_posix()}/".startswith(DERIVED)


def look(root: Path, path: Path) -> VerifyReport | None:
    """Verify what a file belongs to; None if the dataset cannot even be opened."""
    try:
        inside = path.relative_to(root).parts
        if inside[0] == "images" and len(inside) > 2:
            report = record(root, inside[1]).verify(executor=Inline())
            if report.damages:
                return report
        with ZarrDataset(root, mode="r") as ds:
            return ds.verify(executor=Inline())
    except KymflowZarrError:
        return None


def assert_told(root: Path, path: Path, said: Any, what: str) -> None:
    """No reader returns other data than before without an error or an entry in the report."""
    if is_derived(root, path):
        assert values_of(root) == said, what
        return
    report = look(root, path)
    assert report is None or not report.ok, what


def seen(root: Path, path: Path) -> bool:
    """Tell whether one look at the group of a file finds something; `verify` takes two."""
    inside = path.relative_to(root).parts
    image_id = inside[1] if inside[0] == "images" and len(inside) > 2 else None
    prefix = "" if image_id is None else f"images/{image_id}"
    storage = LocalStorage(root, writable=False)
    return bool(examine(storage, prefix, image_id, Hasher(storage, Inline())).errors)


@contextmanager
def restored(path: Path) -> Iterator[bytes]:
    before = path.read_bytes()
    try:
        yield before
    finally:
        path.write_bytes(before)


def test_a_whole_dataset_is_whole(root: Path, said: Any) -> None:
    with ZarrDataset(root, mode="r") as ds:
        assert ds.verify().damages == ()
        assert ds.verify(level="fast").damages == ()
        assert ds.validate().problems == ()


def test_a_flipped_byte_is_found(root: Path, said: Any) -> None:
    draw = random.Random(7)
    flipped = 0
    for path in files(root):
        derived = is_derived(root, path)
        with restored(path) as data, path.open("r+b", buffering=0) as file:
            last = len(data) - 1
            for position, byte in enumerate(data):
                masks = [0xFF if position % 2 else 1 << draw.randrange(8)]
                if LONG:
                    masks = [0xFF, *(1 << bit for bit in range(8))]
                elif 0 < position < last and draw.randrange(256 if derived else 16):
                    continue
                for mask in masks:
                    file.seek(position)
                    file.write(bytes([byte ^ mask]))
                    what = f"{path.relative_to(root)}, byte {position}, xor {mask:#x}"
                    if derived or LONG or not draw.randrange(64):
                        assert_told(root, path, said, what)
                    else:
                        assert seen(root, path), what
                    flipped += 1
                file.seek(position)
                file.write(bytes([byte]))
    assert flipped > (15_000 if LONG else 800)
    assert values_of(root) == said


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data[:-1], id="cut by one byte"),
        pytest.param(lambda data: b"", id="emptied"),
        pytest.param(lambda data: data + b"\0", id="a byte more"),
        pytest.param(lambda data: data + b"\n", id="a line more"),
        pytest.param(lambda data: data[1:], id="without its first byte"),
        pytest.param(lambda data: bytes(len(data)), id="zeros"),
        pytest.param(lambda data: None, id="deleted"),
    ],
)
def test_every_file_cut_emptied_grown_deleted(
    root: Path, said: Any, change: Callable[[bytes], bytes | None]
) -> None:
    for path in files(root):
        with restored(path) as data:
            new = change(data)
            if new == data:
                continue  # An empty lock file.
            if new is None:
                path.unlink()
            else:
                path.write_bytes(new)
            assert_told(root, path, said, str(path.relative_to(root)))
    assert values_of(root) == said


@pytest.mark.parametrize("name", ["notes.txt", "zarr.json", "a.json", "a.parquet", "c", "0"])
def test_a_foreign_file_in_every_folder(root: Path, said: Any, name: str) -> None:
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir())]
    told = 0
    for folder in folders:
        path = folder / name
        if path.exists():
            continue
        path.write_text("{}")
        try:
            report = look(root, path)
            key = path.relative_to(root).as_posix()
            if is_derived(root, path):
                assert values_of(root) == said
            else:
                assert report is not None
                assert key in [damage.where for damage in report.damages]
                told += 1
                # A warning is of what changes nothing of what a reader is told.
                if report.ok:
                    assert values_of(root) == said, key
        finally:
            path.unlink()
    assert told > 4
    assert values_of(root) == said


def test_every_folder_moved_away(root: Path, said: Any, tmp_path: Path) -> None:
    for folder in sorted(path for path in root.rglob("*") if path.is_dir()):
        # An image that is gone as a whole was deleted, as far as anybody can tell.
        held = any(path.is_file() for path in folder.rglob("*"))
        if not held or folder.parent == root / "images" or folder.name == ".kymflow_zarr":
            continue
        aside = tmp_path / "aside"
        shutil.move(folder, aside)
        try:
            assert_told(root, folder, said, str(folder.relative_to(root)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.move(aside, folder)
    assert values_of(root) == said
