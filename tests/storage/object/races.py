"""Writers that are killed and lose answers, and an exact account of what they were told.

The long run::

    python -m tests.storage.object.races s3://bucket/x.zarr --seconds 300
    python -m tests.storage.object.races /mnt/share/x.zarr --seconds 300

with the server and its credentials in the environment, as AWS_ENDPOINT and so on. A folder is a
dataset that several hosts may write; with --through each writer has a path of its own to it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kymflow_zarr import ZarrDataset
from kymflow_zarr.engine.addresses import is_address
from kymflow_zarr.errors import (
    KymflowZarrError,
    RecordExistsError,
    RecordNotFoundError,
    StorageError,
)
from kymflow_zarr.storage.object.bucket import Bucket
from kymflow_zarr.storage.object.garbage import collect
from kymflow_zarr.storage.shares.folder import SharedFolder

SHARED = tuple(f"shared{number}" for number in range(3))


class Lossy(Bucket):
    """A bucket of whose answers to puts a share is lost, after the store has acted."""

    lost = 0.0

    @contextmanager
    def request(self, kind: str, name: str, *, counts: bool = True) -> Iterator[None]:
        with super().request(kind, name, counts=counts):
            yield
        _lose(kind, name)


class LossyFolder(SharedFolder):
    """The same of a folder."""

    @contextmanager
    def request(self, kind: str, name: str) -> Iterator[None]:
        with super().request(kind, name):
            yield
        _lose(kind, name)


def _lose(kind: str, name: str) -> None:
    if kind == "put" and random.random() < Lossy.lost:
        raise StorageError("the answer was lost", where=name)


def _no_locks(*_: object) -> None:
    raise AssertionError("a lock of the operating system was asked for")


@dataclass
class Account:
    """What was told, and what was found."""

    acknowledged: int = 0
    killed: int = 0
    unknown: int = 0
    collected: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged, {self.killed} writers killed, {self.unknown} calls "
            f"with an error, {self.collected} objects collected, {len(self.problems)} lost, half "
            "or stale"
        )


def pixels_of(image_id: str) -> np.ndarray[Any, Any]:
    return np.full((50, 40), sum(image_id.encode()), "uint16")


def _write(address: str, options: dict[str, Any], log: Path, seed: int, lost: float) -> None:
    """Write until killed; log each call before it and after it."""
    import fcntl

    import kymflow_zarr.storage.object.bucket as buckets
    import kymflow_zarr.storage.shares.folder as folders

    Lossy.lost = lost
    buckets.Bucket = Lossy  # type: ignore[misc]
    folders.SharedFolder = LossyFolder  # type: ignore[misc]
    fcntl.flock = fcntl.lockf = _no_locks
    random.seed(seed)
    ds = ZarrDataset(address, mode="r+", storage_options=options or None)
    with log.open("a", buffering=1) as out:
        for number in range(1_000_000):
            unique = f"w{seed}-{number}"
            calls: dict[str, Any] = {
                "add": lambda i=unique: ds.add_image(pixels_of(i), image_id=i),
                "race": lambda n=number: ds.add_image(pixels_of(f"race{n}"), image_id=f"race{n}"),
                "note": lambda i=unique: ds[random.choice(SHARED)].save_json(i, i),
                "rows": lambda i=unique: ds.replace_rows_for_image_id(
                    "t", i, pd.DataFrame({"image_id": [i], "v": [1]})
                ),
                "delete": lambda i=unique: ds.delete_image(i),
            }
            for kind in ("add", "race", "note", "rows", *(["delete"] if number % 3 == 0 else [])):
                name = f"race{number}" if kind == "race" else unique
                out.write(json.dumps(["begin", kind, name]) + "\n")
                try:
                    calls[kind]()
                except RecordExistsError:
                    end = "exists"
                except KymflowZarrError:
                    end = "error"
                else:
                    end = "done"
                out.write(json.dumps([end, kind, name]) + "\n")


def run(
    address: str,
    options: dict[str, Any],
    *,
    seconds: float,
    writers: int = 8,
    kills_per_s: float = 1.0,
    lost: float = 0.06,
    grace_s: float | None = None,
    through: Sequence[str] = (),
) -> Account:
    """Let writers write and kill them; return the account of what is there in the end.

    With `grace_s` garbage is collected meanwhile, and `through` are other paths of the folder
    that the writers take in turn.
    """
    is_folder = not is_address(address)
    ds = ZarrDataset(address, mode="w", storage_options=options or None, shared=is_folder)
    for name in SHARED:
        ds.add_image(pixels_of(name), image_id=name)
    ds.save_table("t", pd.DataFrame({"image_id": ["start"], "v": [0]}))
    account = Account()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        seeds = iter(range(1_000_000))

        def start() -> Any:
            seed = next(seeds)
            log = Path(folder, f"{seed}.jsonl")
            place = through[seed % len(through)] if through else address
            process = context.Process(target=_write, args=(place, options, log, seed, lost))
            process.start()
            return process

        running = [start() for _ in range(writers)]
        patience = time.monotonic() + 120
        while sum("done" in log.read_text() for log in Path(folder).glob("*.jsonl")) < writers:
            assert time.monotonic() < patience, "the writers do not begin"
            time.sleep(0.1)
        until = time.monotonic() + seconds
        next_kill = time.monotonic() + seconds / 4
        next_collection = time.monotonic()
        while time.monotonic() < until:
            account.problems += _look(ds)
            if grace_s is not None and time.monotonic() > next_collection:
                bucket = ds._open.storage.bucket  # type: ignore[attr-defined]
                account.collected += len(collect(bucket, dry_run=False, grace_s=grace_s))
                next_collection = time.monotonic() + grace_s / 4
            if kills_per_s and time.monotonic() > next_kill:
                next_kill += 1 / kills_per_s
                victim = running.pop(random.randrange(len(running)))
                victim.kill()
                victim.join(60)
                account.killed += 1
                running.append(start())
        for process in running:
            process.kill()
            process.join(60)
        assert all(process.exitcode == -signal.SIGKILL for process in running)
        events = [
            json.loads(line)
            for log in sorted(Path(folder).glob("*.jsonl"))
            for line in log.read_text().splitlines()
            if line.endswith("]")
        ]
    _check(ds, events, account)
    return account


def _look(ds: ZarrDataset) -> list[str]:
    """Read an image as it is now: it is whole, or it is not there."""
    problems = []
    image_id = random.choice(ds.list_image_ids())
    try:
        with suppress(RecordNotFoundError):
            if not np.array_equal(ds[image_id].load_array(), pixels_of(image_id)):
                problems.append(f"{image_id} has other pixels")
    except KymflowZarrError as error:
        if image_id in ds:
            problems.append(f"{image_id}: {error}")
    return problems


def _check(ds: ZarrDataset, events: list[list[str]], account: Account) -> None:
    seen: dict[str, set[tuple[str, str]]] = {}
    for end, kind, name in events:
        seen.setdefault(end, set()).add((kind, name))
    begun, done = seen.get("begin", set()), seen.get("done", set())
    account.acknowledged = sum(end == "done" for end, _, _ in events)
    account.unknown = sum(end == "error" for end, _, _ in events)
    ids = set(ds.list_image_ids())
    notes = {info.name for name in SHARED for info in ds[name].list_artifacts()}
    rows = Counter(ds.load_table("t")["image_id"])
    for kind, name in sorted(done):
        is_deleted = ("delete", name) in begun
        if kind in ("add", "race") and name not in ids and not is_deleted:
            account.problems.append(f"{name} was added and is not there")
        if kind == "note" and name not in notes:
            account.problems.append(f"the artifact {name} was saved and is not there")
        if kind == "rows" and rows[name] != 1 and not is_deleted:
            account.problems.append(f"{rows[name]} rows of {name}")
        if kind == "delete" and (name in ids or rows[name]):
            account.problems.append(f"{name} was deleted and is there")
    account.problems += [f"{n} rows of {name}" for name, n in rows.items() if n > 1]
    wins = Counter(name for end, kind, name in events if (end, kind) == ("done", "race"))
    account.problems += [f"{name} was added {n} times" for name, n in wins.items() if n > 1]
    account.problems += [str(damage) for damage in ds.verify().damages]
    # Rows of an image that could not be added are a warning.
    found = ds.validate().problems
    account.problems += [str(problem) for problem in found if problem.severity == "error"]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--kills-per-s", type=float, default=1)
    parser.add_argument("--lost", type=float, default=0.06)
    parser.add_argument("--grace", type=float, help="Collect garbage after so many seconds.")
    parser.add_argument("--through", nargs="*", default=[], metavar="PATH")
    given = parser.parse_args()
    account = run(
        given.address, {}, seconds=given.seconds, writers=given.writers,
        kills_per_s=given.kills_per_s, lost=given.lost, grace_s=given.grace,
        through=given.through,
    )  # fmt: skip
    print(account, *account.problems[:20], sep="\n")


if __name__ == "__main__":
    main()
