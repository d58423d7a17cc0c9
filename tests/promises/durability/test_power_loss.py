"""Power is lost at any moment, and the disk keeps only what it was told to keep.

With durability "full", whatever subset of the changes that were not synced survives, each by
itself, what was acknowledged is there and nothing is half. With "relaxed" that holds on file
systems that keep the order of changes to names (all that have a journal), except that the last
moments may be lost. KYMFLOW_ZARR_LONG=1 tries every point, and more chances at each, which
KYMFLOW_ZARR_SEED chooses; KYMFLOW_ZARR_LONG=all, many more.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import DatasetNotFoundError
from kymflow_zarr.storage.local.disk import disk_replaced
from kymflow_zarr.testing import (
    FaultPoint,
    FaultyDisk,
    PowerLossDisk,
    check_invariants,
    fault_points,
    state_of,
)
from kymflow_zarr.testing.power import Order
from tests.helpers.operations import EVERY, LONG, OPERATIONS, PIXELS, SEED, write_base

CHANCES = 40 if EVERY else 12 if LONG else 4
# The first three are extremes, see `PowerLossDisk.rebuild`; the others are random.
SEEDS = (0, 1, 2, *range(3 + SEED * CHANCES, (SEED + 1) * CHANCES))
Durable = Any


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with disk_replaced(FaultyDisk()):
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.zarr"
    write_base(path)
    return path


def losses(top: Path, *, step: int) -> Iterator[FaultPoint]:
    """Yield the moments at which power is lost, and one after all of it."""
    return fault_points(
        "crash",
        step=1 if LONG else step,
        torn=False,
        disk=lambda at, kind, torn: PowerLossDisk(top, at),
    )


def worlds(point: FaultPoint, target: Path, durability: str) -> Iterator[tuple[Path, Any]]:
    """Yield what the disk may hold after the loss."""
    assert isinstance(point.disk, PowerLossDisk)
    orders: tuple[Order, ...] = ("any", "prefix") if durability == "full" else ("prefix",)
    for how in rebuilt(point.disk, target, seeds=SEEDS, orders=orders):
        yield target, (point, *how)


def rebuilt(
    disk: PowerLossDisk, target: Path, *, seeds: Iterable[int], orders: tuple[Order, ...] = ("any",)
) -> Iterator[tuple[Order, int]]:
    """Build what a disk may hold after a loss, each world once; yield order and seed."""
    seen: set[frozenset[tuple[str, bytes | None]]] = set()
    for order in orders:
        for seed in seeds:
            shutil.rmtree(target, ignore_errors=True)
            disk.rebuild(target, seed=seed, order=order)
            world = frozenset(
                (path.relative_to(target).as_posix(), path.read_bytes() if path.is_file() else None)
                for path in target.rglob("*")
            )
            if world not in seen:
                seen.add(world)
                losses_tried.append((order, seed))
                yield order, seed


losses_tried: list[object] = []


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Write how many losses were tried into the report, see ``pytest --junitxml``."""
    losses_tried.clear()
    yield
    request.node.user_properties.append(("tried", len(losses_tried)))


def opened(path: Path) -> dict[str, Any]:
    with ZarrDataset(path, "r") as ds:
        seen = state_of(ds)
    with ZarrDataset(path, "r+") as ds:
        found = state_of(ds)
        check_invariants(ds)
    assert [key for key in found | seen if found.get(key) != seen.get(key)] == []
    return found


@pytest.mark.parametrize("durability", ["full", "relaxed"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_call_is_done_or_not_and_one_that_returned_is_done(
    name: str, durability: Durable, base: Path, tmp_path: Path
) -> None:
    call, top = OPERATIONS[name], tmp_path / "top"

    def fresh() -> ZarrDataset:
        shutil.rmtree(top, ignore_errors=True)
        shutil.copytree(base, top / "x.zarr")
        return ZarrDataset(top / "x.zarr", durability=durability)

    with fresh() as ds:
        before = state_of(ds)
        call(ds)
        after = state_of(ds)
    ds = fresh()
    points = losses(top, step=6)
    while True:
        ds = fresh()  # Before the point: what is there when it begins is safe.
        point = next(points)
        with point:
            call(ds)
        for path, how in worlds(point, tmp_path / "world", durability):
            found = opened(path / "x.zarr")
            if not point.reached and durability == "full":
                assert found == after, how
            assert found in (before, after), how
        ds.close()
        if not point.reached:
            break


def _several(ds: ZarrDataset) -> Iterator[Callable[[], object]]:
    """One change after the other, of things that hang together."""
    yield lambda: ds.add_image(PIXELS, image_id="new")
    yield lambda: ds["new"].save_json("n", {"n": 1})
    yield lambda: ds["new"].save_json("n", {"n": 2})
    yield lambda: ds["new"].save_array(PIXELS + 1)
    yield lambda: ds["new"].save_array(PIXELS + 2)
    yield lambda: ds["new"].save_array(PIXELS + 3)
    yield lambda: ds.save_table("t", pd.DataFrame({"image_id": ["new", "a"]}))
    yield lambda: ds["new"].save_array_artifact("m", PIXELS)
    yield lambda: ds["new"].delete_analysis()
    yield lambda: ds.delete_image("new")
    yield lambda: ds.add_image(PIXELS + 9, image_id="new")


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_of_many_calls_what_is_left_is_what_was_once_true(
    durability: Durable, base: Path, tmp_path: Path
) -> None:
    top = tmp_path / "top"

    def fresh() -> ZarrDataset:
        shutil.rmtree(top, ignore_errors=True)
        shutil.copytree(base, top / "x.zarr")
        return ZarrDataset(top / "x.zarr", durability=durability)

    with fresh() as ds:
        states = [state_of(ds)]
        for call in _several(ds):
            call()
            states.append(state_of(ds))
    fresh()
    points = losses(top, step=11)
    while True:
        ds = fresh()
        point, done = next(points), 0
        with point:
            for call in _several(ds):
                call()
                done += 1
        for path, how in worlds(point, tmp_path / "world", durability):
            found = opened(path / "x.zarr")
            least = done if durability == "full" else 0
            assert found in states[least : done + 2], (how, done)
        ds.close()
        if not point.reached:
            break


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_a_dataset_that_is_being_created(durability: Durable, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    points = losses(top, step=1)
    while True:
        shutil.rmtree(top)
        top.mkdir()
        point = next(points)
        with point:
            ZarrDataset(top / "deep" / "x.zarr", durability=durability).close()
        for world, how in worlds(point, tmp_path / "world", durability):
            path = world / "deep" / "x.zarr"
            try:
                assert opened(path) == {}
            except DatasetNotFoundError:
                assert point.reached or durability == "relaxed", how
            ZarrDataset(path).close()
            assert opened(path) == {}, how
        if not point.reached:
            break


def test_power_is_lost_again_while_what_was_left_is_put_right(base: Path, tmp_path: Path) -> None:
    top, world = tmp_path / "top", tmp_path / "world"
    name = "delete_image"
    with ZarrDataset(shutil.copytree(base, tmp_path / "x.zarr")) as ds:
        before = state_of(ds)
        OPERATIONS[name](ds)
        after = state_of(ds)

    def crashed() -> bool:
        shutil.rmtree(top, ignore_errors=True)
        shutil.copytree(base, top / "x.zarr")
        ds = ZarrDataset(top / "x.zarr")
        first = FaultyDisk(at)
        with FaultPoint(first, at, "crash"):
            OPERATIONS[name](ds)
        with contextlib.suppress(BaseException):
            ds.close()
        return first.struck

    at = 1
    while crashed():
        points = losses(top, step=3)
        while True:
            crashed()
            point = next(points)
            with point:
                ZarrDataset(top / "x.zarr", "r+").close()
            for path, how in worlds(point, world, "full"):
                assert opened(path / "x.zarr") in (before, after), (at, how)
            if not point.reached:
                break
        at += 1 if LONG else 3


def _killed(top: Path, base: Path, name: str, at: int) -> PowerLossDisk | None:
    """Let a process be killed in a call, at one operation; None if it was done before."""
    shutil.rmtree(top, ignore_errors=True)
    shutil.copytree(base, top / "x.zarr")
    ds = ZarrDataset(top / "x.zarr")
    disk = PowerLossDisk(top, at)
    point = FaultPoint(disk, at, "crash")
    with point:
        OPERATIONS[name](ds)
    with contextlib.suppress(BaseException):
        ds.close()
    return disk if point.reached else None


@pytest.mark.parametrize("name", OPERATIONS if LONG else ["save_json, replaced"])
def test_power_is_lost_after_another_has_put_right_what_a_killed_one_left(
    name: str, base: Path, tmp_path: Path
) -> None:
    top, world = tmp_path / "top", tmp_path / "world"
    with ZarrDataset(shutil.copytree(base, tmp_path / "x.zarr")) as ds:
        before = state_of(ds)
        OPERATIONS[name](ds)
        after = state_of(ds)
    at = 1
    while (disk := _killed(top, base, name, at)) is not None:
        disk.revive()
        with disk_replaced(disk):
            seen = opened(top / "x.zarr")
        for _, seed in rebuilt(disk, world, seeds=SEEDS):
            assert opened(world / "x.zarr") in (before, after), (at, seed)
        assert seen in (before, after)
        at += 1


@pytest.mark.parametrize("name", OPERATIONS if LONG else ["add_image"])
def test_what_is_acknowledged_below_the_work_of_a_killed_one_outlives_a_power_loss(
    name: str, base: Path, tmp_path: Path
) -> None:
    top, world = tmp_path / "top", tmp_path / "world"
    at = 1
    while (disk := _killed(top, base, name, at)) is not None:
        disk.revive()
        with disk_replaced(disk), ZarrDataset(top / "x.zarr", "r+") as ds:
            image_ids = ds.list_image_ids()
            for image_id in image_ids:
                ds[image_id].save_json("acknowledged/here", image_id)
        for _, seed in rebuilt(disk, world, seeds=SEEDS):
            with ZarrDataset(world / "x.zarr", "r+") as ds:
                for image_id in image_ids:
                    assert ds[image_id].load_json("acknowledged/here") == image_id, (at, seed)
                check_invariants(ds)
        at += 1


@pytest.mark.parametrize("call", ["save_json, new", *(["save_mask"] if LONG else [])])
def test_a_folder_that_is_made_on_the_way_is_not_lost_with_what_went_into_it(
    call: str, base: Path, tmp_path: Path
) -> None:
    top = tmp_path / "top"

    def fresh() -> ZarrDataset:
        shutil.rmtree(top, ignore_errors=True)
        shutil.copytree(base, top / "x.zarr")
        ds = ZarrDataset(top / "x.zarr")
        # The first of its kind: there is no folder for it yet.
        ds["a"].delete_analysis()
        ds["a"].delete_array_artifact("mean")
        return ds

    with fresh() as ds:
        before = state_of(ds)
        OPERATIONS[call](ds)
        after = state_of(ds)
    points = losses(top, step=2)
    while True:
        ds = fresh()
        point = next(points)
        with point:
            OPERATIONS[call](ds)
        assert isinstance(point.disk, PowerLossDisk)
        for _, seed in rebuilt(point.disk, tmp_path / "world", seeds=range(40 if EVERY else 16)):
            assert opened(tmp_path / "world" / "x.zarr") in (before, after), (point, seed)
        ds.close()
        if not point.reached:
            break
