"""Whatever the store is about to do to the disk, it may fail there, or the process may die.

Each call is run again and again, and each time another of its operations on files is the one
that fails: reopened, the dataset is as before the call or as after it, and the call made again
succeeds. With KYMFLOW_ZARR_LONG=1 every point of every call that changes an image or a table is
tried with every fault, and of what takes whole folders and datasets a part that KYMFLOW_ZARR_SEED
chooses; with KYMFLOW_ZARR_LONG=all, every point; else a part of them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import (
    DatasetNotFoundError,
    KymflowZarrError,
    NotFoundError,
    RecordExistsError,
    SchemaValidationError,
)
from kymflow_zarr.legacy_v1.migrate import migrate_dataset, migrate_in_place
from kymflow_zarr.storage.local.disk import disk_replaced
from kymflow_zarr.testing import (
    FAULT_KINDS,
    FaultKind,
    FaultPoint,
    FaultyDisk,
    check_invariants,
    fault_points,
    state_of,
)
from tests.helpers.operations import (
    EVERY,
    LONG,
    OPERATIONS,
    PIXELS,
    SEED,
    by_source,
    write_base,
    write_lab,
)
from tests.helpers.v1_dataset import write_v1

ERRORS = FAULT_KINDS[1:]
# The operations that a fault may leave half done.
TEARABLE = ("create ", "append ", "remove_tree ")


def plans(*, every: int = 1) -> list[tuple[FaultKind | tuple[FaultKind, ...], int, int]]:
    """Return kind, first point and step of the runs over the points of an operation."""
    if not LONG:
        return [("crash", 1, every), (ERRORS, 1, 3 * every)]
    if EVERY:
        every = 1
    return [(kind, Random(f"{SEED} {kind}").randint(1, every), every) for kind in FAULT_KINDS]


tried: list[FaultPoint] = []


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Write how many points were tried into the report, see ``pytest --junitxml``."""
    tried.clear()
    yield
    request.node.user_properties.append(("tried", sum(point.reached for point in tried)))


def points(*, every: int = 1) -> Iterator[FaultPoint]:
    """Yield the points to try: one in `every` with each fault, and where it tears, whole too."""
    for kind, first, step in plans(every=every):
        for point in fault_points(kind, first=first, step=step):
            tried.append(point)
            yield point
            if LONG and point.reached and name_of(point).startswith(TEARABLE):
                whole = FaultyDisk(point.number, point.kind)
                tried.append(FaultPoint(whole, point.number, point.kind))
                yield tried[-1]


def name_of(point: FaultPoint) -> str:
    """Return name and target of the operation that failed."""
    return point.disk.operations[point.number - 1]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Sync nothing in truth: no power is lost here, and it would take most of the time."""
    with disk_replaced(FaultyDisk()):
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.zarr"
    write_base(path)
    return path


def fresh(base: Path, path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(base, path)
    return path


def reopened(path: Path, **how: Any) -> dict[str, Any]:
    """Return what a reader sees, who may not repair, and a writer, who does: the same."""
    with ZarrDataset(path, "r") as ds:
        seen = state_of(ds, **how)
    with ZarrDataset(path, "r+") as ds:
        found = state_of(ds, **how)
        check_invariants(ds)
    assert found == seen
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_call_is_done_or_not_and_can_be_made_again(name: str, base: Path, tmp_path: Path) -> None:
    call, path = OPERATIONS[name], tmp_path / "x.zarr"
    with ZarrDataset(base, "r") as ds:
        before = state_of(ds)
    with ZarrDataset(fresh(base, path)) as ds:
        call(ds)
        after = state_of(ds)
    assert (before == after) == (name == "update_manifest")
    for point in points():
        ds = ZarrDataset(fresh(base, path))
        with point:
            call(ds)
        if not point.reached:
            assert state_of(ds) == after
        elif point.kind != "crash":
            # The object lives on: it tells the truth, and the call can be made again.
            seen = state_of(ds)
            assert seen in (before, after), point
            if seen == before:
                call(ds)
                assert state_of(ds) == after, point
            ds.close()
            assert reopened(path) == after, point
            continue
        ds.close()
        found = reopened(path)
        assert found in (before, after), point
        with ZarrDataset(path) as ds:
            if found == before:
                call(ds)
                assert state_of(ds) == after, point
            else:
                with contextlib.suppress(NotFoundError, RecordExistsError):
                    call(ds)
        if LONG:
            reopened(path)
    assert sum(point.reached for point in tried) > 4


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_disk_that_refuses_everything_from_some_moment_on(
    name: str, base: Path, tmp_path: Path
) -> None:
    call, path = OPERATIONS[name], tmp_path / "x.zarr"
    with ZarrDataset(base, "r") as ds:
        before = state_of(ds)
    for point in fault_points(
        "EIO",
        step=1 if LONG else 3,
        disk=lambda at, kind, torn: FaultyDisk(at, kind, torn=torn, times=None),
    ):
        ds = ZarrDataset(fresh(base, path))
        with point:
            call(ds)
        with contextlib.suppress(NotFoundError, RecordExistsError):
            call(ds)
        after = state_of(ds)
        assert (after == before) == (name == "update_manifest")
        ds.close()
        assert reopened(path) == after, point


# Datasets as a whole --------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["a", "w", "w-"])
def test_a_dataset_that_is_being_created(mode: Any, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.zarr"
    for point in points():
        shutil.rmtree(path.parent, ignore_errors=True)
        with point:
            ZarrDataset(path, mode).close()
        try:
            assert reopened(path) == {}
        except DatasetNotFoundError:
            assert point.reached
        else:
            mode_again: Any = "a" if mode == "w-" else mode
            ZarrDataset(path, mode_again).close()
            assert reopened(path) == {}
            continue
        ZarrDataset(path, mode).close()
        assert reopened(path) == {}


def test_a_dataset_that_is_being_emptied(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    with ZarrDataset(base, "r") as ds:
        before = state_of(ds)
    for point in points():
        fresh(base, path)
        with point:
            ZarrDataset(path, "w").close()
        try:
            assert reopened(path) in (before, {}), point
        except (DatasetNotFoundError, SchemaValidationError):
            assert point.reached
        ZarrDataset(path, "w").close()
        assert reopened(path) == {}, point


@pytest.mark.parametrize("in_place", [False, True])
def test_a_dataset_that_is_being_migrated(in_place: bool, tmp_path: Path) -> None:
    old, lab = tmp_path / "old.zarr", tmp_path / "lab"
    write_v1(old)

    def migrate() -> None:
        if in_place:
            migrate_in_place(lab / "x.zarr")
        else:
            migrate_dataset(lab / "x.zarr", lab / "new.zarr")

    lab.mkdir()
    shutil.copytree(old, lab / "x.zarr")

    def found() -> dict[str, Any]:
        with ZarrDataset(lab / ("x.zarr" if in_place else "new.zarr"), "r+") as ds:
            assert ds.validate().ok
            return state_of(ds)

    migrate()
    expected = found()
    for point in points(every=12):
        shutil.rmtree(lab)
        lab.mkdir()
        shutil.copytree(old, lab / "x.zarr")
        with point:
            migrate()
        originals = [lab / "x.zarr", lab / "x.zarr.v1-backup"]
        assert any(_files(path) == _files(old) for path in originals), point
        done = in_place and (lab / "x.zarr.v1-backup").exists() and (lab / "x.zarr").exists()
        if point.reached and not done:
            migrate()
        assert found() == expected, point


def _files(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# From a folder --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "lab"
    write_lab(folder)
    return folder


@pytest.fixture(scope="module")
def ingested(lab: Path) -> tuple[Path, dict[str, Any]]:
    path = lab.parent / "ingested.zarr"
    with ZarrDataset(path, durability="relaxed") as ds:
        ds.ingest_legacy_folder(lab)
        return path, state_of(ds, name=by_source)


def test_a_file_that_is_taken_in_with_its_sidecars(lab: Path, tmp_path: Path) -> None:
    tiff, path = min(lab.rglob("*.tif")), tmp_path / "x.zarr"
    after: dict[str, Any] = {}
    for point in chain(fault_points_once(), points(every=3)):
        shutil.rmtree(path, ignore_errors=True)
        ds = ZarrDataset(path)
        with point:
            ds.ingest_tiff(tiff, image_id="one")
        after = after or state_of(ds)
        assert "json provenance" in after["image one"]
        ds.close()
        assert reopened(path) in ({}, after), point
        with ZarrDataset(path) as ds, contextlib.suppress(RecordExistsError):
            ds.ingest_tiff(tiff, image_id="one")
        assert reopened(path) == after


def fault_points_once() -> Iterator[FaultPoint]:
    """One point that nothing reaches."""
    return fault_points("crash", first=10**9)


def whole_or_missing(found: dict[str, Any], whole: dict[str, Any]) -> bool:
    return all(found[key] == whole.get(key) for key in found)


def test_a_folder_that_is_taken_in(
    lab: Path, ingested: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    _, whole = ingested
    path = tmp_path / "x.zarr"
    for point in points(every=9):
        shutil.rmtree(path, ignore_errors=True)
        ds = ZarrDataset(path)
        with point:
            ds.ingest_legacy_folder(lab)
        ds.close()
        assert whole_or_missing(reopened(path, name=by_source), whole), point
        with ZarrDataset(path) as ds:
            assert ds.ingest_legacy_folder(lab).failed == ()
        assert reopened(path, name=by_source) == whole, point


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder and what was made of it before one file got other pixels and one a sidecar."""
    top = tmp_path_factory.mktemp("changed")
    folder, path = top / "lab", top / "x.zarr"
    write_lab(folder)
    with ZarrDataset(path) as ds:
        ds.ingest_legacy_folder(folder)
    first, second = sorted(folder.rglob("*.tif"))
    tifffile.imwrite(first, tifffile.imread(first) + 1)
    second.with_name(f"{second.stem}.note.json").write_text('{"good": true}')
    return folder, path


def test_a_folder_that_is_scanned_again(changed: tuple[Path, Path], tmp_path: Path) -> None:
    folder, base = changed
    path = tmp_path / "x.zarr"
    with ZarrDataset(fresh(base, path)) as ds:
        before = state_of(ds, name=by_source)
        ds.refresh_from_folder(folder, mode="reingest_if_changed")
        after = state_of(ds, name=by_source)
    assert len([key for key in after if before.get(key) != after[key]]) == 2
    for point in points(every=5):
        ds = ZarrDataset(fresh(base, path))
        with point:
            ds.refresh_from_folder(folder, mode="reingest_if_changed")
        ds.close()
        found = reopened(path, name=by_source)
        for key, value in found.items():
            assert value in (before.get(key), after.get(key)), (point, key)
        with ZarrDataset(path) as ds:
            ds.refresh_from_folder(folder, mode="reingest_if_changed")
        found = reopened(path, name=by_source)
        assert [key for key in after if found.get(key) != after[key]] == [], point


# To a folder ----------------------------------------------------------------------------


def test_a_folder_that_is_exported_to(base: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with ZarrDataset(base, "r") as ds:
        ds.export_legacy_folder(target)
        expected = _exported(target)
        for point in points(every=4):
            shutil.rmtree(target)
            with point:
                ds.export_legacy_folder(target)
            found = _exported(target)
            assert all(found[key] == expected[key] for key in found), point
            ds.export_legacy_folder(target)
            assert _exported(target) == expected, point


def _exported(target: Path) -> dict[str, bytes]:
    """Return the files of an export; its manifest says when they were written."""
    return {
        key: data
        for key, data in _files(target).items()
        if not key.startswith((".kymflow_zarr_export", "kymflow_zarr_export.json"))
    }


def test_pixels_that_were_acknowledged_are_there_after_the_crash_of_the_next_call(
    base: Path, tmp_path: Path
) -> None:
    for point in points():
        ds = ZarrDataset(fresh(base, tmp_path / "x.zarr"))
        ds["a"].save_array(PIXELS + 1)
        with point:
            ds["a"].save_array(PIXELS + 2)
        ds.close()
        with ZarrDataset(tmp_path / "x.zarr") as again:
            found = np.unique(again["a"].load_array() - PIXELS).tolist()
        assert found in ([1], [2]), point


def test_the_errors_say_what_to_do(base: Path, tmp_path: Path) -> None:
    hints = {"ENOSPC": "make room", "EACCES": "permission", "EMFILE": "files open", "EROFS": "read"}
    for kind, hint in hints.items():
        ds = ZarrDataset(fresh(base, tmp_path / "x.zarr"))
        (point, *_) = (p for p in fault_points(kind, first=3, step=10**6))  # type: ignore[arg-type]
        with point:
            ds["a"].save_json("note", 1)
        assert isinstance(point.error, KymflowZarrError)
        assert hint in str(point.error)
        ds.close()
