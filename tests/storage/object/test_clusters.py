"""Work on a Dask cluster that is started by its own commands, as the page on clusters shows."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import StorageError
from kymflow_zarr.runtime.limits import set_limits
from tests.helpers.operations import LONG

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals"),
    # Dask logs and warns, from threads of its own, when its workers die.
    pytest.mark.filterwarnings("ignore"),
]

PATIENCE_S: Final = 120


class Host(NamedTuple):
    """What is started there begins with these words, and listens at this address."""

    before: tuple[str, ...] = ()
    address: str = "127.0.0.1"


class Cluster:
    """A scheduler, and two workers on each host, in processes of their own.

    Parameters
    ----------
    folder : Path
    environment : dict of str to str
    hosts : sequence of Host
        The scheduler is on the first.
    """

    def __init__(
        self, folder: Path, environment: dict[str, str], hosts: Sequence[Host] = (Host(),)
    ) -> None:
        self._folder, self._file = folder, folder / "scheduler.json"
        self._hosts = hosts
        # The functions of this module are imported there.
        top = Path(__file__).parents[3]
        path = os.pathsep.join([str(top / "src"), str(top), os.environ.get("PYTHONPATH", "")])
        self._environment = {
            **os.environ, **environment, "PYTHONPATH": path,
            "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "20s",
        }  # fmt: skip
        self._processes: list[subprocess.Popen[bytes]] = []
        self.client: Any = None

    def start(self) -> None:
        """Start it, and connect."""
        first = self._hosts[0]
        self.scheduler = self._started(first, "scheduler", "--host", first.address, "--port", "0")
        until = time.monotonic() + PATIENCE_S
        while not self._file.exists():
            assert self.scheduler.poll() is None, self._log()
            assert time.monotonic() < until, self._log()
            time.sleep(0.05)
        self.workers = [self._worker(host) for host in self._hosts for _ in range(2)]
        self.client = distributed.Client(scheduler_file=str(self._file), timeout=PATIENCE_S)
        self.client.wait_for_workers(len(self.workers), timeout=PATIENCE_S)
        self.executor: Executor = self.client.get_executor()

    def _log(self) -> str:
        return (self._folder / "log").read_text()

    def _started(self, host: Host, *args: str, before: str = "") -> subprocess.Popen[bytes]:
        command = [
            *host.before, sys.executable, "-c",
            f"{before}from dask.__main__ import main; main()", args[0],
            "--scheduler-file", str(self._file), "--no-dashboard", *args[1:],
        ]  # fmt: skip
        # The log of a worker with a full disk would be full at once.
        with Path(os.devnull if before else self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, cwd=self._folder
            )
        self._processes.append(process)
        return process

    def _worker(self, host: Host, before: str = "") -> subprocess.Popen[bytes]:
        return self._started(
            host, "worker", "--host", host.address, "--nthreads", "1", "--no-nanny", before=before
        )

    def add_worker_with_a_full_disk(self) -> None:
        """Start a worker that writes small files alone: others fail as they do on a full disk."""
        # It limits itself: this process has threads, in whose midst a forked child runs no Python.
        self.workers.append(
            self._worker(
                self._hosts[0],
                "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
                "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); ",
            )
        )
        self.client.wait_for_workers(len(self.workers), timeout=PATIENCE_S)

    def close(self) -> None:
        """Kill all of it."""
        try:
            if self.client is not None:
                self.client.close(timeout=1)
        finally:
            for process in self._processes:
                process.kill()
                process.wait(PATIENCE_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Return a function that starts a cluster."""
    started: list[Cluster] = []

    def begin(*hosts: Host, **environment: str) -> Cluster:
        started.append(Cluster(tmp_path, environment, hosts or (Host(),)))
        started[-1].start()
        return started[-1]

    try:
        # Without it a call would wait for a day for what a worker that was lost does not answer.
        with set_limits(worker_seconds=PATIENCE_S):
            yield begin
    finally:
        for cluster in started:
            cluster.close()


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Return two hosts: network namespaces with addresses and names of their own."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces are made by root, with the program ip, on Linux")
    number = os.getpid()
    bridge, net = f"kz{number}", f"10.213.{number % 250}"
    names = [f"{bridge}a", f"{bridge}b"]
    commands = [
        f"link add {bridge} type bridge",
        f"addr add {net}.1/24 dev {bridge}",
        f"link set {bridge} up",
    ]
    for at, name in enumerate(names, 2):
        commands += [
            f"netns add {name}",
            f"link add {name} type veth peer name eth0 netns {name}",
            f"link set {name} master {bridge} up",
            f"-n {name} addr add {net}.{at}/24 dev eth0",
            f"-n {name} link set eth0 up",
            f"-n {name} link set lo up",
        ]
    try:
        for command in commands:
            done = _ip(command)
            if done.returncode:
                pytest.skip(f"no network namespaces here: ip {command}: {done.stderr.strip()}")
        named = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')
        yield [
            Host(("ip", "netns", "exec", name, *named, name), f"{net}.{at}")
            for at, name in enumerate(names, 2)
        ]
    finally:
        for name in names:
            _ip(f"link del {name}")
            _ip(f"netns del {name}")
        _ip(f"link del {bridge}")


def _ip(command: str) -> subprocess.CompletedProcess[str]:
    words = ["ip", *command.split()]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def images(folder: Path, number: int) -> Path:
    """Write images of noise, which take more bytes than a worker with a full disk may write."""
    folder.mkdir()
    for i in range(number):
        pixels = np.random.default_rng(i).integers(0, 4000, (100, 40)).astype("uint16")
        tifffile.imwrite(folder / f"k{i:03}.tif", pixels)
    return folder


def mean(record: Any) -> float:
    return float(record.load_array().mean())


def at(number: int, call: Callable[[], object]) -> Callable[[int, int, str], None]:
    """Return a progress that calls something once, when so many are done."""

    def progress(done: int, total: int, label: str) -> None:
        if done == number:
            call()

    return progress


def test_a_worker_dies_and_another_has_a_full_disk(
    tmp_path: Path, start: Callable[..., Cluster]
) -> None:
    number = 200 if LONG else 40
    folder = images(tmp_path / "images", number)
    cluster = start()
    cluster.add_worker_with_a_full_disk()
    path = tmp_path / "x.zarr"
    with ZarrDataset(path, shared=True, durability="relaxed") as ds:
        with pytest.raises(StorageError, match="cannot write: File too large"):
            ds.ingest_legacy_folder(folder, executor=cluster.executor)
        there = len(ds)
        assert ds.verify().ok
        cluster.workers[2].kill()
        report = ds.ingest_legacy_folder(
            folder, executor=cluster.executor, progress=at(10, cluster.workers[0].kill)
        )
        assert cluster.workers[0].wait(PATIENCE_S) == -signal.SIGKILL
        assert len(report.ingested) == number - there
        assert ds.verify(executor=cluster.executor).ok
        assert dict(ds.map(mean, executor=cluster.executor)) == dict(ds.map(mean))
        out = ds.export_legacy_folder(tmp_path / "out", executor=cluster.executor)
        assert len([*(tmp_path / "out").rglob("*.tif")]) == number, str(out)
        assert ds.repair(executor=cluster.executor).ok


def where_it_is_read(record: Any) -> tuple[str, float]:
    return socket.gethostname(), mean(record)


def test_two_hosts_ingest_a_folder_and_a_worker_of_the_other_one_is_killed(
    tmp_path: Path, start: Callable[..., Cluster], hosts: list[Host]
) -> None:
    number = 200 if LONG else 60
    folder = images(tmp_path / "images", number)
    cluster = start(*hosts)
    with ZarrDataset(tmp_path / "x.zarr", shared=True, durability="relaxed") as ds:
        report = ds.ingest_legacy_folder(
            folder, executor=cluster.executor, progress=at(20, cluster.workers[3].kill)
        )
        assert cluster.workers[3].wait(PATIENCE_S) == -signal.SIGKILL
        assert len(report.ingested) == number
        assert ds.verify(executor=cluster.executor).ok
        there = dict(ds.map(where_it_is_read, executor=cluster.executor))
        assert {image_id: value for image_id, (_, value) in there.items()} == dict(ds.map(mean))
        # The names of both, and not that of this one.
        assert {host for host, _ in there.values()} == {host.before[-1] for host in hosts}


def test_the_scheduler_dies_and_the_same_call_goes_on_elsewhere(
    tmp_path: Path, start: Callable[..., Cluster]
) -> None:
    number = 120
    folder = images(tmp_path / "images", number)
    cluster = start()
    # So few are submitted at once that not all can be done when the scheduler dies.
    cluster.executor._max_workers = 1  # type: ignore[attr-defined]
    with ZarrDataset(tmp_path / "x.zarr", durability="relaxed") as ds:
        # Of what it had submitted Dask says that it was cancelled; to the rest it never answers.
        with pytest.raises(BrokenExecutor, match="with another executor goes on from there"):
            ds.ingest_legacy_folder(
                folder, executor=cluster.executor, progress=at(10, cluster.scheduler.kill)
            )
        there = len(ds)
        assert 10 <= there < number
        assert len(ds.ingest_legacy_folder(folder).ingested) == number - there
        assert ds.verify().ok


def test_workers_write_to_a_bucket_with_credentials_of_their_own(
    tmp_path: Path,
    start: Callable[..., Cluster],
    s3_options: dict[str, Any],
    new_address: Callable[[], str],
) -> None:
    folder = images(tmp_path / "images", 4)
    cluster = start(
        AWS_ACCESS_KEY_ID=s3_options["access_key_id"],
        AWS_SECRET_ACCESS_KEY=s3_options["secret_access_key"],
    )
    ds = ZarrDataset(new_address(), storage_options=s3_options)
    assert len(ds.ingest_legacy_folder(folder, executor=cluster.executor).ingested) == 4
    assert ds.verify(executor=cluster.executor).ok
    assert dict(ds.map(mean, executor=cluster.executor)) == dict(ds.map(mean))
    array = ds[ds.list_image_ids()[0]].open_array()
    sent = pickle.dumps(array)
    assert s3_options["secret_access_key"].encode() not in sent
    assert len(sent) < 10_000  # The address alone: the chunks are read in the workers.
    import dask.array

    lazy = dask.array.from_array(array, chunks=(50, 40))
    assert int(cluster.client.compute(lazy.sum()).result(PATIENCE_S)) == int(
        np.asarray(array[:]).sum()
    )
