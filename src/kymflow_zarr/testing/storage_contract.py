"""The contract test suite that every storage implementation must pass."""

from __future__ import annotations

import contextlib
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from kymflow_zarr.errors import CorruptDataError, KymflowZarrError, ReadOnlyError, StorageError
from kymflow_zarr.runtime.lease import working_under
from kymflow_zarr.storage.interface import Staged, Storage

GROUP = b'{"zarr_format":3,"node_type":"group","attributes":{}}'
# They lead out of the dataset, on every system.
HOSTILE_KEYS = (
    "/", "/etc/passwd", "//server/share/x", "..", "../x", "images/..", "images/../../x",
    "images/../images/a/x", "images/./x", ".", "./x", "images//x", "images/", "images/a\0b", "\0",
    "images/a/\0",
)  # fmt: skip
# What a call may take on a busy machine, in seconds, before it counts as one that never returns.
_PATIENCE_S = 60

_ARRAY = {
    "zarr_format": 3, "node_type": "array", "shape": [3], "data_type": "uint8", "fill_value": 0,
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "codecs": [{"name": "bytes"}], "attributes": {},
}  # fmt: skip


class Fault(Protocol):
    """Injects a fault into one operation of a ``with`` block and suppresses the block's errors."""

    @property
    def reached(self) -> bool:
        """Whether the operation was reached; if not, the block completed before it."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> bool: ...


class StorageContract:
    """The tests of a storage; subclass it, name it ``Test...`` and implement three methods.

    Each test creates its own storage. A failing test names a promise of
    :class:`~kymflow_zarr.storage.interface.Storage` that the implementation breaks.
    """

    def new_storage(self) -> Storage:
        """Return a writable storage at a new location, without a dataset."""
        raise NotImplementedError

    def other(self, storage: Storage) -> Storage:
        """Return a second writable storage of the same dataset, as for another process."""
        raise NotImplementedError

    def faults(self) -> Iterator[Callable[[Storage], Fault]]:
        """Yield faults for the first operation of a storage, the second, and so on.

        Stop after a fault that was not reached.
        """
        raise NotImplementedError

    def settle(self, storage: Storage, key: str) -> None:
        """Make sure that the next change gives the file or folder at a key another version."""

    # Reading ---------------------------------------------------------------------------

    def test_what_was_put_is_read(self) -> None:
        storage = self._dataset()
        _put(storage, "images/a/x.json", b"abc")
        assert storage.read("images/a/x.json") == b"abc"
        with storage.open("images/a/x.json") as file:
            assert file is not None
            assert (file.size, file.read(1, 1), file.read(1, 9), file.read(3, 9)) == (
                3, b"b", b"bc", b"",
            )  # fmt: skip
        status = storage.stat("images/a/x.json")
        assert status is not None
        assert status.size == 3

    def test_a_missing_key_is_no_error(self) -> None:
        storage = self._dataset()
        for key in ("nothing", "images/nothing/at/all", "zarr.json/below/a/file"):
            assert storage.read(key) is None
            assert storage.stat(key) is None
            assert not storage.is_folder(key)
            assert (storage.children(key), storage.names(key), [*storage.walk(key)]) == ([], [], [])
            assert storage.versions(key) == {}
            with storage.open(key) as file:
                assert file is None

    def test_a_folder_is_no_file(self) -> None:
        storage = self._dataset()
        assert storage.read("images") is None
        assert storage.is_folder("images")
        assert storage.stat("images") is not None
        assert storage.is_folder("")
        assert not storage.is_folder("zarr.json")

    def test_a_walk_is_in_the_order_of_the_parts_of_the_keys(self) -> None:
        storage = self._dataset()
        keys = ["images/b/x", "images/a/z", "images/a/b/c", "images/a-b/x", "images/a.json"]
        with storage.lock("top"), storage.transaction("") as transaction:
            for key in keys:
                transaction.put(key, b"x")
            transaction.put("images/.hidden/x", b"x")
            transaction.put("images/a/.hidden", b"x")
        expected = sorted([*keys, "images/zarr.json"], key=lambda key: key.split("/"))
        assert [key for key, _ in storage.walk("images")] == expected
        assert [key for key, _ in storage.walk("images/a")] == ["images/a/b/c", "images/a/z"]
        assert all(status.size in (1, len(GROUP)) for _, status in storage.walk("images"))

    def test_children_are_the_folders_that_are_not_hidden(self) -> None:
        storage = self._dataset()
        with storage.lock("top"), storage.transaction("") as transaction:
            for key in ("images/b/x", "images/a/x", "images/.h/x", "images/file"):
                transaction.put(key, b"x")
        assert sorted(storage.children("images")) == ["a", "b"]
        assert sorted(storage.versions("images")) == ["a", "b"]
        assert storage.names("images") == [".h", "a", "b", "file", "zarr.json"]

    def test_versions_change_when_content_changes(self) -> None:
        storage = self._dataset()
        _put(storage, "images/a/x", b"one")
        _put(storage, "images/a/deep/y", b"one")
        changes: list[Callable[[], None]] = [
            lambda: _put(storage, "images/a/x", b"two"),
            lambda: _put(storage, "images/a/z", b"new"),
            lambda: _remove(storage, "images/a/z"),
        ]
        for change in changes:
            self.settle(storage, "images/a/x")
            self.settle(storage, "images/a")
            file, folder = storage.stat("images/a/x"), storage.stat("images/a")
            listed = storage.versions("images")["a"]
            assert folder is not None
            assert listed == folder.version
            assert storage.settled()(listed)
            assert folder.settled
            same_file = storage.stat("images/a/x")
            assert same_file == file
            change()
            assert storage.versions("images")["a"] != listed
            now = storage.stat("images/a")
            assert now is not None
            assert now.version != folder.version
        self.settle(storage, "images/a/x")
        before = storage.stat("images/a/x")
        _put(storage, "images/a/x", b"six")
        assert storage.stat("images/a/x") != before

    def test_zarr_reads_a_node_and_takes_no_missing_chunk_for_zeros(self) -> None:
        import zarr

        storage = self._dataset()
        with storage.lock("top"), storage.transaction("") as transaction:
            transaction.put("images/a/data/zarr.json", json.dumps(_ARRAY).encode())
            transaction.put("images/a/data/c/0", b"\x07")
            transaction.put("images/a/data/c/1", b"")
        array: Any = zarr.open_array(storage.as_zarr_store("images/a/data"), mode="r")
        assert np.asarray(array[0]) == 7
        for index in (1, 2):
            with _raises(CorruptDataError):
                array[index]
        lenient = storage.as_zarr_store("images/a/data", complete=False)
        other: Any = zarr.open_array(lenient, mode="r")
        assert np.asarray(other[2]) == 0

    # Transactions ----------------------------------------------------------------------

    def test_a_transaction_does_all_of_it(self) -> None:
        storage = self._filled()
        with storage.lock("top"), storage.stage() as staged:
            staged.write("data/c", b"new")
            with storage.transaction("") as transaction:
                transaction.put("images/a/x", b"X")
                transaction.put("images/new/deep/y", b"Y")
                transaction.put_staged("images/b", staged)
                transaction.move("images/c", "quarantine/1/c")
                transaction.remove("images/a/sub/z")
                transaction.remove("images/a/was/never/there")
        assert contents(storage) == {
            "zarr.json": GROUP, "images/zarr.json": GROUP, "images/a/x": b"X",
            "images/new/deep/y": b"Y", "images/b/data/c": b"new", "quarantine/1/c/x": b"c",
        }  # fmt: skip
        assert not storage.is_folder("images/a/sub")

    def test_an_exception_in_the_block_changes_nothing(self) -> None:
        storage = self._filled()
        before = contents(storage)
        with (
            contextlib.suppress(ZeroDivisionError),
            storage.lock("top"),
            storage.transaction("") as transaction,
        ):
            transaction.put("images/a/x", b"X")
            transaction.remove("images/b")
            raise ZeroDivisionError
        assert contents(storage) == before

    def test_nothing_is_put_below_a_folder_that_has_gone(self) -> None:
        storage = self._filled()
        _remove(storage, "images/a")
        before = contents(storage)
        for also in ((), ("images/a/z",)):
            with (
                _raises(FileNotFoundError),
                storage.lock("top"),
                storage.transaction("images/a") as transaction,
            ):
                transaction.put("images/a/x", b"ghost")
                for key in also:
                    transaction.put(key, b"ghost")
        assert contents(storage) == before

    def test_hostile_keys_are_refused(self) -> None:
        storage = self._filled()
        before = contents(storage)
        reads: list[Callable[[str], object]] = [
            storage.read, storage.stat, storage.is_folder, storage.names, storage.children,
            storage.versions, lambda key: [*storage.walk(key)],
            lambda key: storage.open(key).__enter__(),
        ]  # fmt: skip
        for key in HOSTILE_KEYS:
            for read in reads:
                with _raises(StorageError):
                    read(key)
            with _raises(StorageError), storage.stage() as staged:
                staged.write("x", b"x")
                staged.publish(key)
        for key in (*HOSTILE_KEYS, ""):
            with _raises(KymflowZarrError), storage.lock("top"):
                _put(storage, key, b"x")
            with _raises(KymflowZarrError), storage.lock("top"):
                _remove(storage, key)
            with _raises(KymflowZarrError):
                storage.put_derived(key, b"x")
            with _raises(KymflowZarrError), storage.stage() as staged:
                staged.write(key, b"x")
        assert contents(storage) == before

    def test_derived_bytes_are_put_and_removed(self) -> None:
        storage = self._dataset()
        for data in (b"one", b"two", None, None, b"three"):
            storage.put_derived("index/thumbnails/a.png", data)
            assert storage.read("index/thumbnails/a.png") == data

    # Staging ---------------------------------------------------------------------------

    def test_what_is_staged_is_invisible_until_it_is_published(self) -> None:
        storage = self._dataset()
        before = contents(storage)
        with storage.stage() as staged:
            written = staged.write("data/c/0", b"abc")
            staged.write("zarr.json", memoryview(GROUP))
            assert (written.size_bytes, staged.sums["data/c/0"]) == (3, written)
            assert staged.read("data/c/0") == b"abc"
            assert contents(storage) == before
            assert sorted(storage.children("images")) == []
            assert staged.publish("images/a")
        assert contents(storage) == before | {
            "images/a/data/c/0": b"abc", "images/a/zarr.json": GROUP,
        }  # fmt: skip

    def test_what_was_not_published_is_dropped(self) -> None:
        storage = self._dataset()
        before = contents(storage)
        with contextlib.suppress(ZeroDivisionError), storage.stage() as staged:
            staged.write("x", b"x")
            raise ZeroDivisionError
        assert contents(storage) == before
        assert not any(self.other(storage).leftovers().values())

    def test_a_place_that_is_taken_stays_as_it_is(self) -> None:
        storage = self._filled()
        before = contents(storage)
        with storage.stage() as one, storage.stage() as other:
            one.write("x", b"new")
            other.write("x", b"new")
            assert storage.publish([(one, "images/a"), (other, "images/new")]) == [False, True]
        assert contents(storage) == before | {"images/new/x": b"new"}

    def test_another_fills_what_one_publishes(self) -> None:
        storage = self._dataset()
        with storage.stage() as area, area.in_use():
            staged = storage.stage(area.area)
            staged.write("x", b"x")
            again: Staged = pickle.loads(pickle.dumps(staged))
            assert storage.publish([(again, "images/a")]) == [True]
        assert storage.read("images/a/x") == b"x"

    # Several at once -------------------------------------------------------------------

    def test_a_lock_keeps_others_out(self) -> None:
        storage = self._dataset()
        _put(storage, "counter", b"0")
        errors: list[BaseException] = []

        def count(mine: Storage) -> None:
            try:
                for _ in range(10):
                    with mine.lock("counter", "more"), mine.lock("counter"):
                        number = int(mine.read("counter") or b"")
                        _put(mine, "counter", b"%d" % (number + 1))
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)

        _at_once(lambda: count(storage), lambda: count(storage), lambda: count(self.other(storage)))
        assert errors == []
        assert storage.read("counter") == b"30"

    def test_work_of_a_call_that_has_ended_changes_nothing(self) -> None:
        storage = self._dataset()
        with storage.lease() as lease:
            if lease is None:
                return  # Workers of this storage may always commit.
            with working_under(lease):
                _put(storage, "images/x", b"x")
            with working_under(pickle.loads(pickle.dumps(lease))):
                _put(self.other(storage), "images/y", b"y")
        with working_under(lease):
            with _raises(KymflowZarrError):
                _put(storage, "images/x", b"late")
            with _raises(KymflowZarrError):
                _put_several(storage)
            with storage.stage() as staged:
                staged.write("x", b"late")
                with _raises(KymflowZarrError):
                    staged.publish("images/z")
        _put(storage, "images/y", b"of another call")
        assert storage.names("images") == ["x", "y", "zarr.json"]
        assert (storage.read("images/x"), storage.read("images/y")) == (b"x", b"of another call")

    def test_an_error_under_a_lock_releases_it(self) -> None:
        storage = self._dataset()
        with contextlib.suppress(ZeroDivisionError), storage.lock("a"):
            raise ZeroDivisionError
        _at_once(lambda: _put(self.other(storage), "images/x", b"x", scope="a"))
        assert storage.read("images/x") == b"x"

    def test_a_reader_sees_the_old_bytes_or_the_new_ones(self) -> None:
        storage = self._dataset()
        old, new = b"o" * 50_000, b"n" * 70_000
        _put(storage, "images/x", old)
        seen: list[bytes | None] = []
        done = threading.Event()

        def read() -> None:
            reader = storage.reader()
            while not done.is_set() or not seen:
                seen.append(reader.read("images/x"))

        def write() -> None:
            for data in (new, old) * 10:
                _put(storage, "images/x", data)
            done.set()

        _at_once(read, write)
        assert set(seen) <= {old, new}

    def test_a_file_that_is_open_while_it_is_removed_is_read_whole(self) -> None:
        storage = self._filled()
        with storage.open("images/a/x") as file:
            assert file is not None
            with contextlib.suppress(StorageError):  # Windows refuses to remove open files.
                _remove(storage, "images/a")
            assert file.read(0, 9) == b"a"
        _remove(storage, "images/a")
        assert storage.read("images/a/x") is None
        assert storage.children("images/a") == []

    def test_a_reader_changes_nothing(self) -> None:
        storage = self._filled()
        before = contents(storage)
        reader = storage.reader()
        assert not reader.writable
        assert reader.location == storage.location
        refused: list[Callable[[], object]] = [
            reader.require_writable, reader.stage, lambda: _put(reader, "images/x", b"x"),
            lambda: reader.put_derived("index/x", b"x"), lambda: _remove(reader, "images/a"),
        ]  # fmt: skip
        for call in refused:
            with _raises(ReadOnlyError):
                call()
        assert contents(storage) == contents(reader) == before
        _put(storage, "images/a/x", b"new")
        assert reader.read("images/a/x") == b"new"

    def test_it_pickles(self) -> None:
        storage = self._filled()
        again: Storage = pickle.loads(pickle.dumps(storage))
        assert (again.location, again.writable) == (storage.location, True)
        assert contents(again) == contents(storage)
        reader: Storage = pickle.loads(pickle.dumps(storage.reader()))
        assert not reader.writable

    def test_it_can_be_used_again_after_it_was_closed(self) -> None:
        storage = self._filled()
        storage.close()
        assert storage.read("images/a/x") == b"a"
        _put(storage, "images/a/x", b"again")
        storage.close()
        assert storage.read("images/a/x") == b"again"

    def test_creating_and_recovering_change_nothing_that_is_there(self) -> None:
        storage = self._filled()
        before = contents(storage)
        storage.create()
        storage.recover()
        self.other(storage).recover()
        assert contents(storage) == before
        assert storage.unfinished("images") == set()
        assert not any(storage.leftovers().values())

    # Faults ----------------------------------------------------------------------------

    def test_a_fault_at_any_operation_leaves_the_state_before_or_after(self) -> None:
        changes: dict[str, Callable[[Storage], None]] = {
            "put one": lambda s: _put(s, "images/a/x", b"new"),
            "put several and remove": _put_several,
            "replace a folder": _replace_folder,
            "move": _move,
            "remove a folder": lambda s: _remove(s, "images/b"),
            "publish": _publish,
            "put derived": lambda s: s.put_derived("index/x", b"new"),
        }
        for name, change in changes.items():
            done = self._filled()
            before = contents(done)
            change(done)
            after = contents(done)
            assert before != after, name
            for fault in self.faults():
                storage = self._filled()
                point = fault(storage)
                with point:
                    change(storage)
                expected = (before, after) if point.reached else (after,)
                reopened = self.other(storage)
                reader = reopened.reader()
                reader.recover()
                read = contents(reader)
                assert read in expected, f"read-only, {name}: {point!r}"
                assert {*reader.children("images")} == {
                    key.split("/")[1] for key in read if key[:7] == "images/" and key.count("/") > 1
                }, f"listed, {name}: {point!r}"
                reopened.recover()
                assert contents(reopened) == read, f"{name}: {point!r}"
                # The next writer completes it.
                _put(reopened, "images/next", b"x")
                assert reopened.read("images/next") == b"x", f"{name}: {point!r}"

    # Helpers ---------------------------------------------------------------------------

    def _dataset(self) -> Storage:
        storage = self.new_storage()
        storage.create()
        with storage.lock("dataset", "top"), storage.transaction("") as transaction:
            transaction.put("images/zarr.json", GROUP)
            transaction.put("zarr.json", GROUP)
        return storage

    def _filled(self) -> Storage:
        storage = self._dataset()
        with storage.lock("top"), storage.transaction("") as transaction:
            for key, data in _FILES.items():
                transaction.put(key, data)
        return storage


_FILES = {"images/a/x": b"a", "images/a/sub/z": b"z", "images/b/x": b"b", "images/c/x": b"c"}


def contents(storage: Storage) -> dict[str, bytes | None]:
    """Return the bytes of all files of a storage by their keys."""
    return {key: storage.read(key) for key, _ in storage.walk("")}


def _put(storage: Storage, key: str, data: bytes, *, scope: str = "top") -> None:
    with storage.lock(scope), storage.transaction("") as transaction:
        transaction.put(key, data)


def _remove(storage: Storage, key: str) -> None:
    with storage.lock("top"), storage.transaction("") as transaction:
        transaction.remove(key)


def _put_several(storage: Storage) -> None:
    with storage.lock("top"), storage.transaction("") as transaction:
        transaction.put("images/a/x", b"new")
        transaction.put("images/n/x", b"new")
        transaction.remove("images/a/sub/z")


def _replace_folder(storage: Storage) -> None:
    with storage.lock("top"), storage.stage() as staged:
        staged.write("data/x", b"new")
        with storage.transaction("") as transaction:
            transaction.put_staged("images/b", staged)
            transaction.put("images/a/x", b"new")


def _move(storage: Storage) -> None:
    with storage.lock("top"), storage.transaction("") as transaction:
        transaction.move("images/c", "quarantine/1/c")
        transaction.put("quarantine/1/why.json", b"{}")


def _publish(storage: Storage) -> None:
    with storage.stage() as staged:
        staged.write("zarr.json", b"new")
        staged.write("data/c/0", b"new")
        assert staged.publish("images/new")


def _at_once(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE_S)
        assert not thread.is_alive(), f"a call has not returned after {_PATIENCE_S} s"


@contextlib.contextmanager
def _raises(kind: type[BaseException]) -> Iterator[None]:
    """Expect an exception, like ``pytest.raises`` but without the dependency."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")
