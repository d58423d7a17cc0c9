"""A dataset in a bucket is the one that it would be in a folder, at a known number of requests."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from obstore.store import MemoryStore
from zarr.storage import ObjectStore

from kymflow_zarr import ZarrDataset
from kymflow_zarr.api.dataset import _reopened
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import (
    ArgumentError,
    DatasetExistsError,
    DatasetNotFoundError,
    EditConflictError,
    RecordExistsError,
    RecordNotFoundError,
    SchemaValidationError,
    StorageError,
)
from kymflow_zarr.runtime.lease import working_under
from kymflow_zarr.storage.interface import ConflictError
from kymflow_zarr.storage.object import garbage
from kymflow_zarr.storage.object.bucket import Bucket
from kymflow_zarr.storage.object.heads import Pending, State
from kymflow_zarr.storage.object.states import States
from kymflow_zarr.storage.object.storage import ObjectStorage
from kymflow_zarr.testing import state_of
from tests.storage.object.conftest import SECRET
from tests.storage.test_dataset_on_memory import work

PIXELS = np.arange(2000, dtype="uint16").reshape(50, 40)
ROWS = pd.DataFrame({"image_id": ["a", "a"], "v": [1, 2]})
Open = Callable[..., ZarrDataset]


@pytest.fixture
def open_s3(s3_options: dict[str, Any], new_address: Callable[[], str]) -> Open:
    """Return a function that opens one dataset in the bucket."""
    address = new_address()

    def opened(mode: Any = "a") -> ZarrDataset:
        return ZarrDataset(address, mode=mode, storage_options=s3_options)

    return opened


def dataset_in(bucket: Bucket) -> ZarrDataset:
    return _reopened(OpenDataset.on, (ObjectStorage(bucket, writable=True),))


def in_memory() -> tuple[ZarrDataset, Bucket]:
    bucket = Bucket("test://counted", store=MemoryStore())
    return dataset_in(bucket), bucket


def test_it_holds_what_a_dataset_in_a_folder_holds(open_s3: Open, tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr") as here, open_s3() as there:
        work(here)
        work(there)
        assert state_of(there) == state_of(here)
        assert there.verify().ok
        assert there.validate().ok
    assert state_of(open_s3("r")) == state_of(here)


def test_folders_go_in_and_come_out(open_s3: Open, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", PIXELS)
    (tmp_path / "in.json").write_text('{"experiment_metadata": {"animal": "m1"}}')
    ds = open_s3()
    assert not ds.ingest_legacy_folder(tmp_path).failed
    (image_id,) = ds.list_image_ids()
    assert np.array_equal(ds[image_id].load_array(), PIXELS)
    ds.export_legacy_folder(tmp_path / "out")
    again = ZarrDataset(tmp_path / "again.zarr")
    again.ingest_legacy_folder(tmp_path / "out")
    assert np.array_equal(again[image_id].load_array(), PIXELS)


def test_modes_mean_what_they_mean_in_folders(open_s3: Open) -> None:
    for mode in ("r", "r+"):
        with pytest.raises(DatasetNotFoundError):
            open_s3(mode)
    open_s3("w-").add_image(PIXELS, image_id="a")
    with pytest.raises(DatasetExistsError):
        open_s3("w-")
    assert open_s3("a").list_image_ids() == open_s3("r+").list_image_ids() == ["a"]
    with pytest.raises(PermissionError):
        open_s3("r").add_image(PIXELS)
    assert open_s3("w").list_image_ids() == []
    assert open_s3("r").list_image_ids() == []


def test_wrong_addresses_are_refused_before_anything_is_written(
    s3_options: dict[str, Any], new_address: Callable[[], str], tmp_path: Path
) -> None:
    address = new_address()
    Bucket(address, s3_options).put("somebody/elses.txt", b"x")
    with pytest.raises(SchemaValidationError, match=r"holds no kymflow_zarr dataset, but somebody"):
        ZarrDataset(address, storage_options=s3_options)
    with pytest.raises(ArgumentError, match="address of no place"):
        ZarrDataset("ftp://host/x.zarr")
    with pytest.raises(ArgumentError, match="storage_options"):
        ZarrDataset(tmp_path / "x.zarr", storage_options=s3_options)
    with pytest.raises(ArgumentError, match="'allow_http' is an option of the connections"):
        ZarrDataset(address, storage_options={**s3_options, "allow_http": True})
    with pytest.raises(StorageError, match="not in a folder"):
        _ = ZarrDataset("memory://path").path
    assert ZarrDataset("memory://path").location == "memory://path"


def test_zarr_reads_an_image_from_the_bucket_without_this_package() -> None:
    ds, bucket = in_memory()
    ds.add_image(PIXELS, image_id="a").save_array(PIXELS * 2)
    store = ObjectStore(bucket._store, read_only=True)
    group = zarr.open_group(store, path="images/a", mode="r")
    level = group.attrs["ome"]["multiscales"][0]["datasets"][0]["path"]  # type: ignore[index, call-overload]
    assert np.array_equal(np.asarray(group[str(level)]), PIXELS * 2)
    ds.delete_image("a")
    with pytest.raises(FileNotFoundError):
        zarr.open_group(store, path="images/a", mode="r")


def test_each_call_costs_its_number_of_requests() -> None:
    ds, bucket = in_memory()
    big = np.arange(4000 * 38, dtype="uint16").reshape(4000, 38)

    def requests(call: Callable[[], object]) -> int:
        before = sum(bucket.requests.values())
        call()
        return sum(bucket.requests.values()) - before

    assert requests(lambda: ds.add_image(big, image_id="a")) <= 5
    rec = ds["a"]
    assert requests(lambda: ds.record("a")) == 1
    assert requests(lambda: rec.load_array(slice(100, 350))) <= 3
    assert requests(lambda: rec.save_json("note", {"q": 1})) <= 3
    assert requests(lambda: rec.load_json("note")) <= 2
    assert requests(lambda: rec.save_array(big + 1)) <= 7
    assert requests(lambda: ds.save_table("t", ROWS)) <= 4
    assert requests(lambda: ds.replace_rows_for_image_id("t", "a", ROWS[:1])) <= 4
    assert requests(lambda: ds.load_table("t")) <= 2
    assert requests(lambda: ds.delete_image("a")) <= 16


def test_the_index_reads_each_image_with_one_request_and_only_once() -> None:
    ds, bucket = in_memory()
    for number in range(70):
        record = ds.add_image(PIXELS, image_id=f"i{number}")
        record.save_metadata_payload({"version": "2.0", "experiment_metadata": {"animal": "m"}})
    before = sum(bucket.requests.values())
    assert list(ds.images()["animal"]) == ["m"] * 70
    cold = sum(bucket.requests.values())
    assert cold - before <= 70 + 10
    assert len(dataset_in(bucket).images()) == 70
    assert sum(bucket.requests.values()) - cold <= 8


def test_a_warm_list_of_ten_thousand_costs_no_request_for_each() -> None:
    ds, bucket = in_memory()
    ds.add_image(PIXELS, image_id="a")
    head, _ = bucket.get("heads/images/a.json") or (b"", "")
    for number in range(10_000):
        bucket.put(f"heads/images/i{number}.json", head)
    before = sum(bucket.requests.values())
    assert len(ds.list_image_ids()) == 10_001
    assert sum(bucket.requests.values()) - before <= 12


def test_repair_frees_space_a_week_after_nothing_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ds, bucket = in_memory()
    work(ds)
    before = state_of(ds)
    bucket.put("images/c/zarr.json", b"the copy for viewers of a deleted image")
    ds.repair()
    in_use = {item.name for item in bucket.list_below("")}
    assert ds.repair().actions == ()
    assert {item.name for item in bucket.list_below("")} == in_use
    clock = garbage._clock
    monkeypatch.setattr(garbage, "_clock", lambda bucket: clock(bucket) + 8 * 86_400)
    planned = ds.repair(dry_run=True).actions
    assert {item.name for item in bucket.list_below("")} == in_use
    done = ds.repair().actions
    assert done == planned
    assert {action.kind for action in done} == {"sweep"}
    left = {item.name for item in bucket.list_below("")}
    assert in_use - left == {action.where for action in done}
    assert not any(name.startswith(("images/c/", "staged/", "probe/")) for name in left)
    assert state_of(ds) == before
    assert ds.verify().ok


def test_a_store_that_ignores_conditions_is_refused() -> None:
    class Careless(Bucket):
        def put_if(self, name: str, data: bytes, tag: str | None) -> str | None:
            self.put(name, data)
            return "tag"

    storage = ObjectStorage(Careless("test://careless", store=MemoryStore()), writable=True)
    with pytest.raises(StorageError, match="ignores conditions"):
        OpenDataset.on(storage)


def test_writers_on_many_hosts_lose_no_update(open_s3: Open) -> None:
    # Each has its own storage, as on a host of its own: the locks of threads do not apply.
    first = open_s3()
    first.add_image(PIXELS, image_id="shared")
    first.save_table("t", pd.DataFrame({"image_id": ["start"], "n": [0]}))
    errors: list[str] = []
    created: list[int] = []

    def write(worker: int) -> None:
        try:
            ds = open_s3("r+")
            ds._open.storage._locks = type(ds._open.storage._locks)("own")  # type: ignore[attr-defined]
            for number in range(4):
                ds["shared"].save_json(f"w{worker}/{number}", {"n": number})
                ds.add_image(PIXELS + worker, image_id=f"i{worker}-{number}")
                rows = pd.DataFrame({"image_id": [f"i{worker}-{number}"], "n": [number]})
                ds.replace_rows_for_image_id("t", f"i{worker}-{number}", rows)
                try:
                    ds.add_image(PIXELS, image_id=f"race{number}")
                    created.append(number)
                except RecordExistsError:
                    pass
                if number:
                    ds.delete_image(f"i{worker}-{number}")
        except Exception:  # noqa: BLE001 - shown below
            errors.append(traceback.format_exc())

    threads = [threading.Thread(target=write, args=(worker,), daemon=True) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []
    ds = open_s3("r")
    expected = {f"w{w}/{n}" for w in range(4) for n in range(4)}
    assert {item.name for item in ds["shared"].list_artifacts()} == expected
    assert ds.list_image_ids() == sorted(
        ["shared", *(f"i{w}-0" for w in range(4)), *(f"race{n}" for n in range(4))]
    )
    assert sorted(created) == [0, 1, 2, 3]
    assert sorted(ds.load_table("t")["image_id"]) == ["i0-0", "i1-0", "i2-0", "i3-0", "start"]
    assert ds.verify().ok


def test_a_change_that_was_undecided_when_it_was_read_is_not_undone() -> None:
    ds, bucket = in_memory()
    ds.save_table("t", ROWS)
    deleter, other = States(bucket), States(bucket)
    seen = deleter.read("top")
    files = {key: entry for key, entry in seen.files.items() if key != "tables/t.parquet"}
    change = Pending(change="c" * 32, then=State(files=files))
    deleter._swap("top", seen, seen.state, change)
    undecided = other.read("top")
    deleter._decide(change.change, "committed")
    with pytest.raises(ConflictError):
        other.commit({"top": (undecided, State(files=undecided.files))})
    assert ds.list_table_names() == []


@pytest.mark.parametrize("kind", ["replace", "add", "delete"])
def test_a_worker_that_commits_when_its_call_ends_changes_nothing(kind: str) -> None:
    ds, bucket = in_memory()
    ds.save_table("t", ROWS)
    record = ds.add_image(PIXELS, image_id="a")
    calls = {
        "replace": lambda: record.save_json("note", "late"),
        "add": lambda: ds.add_image(PIXELS, image_id="b"),
        "delete": lambda: ds.delete_image("a"),
    }
    asked, ended = threading.Event(), threading.Event()
    ask = bucket.get

    def slow(name: str) -> tuple[bytes, str] | None:
        found = ask(name)
        if name.endswith("/lease.json"):  # It may commit; meanwhile the call ends.
            asked.set()
            assert ended.wait(20)
        return found

    def work(lease: Any) -> None:
        with working_under(lease):
            calls[kind]()

    before = state_of(ds)
    with ThreadPoolExecutor(1) as pool:
        with ds._open.storage.lease() as lease:
            bucket.get = slow  # type: ignore[method-assign]
            done = pool.submit(work, lease)
            assert asked.wait(20)
            bucket.get = ask  # type: ignore[method-assign]
        ended.set()
        with pytest.raises(StorageError, match="has ended"):
            done.result(60)
    assert state_of(ds) == before
    assert ds.validate().ok
    assert not [item.name for item in bucket.list_below("leases/")]
    calls[kind]()


def test_an_edit_that_another_host_overtook_is_refused(open_s3: Open) -> None:
    ds = open_s3()
    record = ds.add_image(PIXELS, image_id="a")
    other = open_s3()
    other._open.storage._locks = type(other._open.storage._locks)("own")  # type: ignore[attr-defined]

    def edit_both() -> None:
        with record.edit() as edit:
            edit.set_note("mine")
            with other["a"].edit() as edit_there:
                edit_there.set_note("theirs")

    with pytest.raises(EditConflictError, match="another writer"):
        edit_both()
    assert ds["a"].curation().note == "theirs"


def test_secrets_are_in_no_error_pickle_or_repr(
    s3_options: dict[str, Any], open_s3: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    ds = open_s3()
    ds.add_image(PIXELS, image_id="a")
    pickled = pickle.dumps(ds) + pickle.dumps(ds["a"])
    assert SECRET.encode() not in pickled
    shown = [repr(ds), repr(ds["a"]), repr(vars(ds._open.storage).get("bucket")), ds.location]
    changes = ({"endpoint": "http://127.0.0.1:9"}, {"region": SECRET, "no_such_option": 1})
    wrong = [{**s3_options, **change} for change in changes]
    for options in wrong:
        options["retry_config"] = {"max_retries": 0}
        with pytest.raises(StorageError) as caught:
            ZarrDataset(ds.location, mode="r", storage_options=options)
        shown.append("".join(traceback.format_exception(caught.value)))
    with pytest.raises(RecordNotFoundError) as missing:
        ds["nothing"]
    shown.append("".join(traceback.format_exception(missing.value)))
    out = capfd.readouterr()
    assert SECRET not in "".join([*shown, out.out, out.err])
    stored = b"".join(found[0] for item in ds._open.storage.bucket.list_below("")  # type: ignore[attr-defined]
                      if (found := ds._open.storage.bucket.get(item.name)))  # type: ignore[attr-defined]  # fmt: skip
    assert SECRET.encode() not in stored


def _shape_in_another_process(pickled: bytes, answers: Any) -> None:
    answers.put(pickle.loads(pickled).load_array().shape)


def test_another_process_reads_with_credentials_of_its_own(
    open_s3: Open, s3_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = open_s3()
    pickled = pickle.dumps(ds.add_image(PIXELS, image_id="a"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_options["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_options["secret_access_key"])
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_shape_in_another_process, args=(pickled, answers))
    process.start()
    try:
        assert answers.get(timeout=60) == PIXELS.shape
    finally:
        process.kill()
        process.join(60)
