"""Real processes, killed at any time, and many of them at once: nothing acknowledged is lost.

A few seconds of each by default; KYMFLOW_ZARR_LONG=1 makes it minutes, or what
KYMFLOW_ZARR_SECONDS says.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.testing import check_invariants
from tests.helpers.operations import LONG

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no SIGKILL for a process to be killed by"
)

SECONDS = float(os.environ.get("KYMFLOW_ZARR_SECONDS", 120 if LONG else 5))
WRITERS = 8

# Says what it is about to do, does it, and says that it is done; for ever.
WRITER = textwrap.dedent("""
    import json, os, random, sys, time
    import numpy as np, pandas as pd
    from kymflow_zarr import ZarrDataset

    path, me, seed, until = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    chance = random.Random(seed)
    ds = ZarrDataset(path, "r+")
    mine = [i for i in ds.list_image_ids() if i.startswith(me + "-")]
    count = seed * 100_000

    def say(*what):
        print(json.dumps(what), flush=True)

    # On a busy machine the time may be over before it has begun.
    while count < seed * 100_000 + 4 or time.time() < until:
        count += 1
        kind = chance.choice(["add", "own", "rows", "shared", "pixels", "delete", "drop"])
        if kind == "add" or not mine:
            image_id = f"{me}-{count}"
            say("try", "image", image_id, count)
            ds.add_image(np.full((16, 8), count % 60_000, np.uint16), image_id=image_id)
            mine.append(image_id)
            say("done", "image", image_id, count)
        elif kind == "own":
            image_id = chance.choice(mine)
            say("try", "own", image_id, count)
            ds[image_id].save_json("own", count)
            say("done", "own", image_id, count)
        elif kind == "rows":
            say("try", "rows", me, count)
            rows = pd.DataFrame({"writer": [me] * 3, "n": [count] * 3})
            ds.replace_rows_for_image_id("rows", me, rows, image_id_col="writer")
            say("done", "rows", me, count)
        elif kind == "shared":
            say("try", "shared", me, count)
            ds["shared"].save_json(f"of/{me}", count)
            say("done", "shared", me, count)
        elif kind == "pixels":
            say("try", "pixels", me, count)
            ds["shared"].save_array(np.full((64, 64), count % 60_000, np.uint16))
            say("done", "pixels", me, count)
        elif kind == "drop":
            say("try", "shared", me, None)
            ds["shared"].delete_analysis([f"of/{me}"])
            say("done", "shared", me, None)
        elif len(mine) > 3:
            image_id = mine.pop(chance.randrange(len(mine)))
            say("try", "image", image_id, None)
            ds.delete_image(image_id)
            say("done", "image", image_id, None)
    ds.close()
    sys.stdout.flush()
    os._exit(0)  # Arrow's threads abort the interpreter's own end now and then.
""")

READER = textwrap.dedent("""
    import os, sys, time
    import numpy as np
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.errors import NotFoundError

    path, until, looks = sys.argv[1], float(sys.argv[2]), 0
    ds = ZarrDataset(path, "r")
    while looks == 0 or time.time() < until:
        looks += 1
        if looks % 7 == 0:
            ds = ZarrDataset(path, "r")
        pixels = ds["shared"].load_array()
        assert pixels.shape == (64, 64) and len(np.unique(pixels)) == 1, np.unique(pixels)
        for image_id in ds.list_image_ids()[:5]:
            try:
                record = ds[image_id]
                assert len(np.unique(record.load_array())) == 1
                for info in record.list_artifacts():
                    record.load_json(info.name)
            except NotFoundError:
                pass  # Deleted since it was listed.
        table = ds.load_table("rows")
        assert (table.groupby("writer").n.nunique() == 1).all(), table
        assert (table.groupby("writer").size() == 3).all(), table
    print(looks, flush=True)
    os._exit(0)  # Arrow's threads abort the interpreter's own end now and then.
""")


class Account:
    """What must be there, as the writers said it."""

    def __init__(self) -> None:
        self.done: dict[tuple[str, str], int | None] = {}
        self.maybe: dict[tuple[str, str], int | None] = {}
        self.acknowledged = 0

    def read(self, lines: str) -> None:
        for line in lines.splitlines():
            try:
                what, kind, name, count = json.loads(line)
            except ValueError:
                continue  # Killed while it said it.
            if what == "try":
                self.maybe[kind, name] = count
            else:
                self.acknowledged += 1
                self.done[kind, name] = count
                self.maybe.pop((kind, name), None)
                if kind == "image" and count is None:
                    self.done.pop(("own", name), None)

    def settle(self, path: Path) -> None:
        """Hold the dataset against it; what was tried and not acknowledged may be or not."""
        with ZarrDataset(path, "r+") as ds:
            check_invariants(ds)
            found: dict[tuple[str, str], int | None] = {}
            for record in ds.iter_records():
                if record.image_id == "shared":
                    continue
                pixels = np.unique(record.load_array()).tolist()
                assert len(pixels) == 1
                found["image", record.image_id] = pixels[0]
                if "own" in {info.name for info in record.list_artifacts()}:
                    found["own", record.image_id] = record.load_json("own")
            for info in ds["shared"].list_artifacts():
                found["shared", info.name.removeprefix("of/")] = ds["shared"].load_json(info.name)
            table = ds.load_table("rows")
            for name, rows in table.groupby("writer"):
                assert rows.n.tolist() == [rows.n.iloc[0]] * 3
                found["rows", str(name)] = int(rows.n.iloc[0])
            assert len(np.unique(ds["shared"].load_array())) == 1
        for key in {*self.done, *self.maybe, *found} - {("rows", "nobody")}:
            if key[0] == "pixels":
                continue
            allowed = [self.done.get(key)]
            if key in self.maybe:
                allowed.append(self.maybe[key])
            if key[0] == "image":
                allowed = [n if n is None else n % 60_000 for n in allowed]
            if key[0] == "own" and found.get(("image", key[1])) is None:
                allowed.append(None)  # The image went, and the artifact with it.
            assert found.get(key) in allowed, (key, found.get(key), allowed)
        # What may have been is settled now.
        self.done = {key: self._whole(key, value) for key, value in found.items()}
        self.maybe = {}

    def _whole(self, key: tuple[str, str], value: int | None) -> int | None:
        told = [self.done.get(key), self.maybe.get(key)]
        return next((n for n in told if n is not None and n % 60_000 == value), value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.zarr"
    with ZarrDataset(path) as ds:
        ds.add_image(np.zeros((64, 64), np.uint16), image_id="shared")
        ds.save_table("rows", pd.DataFrame({"writer": ["nobody"] * 3, "n": [0] * 3}))
    return path


def outcome_of(process: subprocess.Popen[Any]) -> tuple[Any, Any]:
    """Wait for a process, and return what it wrote; kill one that does not end."""
    try:
        return process.communicate(timeout=SECONDS + 120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@contextmanager
def readers(path: Path, seconds: float, count: int) -> Iterator[None]:
    command = [sys.executable, "-c", READER, str(path), str(time.time() + seconds)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        yield
    finally:
        outcomes = [(outcome_of(process), process.returncode) for process in running]
    for (out, err), code in outcomes:
        assert code == 0, err
        assert int(out) > 0


def start(path: Path, me: str, seed: int, until: float, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(path), me, str(seed), str(until)]
    with log.open("wb") as said:
        return subprocess.Popen(command, stdout=said, stderr=subprocess.PIPE)


def test_a_writer_that_is_killed_again_and_again_loses_nothing_that_it_acknowledged(
    path: Path, tmp_path: Path
) -> None:
    account, chance, kills = Account(), random.Random(7), 0
    end = time.time() + SECONDS
    with readers(path, SECONDS, 1):
        while kills < 2 or time.time() < end:
            kills += 1
            log = tmp_path / "said"
            with start(path, "w", kills, time.time() + 60, log) as writer:
                while not log.stat().st_size and writer.poll() is None:
                    time.sleep(0.005)
                time.sleep(chance.uniform(0, 0.5))
                writer.send_signal(signal.SIGKILL)
                writer.wait(60)
            assert writer.returncode == -signal.SIGKILL
            account.read(log.read_text())
            account.settle(path)
    print(f"{kills} kills, {account.acknowledged} acknowledged")
    assert account.acknowledged > 0


def test_eight_processes_in_a_race_then_an_exact_account(path: Path, tmp_path: Path) -> None:
    end = time.time() + SECONDS + 3  # They take a moment to begin.
    logs = [(tmp_path / f"said-{i}") for i in range(WRITERS)]
    with readers(path, SECONDS, 2):
        running = [start(path, f"w{i}", i + 1, end, log) for i, log in enumerate(logs)]
        errors = [outcome_of(process)[1] for process in running]
    assert [process.returncode for process in running] == [0] * WRITERS, errors
    account = Account()
    for log in logs:
        account.read(log.read_text())
    assert account.maybe == {}
    account.settle(path)
    print(f"{WRITERS} writers, {account.acknowledged} acknowledged")
    assert account.acknowledged > WRITERS


def test_writers_that_are_killed_in_a_race_block_no_other_writer(
    path: Path, tmp_path: Path
) -> None:
    account, chance = Account(), random.Random(3)
    seed, end = 0, time.time() + SECONDS
    with readers(path, SECONDS, 1):
        while seed < 4 or time.time() < end:
            logs = [(tmp_path / f"said-{seed}-{i}") for i in range(4)]
            running = [
                start(path, f"w{i}", seed + i + 1, time.time() + 60, log)
                for i, log in enumerate(logs)
            ]
            seed += 4
            while not all(log.stat().st_size for log in logs):
                for process in running:
                    assert process.poll() is None, outcome_of(process)
                time.sleep(0.005)
            for process in running:
                time.sleep(chance.uniform(0, 0.3))
                process.kill()
                outcome_of(process)
            for log in logs:
                account.read(log.read_text())
            account.settle(path)
    print(f"{seed} kills, {account.acknowledged} acknowledged")


HOLDER = textwrap.dedent("""
    import sys, time
    from kymflow_zarr import ZarrDataset

    ds = ZarrDataset(sys.argv[1], "r+")
    with ds._open.storage.lock("image:shared", "table:rows"), ds._open.storage.lock("top"):
        print("held", flush=True)
        time.sleep(600)
""")


def test_a_writer_that_dies_holding_locks_blocks_no_other_writer(path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    with ZarrDataset(path, "r+") as ds:
        ds["shared"].save_json("note", 1)
        ds.save_table("rows", pd.DataFrame({"image_id": ["nobody"]}))
        assert ds.delete_image("shared") == 0
