"""A bucket at 20 ms a request, against zarr-python, Icechunk, pyarrow and a log; a published page.

The server is moto in a process of its own, which waits 20 ms before it looks at a request. Servers
of clouds answer many requests at once, which this one does not.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import Row, Skipped, interleaved
from kymflow_zarr import ZarrDataset

DELAY_S = 0.02
WRITERS = 8
KEYS = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}
# Of the link to a published page.
LATENCY_MS, BYTES_PER_S = 50, 20e6 / 8
FIRST_PICTURE_S, FIRST_PICTURE_REQUESTS = 1.0, 6

# Resolves once all tiles in view are drawn, to the time since the page was asked for and the
# number of files that came before.
DRAWN = """
() => new Promise((done) => {
  const look = () => {
    if (!document.querySelector('[data-testid=image-canvas][data-drawn=true]')) {
      requestAnimationFrame(look);
      return;
    }
    const now = performance.now();
    const files = performance.getEntriesByType('resource').filter(
      (one) => one.responseEnd <= now && !one.name.endsWith('.svg'));
    done([now / 1000, files.length + 1]);
  };
  look();
})
"""


def run(folder: Path, *, quick: bool) -> Iterator[Row | Skipped]:
    """Yield the comparisons."""
    if not all(map(find_spec, ("moto", "boto3", "werkzeug", "obstore"))):
        yield Skipped("a bucket", "needs moto[server,s3], boto3 and obstore")
    else:
        with _server() as endpoint:
            yield from _calls(endpoint, 3 if quick else 9)
            yield from _writers(endpoint, 3 if quick else 10)
            yield from _icechunk(endpoint, 3 if quick else 9)
    yield from _first_picture(folder, 2 if quick else 5)


def _serve(answers: Any) -> None:
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = DomainDispatcherApplication(create_backend_app)

    def delayed(environ: Any, start_response: Any) -> Any:
        time.sleep(DELAY_S)
        return app(environ, start_response)

    server = make_server("127.0.0.1", 0, delayed, threaded=True)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever)
        client = boto3.client(
            "s3", endpoint_url=endpoint, region_name=KEYS["region"],
            aws_access_key_id=KEYS["access_key_id"],
            aws_secret_access_key=KEYS["secret_access_key"],
        )  # fmt: skip
        client.create_bucket(Bucket="bucket")
        answers.put(endpoint)


@contextmanager
def _server() -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_serve, args=(answers,), daemon=True)
    process.start()
    try:
        yield answers.get(timeout=120)
    finally:
        process.terminate()
        process.join()


def _options(endpoint: str) -> dict[str, Any]:
    return {**KEYS, "endpoint": endpoint, "client_options": {"allow_http": True}}


def _store(endpoint: str) -> Any:
    from obstore.store import from_url

    return from_url(f"s3://bucket/peer-{uuid.uuid4().hex}", config=_config(endpoint),
                    client_options={"allow_http": True})  # fmt: skip


def _config(endpoint: str) -> Any:
    return {**KEYS, "endpoint": endpoint}


def _calls(endpoint: str, repeat: int) -> Iterator[Row]:
    import obstore
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zarr
    from zarr.storage import ObjectStore

    ds = ZarrDataset(f"s3://bucket/{uuid.uuid4().hex}.zarr", storage_options=_options(endpoint))
    pixels = np.random.default_rng(0).poisson(400, (4000, 38)).astype("uint16")
    record = ds.add_image(pixels, image_id="a", line_period_s=0.001)
    store = _store(endpoint)
    peer = ObjectStore(store)

    def add_to_peer(number: int) -> None:
        group = zarr.create_group(
            peer, path=f"images/{number}", attributes={"line_period_s": 0.001}
        )
        group.create_array("0", data=pixels, chunks=pixels.shape)

    def add(number: int) -> None:
        ds.add_image(pixels, image_id=f"i{number}", line_period_s=0.001)

    times = interleaved({"ours": add, "theirs": add_to_peer}, repeat=repeat)
    yield Row("add_image, a kymograph, to a bucket", "zarr-python with obstore", **times, goal=1)

    def read_peer(_: int) -> None:
        group: Any = zarr.open_group(peer, path="images/0", mode="r")
        group["0"][100:350]

    times = interleaved(
        {"ours": lambda _: ds["a"].load_array(slice(100, 350)), "theirs": read_peer}, repeat=repeat
    )
    yield Row("record and a window of 250 lines", "zarr-python with obstore", **times, goal=1)
    times = interleaved(
        {"ours": lambda _: record.load_array(slice(100, 350)), "theirs": read_peer}, repeat=repeat
    )
    yield Row("a window of 250 lines of a record", "zarr-python with obstore", **times, goal=1)

    ids = np.repeat([f"i{number}" for number in range(1000)], 100)
    table = pd.DataFrame({"image_id": ids, "v": np.arange(len(ids)) * 0.5})
    ds.save_table("t", table)
    obstore.put(store, "t.parquet", table.to_parquet(index=False))

    def load_peer(_: int) -> None:
        data = obstore.get(store, "t.parquet").bytes()
        pq.read_table(pa.BufferReader(bytes(data))).to_pandas()

    times = interleaved({"ours": lambda _: ds.load_table("t"), "theirs": load_peer}, repeat=repeat)
    yield Row("load_table, 100,000 rows", "one get and pyarrow", **times, goal=2)
    rows = table[table["image_id"] == "i500"]

    def replace_peer(_: int) -> None:
        data = obstore.get(store, "t.parquet").bytes()
        found = pq.read_table(pa.BufferReader(bytes(data))).to_pandas()
        kept = pd.concat([found[found["image_id"] != "i500"], rows])
        obstore.put(store, "t.parquet", kept.to_parquet(index=False))

    times = interleaved(
        {
            "ours": lambda _: ds.replace_rows_for_image_id("t", "i500", rows),
            "theirs": replace_peer,
        },
        repeat=repeat,
    )
    yield Row("rows of one image of 1,000 replaced", "get, pandas, put", **times)


def _writers(endpoint: str, images: int) -> Iterator[Row]:
    """Yield the time an image takes if eight write, with a head for each image and with one log."""
    from obstore.store import from_url

    from kymflow_zarr.storage.object.bucket import Bucket

    pixels = np.random.default_rng(0).poisson(400, (1000, 38)).astype("uint16")
    address = f"s3://bucket/{uuid.uuid4().hex}.zarr"
    ZarrDataset(address, storage_options=_options(endpoint))
    opened = [ZarrDataset(address, storage_options=_options(endpoint)) for _ in range(WRITERS)]

    def write(writer: int) -> None:
        for number in range(images):
            opened[writer].add_image(pixels, image_id=f"w{writer}-{number}")

    log = Bucket(
        f"test://{uuid.uuid4().hex}",
        store=from_url(f"s3://bucket/log-{uuid.uuid4().hex}", config=_config(endpoint),
                       client_options={"allow_http": True}),
    )  # fmt: skip
    data = pixels.tobytes()

    def write_to_log(writer: int) -> None:
        # Each commit is the next object of one sequence, put if it is not there yet.
        following = 0
        for number in range(images):
            for part in ("chunk", "array", "group"):
                log.put(f"{writer}/{number}/{part}", data if part == "chunk" else b"{}")
            for position in itertools.count(following):
                if log.put_if(f"log/{position}", b"{}", None) is not None:
                    following = position + 1
                    break

    def put_only(writer: int) -> None:
        for number in range(images):
            for part in range(5):
                log.put(f"bare/{writer}/{number}/{part}", b"" if part else data)

    ours, theirs, bare = (
        _together(call) / (WRITERS * images) for call in (write, write_to_log, put_only)
    )
    yield Row(f"an image of {WRITERS} writers at once", "one log of commits", ours, theirs,
              goal=5, at_most=False)  # fmt: skip
    yield Row(f"an image of {WRITERS} writers at once", "five bare puts by each", ours, bare)


def _icechunk(endpoint: str, repeat: int) -> Iterator[Row | Skipped]:
    """Yield rows against Icechunk, whose repository is one sequence of snapshots."""
    if find_spec("icechunk") is None:
        yield Skipped("a bucket", "needs icechunk, of the group bench")
        return
    import icechunk
    import zarr

    pixels = np.random.default_rng(0).poisson(400, (1000, 38)).astype("uint16")
    address = f"s3://bucket/{uuid.uuid4().hex}.zarr"
    ZarrDataset(address, storage_options=_options(endpoint))
    opened = [ZarrDataset(address, storage_options=_options(endpoint)) for _ in range(WRITERS)]
    repository = icechunk.Repository.create(
        icechunk.s3_storage(
            bucket="bucket", prefix=f"ice-{uuid.uuid4().hex}", endpoint_url=endpoint,
            allow_http=True, force_path_style=True, region=KEYS["region"],
            access_key_id=KEYS["access_key_id"], secret_access_key=KEYS["secret_access_key"],
        )
    )  # fmt: skip
    session = repository.writable_session("main")
    zarr.create_group(session.store, path="images")
    session.commit("images")

    def add(image_id: str, writer: int = 0) -> None:
        opened[writer].add_image(pixels, image_id=image_id, line_period_s=0.001)

    def add_to_peer(image_id: str) -> None:
        session = repository.writable_session("main")
        group = zarr.create_group(
            session.store, path=f"images/{image_id}", attributes={"line_period_s": 0.001}
        )
        group.create_array("0", data=pixels, chunks=pixels.shape)
        # What others have committed meanwhile does not touch this image.
        session.commit(image_id, rebase_with=icechunk.ConflictDetector(), rebase_tries=1000)

    times = interleaved(
        {"ours": lambda n: add(f"one{n}"), "theirs": lambda n: add_to_peer(f"one{n}")},
        repeat=repeat,
    )
    yield Row("add_image, 1,000 lines, to a bucket", "Icechunk", **times, goal=1)

    def read_peer(_: int) -> None:
        group: Any = zarr.open_group(
            repository.readonly_session("main").store, path="images/one0", mode="r"
        )
        group["0"][100:350]

    times = interleaved(
        {"ours": lambda _: opened[0]["one0"].load_array(slice(100, 350)), "theirs": read_peer},
        repeat=repeat,
    )
    yield Row("record and a window of 250 lines", "Icechunk", **times)
    each = max(1, repeat // 3)
    ours = _together(lambda writer: [add(f"w{writer}-{n}", writer) for n in range(each)])
    theirs = _together(lambda writer: [add_to_peer(f"w{writer}-{n}") for n in range(each)])
    yield Row(f"an image of {WRITERS} writers at once", "Icechunk, one sequence",
              ours / (WRITERS * each), theirs / (WRITERS * each),
              goal=5, at_most=False)  # fmt: skip


def _together(call: Callable[[int], object]) -> float:
    begun = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(call, range(WRITERS)))
    return time.perf_counter() - begun


def _first_picture(folder: Path, repeat: int) -> Iterator[Row | Skipped]:
    from tests.helpers.static_host import hosted

    from benchmarks.datasets.viewer import FLAGS, NAMES

    name = "first picture of a published dataset"
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None or find_spec("playwright") is None:
        yield Skipped(name, "needs playwright and Chromium")
        return
    from playwright.sync_api import sync_playwright

    pixels = np.random.default_rng(0).poisson(400, (10_000, 38)).astype("uint16")
    with ZarrDataset(folder / "x.zarr") as ds:
        for number in range(50):
            ds.add_image(pixels[number:], image_id=f"i{number}", line_period_s=0.001)
        ds.publish(folder / "web")
    seconds, files = [], []
    with hosted(folder / "web") as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        for _ in range(repeat):
            context = browser.new_context()
            page = context.new_page()
            context.new_cdp_session(page).send(
                "Network.emulateNetworkConditions",
                {"offline": False, "latency": LATENCY_MS, "downloadThroughput": BYTES_PER_S,
                 "uploadThroughput": BYTES_PER_S},
            )  # fmt: skip
            page.goto(f"{url}/index.html#/image/i7", wait_until="commit")
            took, requests = page.evaluate(DRAWN)
            seconds.append(took)
            files.append(requests)
            context.close()
        browser.close()
    link = f"{LATENCY_MS} ms and 20 Mbit/s"
    yield Row(name, f"the goal, at {link}", float(np.median(seconds)), FIRST_PICTURE_S, goal=1)
    yield Row(f"{name}: requests", "the goal", float(np.median(files)), FIRST_PICTURE_REQUESTS,
              goal=1, unit="requests")  # fmt: skip
