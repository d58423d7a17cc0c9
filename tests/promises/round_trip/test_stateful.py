"""The dataset against a plain dictionary: whatever is called in whatever order, and dies where."""

from __future__ import annotations

import atexit
import copy
import functools
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pandas as pd
import pytest
import tifffile
from hypothesis import assume, settings
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kymflow_zarr import ZarrDataset, ZarrImageRecord
from kymflow_zarr.testing import FAULT_KINDS, FaultPoint, FaultyDisk, InterruptPoint

# What interrupted descriptors are closed by is the garbage collection of their file.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NAMES = st.sampled_from(["a", "A", "a/b", "zarr", "é", "x.json"])
IDS = st.sampled_from(["i", "I", "j k"])
FILES = st.sampled_from(["one.tif", "day/two.tif"])
ARRAYS = hnp.arrays(
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    shape=hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=6),
)
PLANES = hnp.arrays(dtype="uint16", shape=st.tuples(st.integers(4, 9), st.integers(4, 9)))
VALUES = st.dictionaries(st.text(max_size=3), st.integers() | st.floats(allow_nan=False))
# Where, if at all, an operation on files fails, and how.
FAULTS = (
    st.none()
    | st.tuples(st.integers(1, 40), st.sampled_from(FAULT_KINDS))
    # Ctrl-C at a bytecode of the storage room, not only at an operation on files.
    | st.tuples(st.integers(1, 6000), st.just("bytecode"))
)
LITTER = st.sampled_from(["@eaDir", ".DS_Store", "._x", ".nfs00000001", ".stfolder", "Thumbs.db"])
# What ingest makes of a TIFF beside what the user has saved.
DERIVED = {"metadata", "provenance", "tiff", "curation", "lineage", "result"}

Fault = tuple[int, Any] | None
Image = dict[str, Any]


class Other:
    """Another process, which deletes images; it begins when it is first needed."""

    SCRIPT = (
        "import sys\nfrom kymflow_zarr import ZarrDataset\n"
        "for line in sys.stdin:\n"
        "    path, _, image_id = line.rstrip('\\n').partition('\\t')\n"
        "    with ZarrDataset(path, 'r+', durability='relaxed') as ds:\n"
        "        ds.delete_image(image_id)\n"
        "    print('done', flush=True)\n"
    )

    @functools.cached_property
    def process(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", self.SCRIPT]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, **pipes)
        atexit.register(process.communicate)
        return process

    def delete(self, path: Path, image_id: str) -> None:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{path}\t{image_id}\n")
        stdin.flush()
        assert stdout.readline() == "done\n"


OTHER = Other()


def _point(fault: tuple[int, Any]) -> FaultPoint | InterruptPoint:
    at, kind = fault
    if kind == "bytecode":
        return InterruptPoint(at)
    return FaultPoint(FaultyDisk(at, kind, torn=True), at, kind)


def _image(array: Any) -> Image:
    return {"pixels": _value(array), "json": {}, "arrays": {}, "notes": [], "results": []}


def _value(array: Any) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.name, array.shape, array.tobytes()


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Close what was interrupted before another test, which expects no warnings."""
    yield
    gc.collect()


class Against(RuleBasedStateMachine):
    """Every step is made twice: on a dataset, and on dictionaries.

    An image that came from a TIFF goes by the file's path, any other by its id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.path = Path(self.temporary.name) / "x.zarr"
        self.folder = Path(self.temporary.name) / "folder"
        (self.folder / "day").mkdir(parents=True)
        self.files: dict[str, Any] = {}
        self.clock = 10**18
        self.images: dict[str, Image] = {}
        self.tables: dict[str, list[tuple[str, int]]] = {}
        # The pixels that each result was made of; its value is its place in this list.
        self.made_of: list[Any] = []

    @initialize()
    def create(self) -> None:
        self.ds = ZarrDataset(self.path, mode="w-", durability="relaxed")

    # What is there ---------------------------------------------------------------------

    def observed(self) -> tuple[dict[str, Image], dict[str, list[tuple[str, int]]]]:
        images = {}
        for rec in self.ds.iter_records():
            names = [i.name for i in rec.list_artifacts()]
            # A replaced result that is kept is "result@replaced=1".
            json = [name for name in names if name.partition("@")[0] not in DERIVED]
            images[self.called(rec)] = {
                "pixels": _value(rec.load_array()),
                "json": {name: rec.load_json(name) for name in json},
                "arrays": {
                    name: _value(rec.load_array_artifact(name))
                    for name in rec.list_array_artifacts()
                },
                "results": [result.load() for result in rec.results()],
                # Those that are not taken back; each is of one edit.
                "notes": [
                    edit.changes[0].after
                    for edit in rec.curation().history
                    if edit.undoes is None and edit.undone_by is None
                ],
            }
        tables = {}
        for name in self.ds.list_table_names():
            table = self.ds.load_table(name)
            tables[name] = list(zip(table["image_id"], table["n"], strict=True))
        return images, tables

    @staticmethod
    def called(rec: ZarrImageRecord) -> str:
        return rec.image_id if rec.source is None else rec.source.rel_path

    def record(self, called: str) -> ZarrImageRecord:
        return next(rec for rec in self.ds.iter_records() if self.called(rec) == called)

    def step(self, operation: Callable[[], object], after: Any, fault: Fault) -> None:
        """Do something; where it fails, what is there must be as before or as after it."""
        before = self.images, self.tables
        if fault is None:
            operation()
            self.images, self.tables = after
            return
        point = _point(fault)
        with point:
            operation()
        if point.reached and fault[1] == "crash":
            self.ds = ZarrDataset(self.path, mode="r+", durability="relaxed")
        if point.error is None:
            self.images, self.tables = after
            return
        images, tables = self.observed()
        assert tables in (before[1], after[1])
        changed = 0
        for called in {*before[0], *after[0], *images}:
            states = before[0].get(called), after[0].get(called)
            assert images.get(called) in states, f"{called!r} at {point}"
            changed += states[0] != states[1]
        # A scan of a folder adds and updates one image after the other, each by itself.
        if changed <= 1:
            assert (images, tables) in (before, after)
        self.images, self.tables = images, tables

    def changed(self) -> tuple[dict[str, Image], dict[str, list[tuple[str, int]]]]:
        return copy.deepcopy(self.images), copy.deepcopy(self.tables)

    # Images ----------------------------------------------------------------------------

    @rule(image_id=IDS, arr=ARRAYS, fault=FAULTS)
    def add(self, image_id: str, arr: Any, fault: Fault) -> None:
        if image_id in self.images:
            with pytest.raises(ValueError, match="already"):
                self.ds.add_image(arr, image_id=image_id)
            return
        after = self.changed()
        after[0][image_id] = _image(arr)
        self.step(lambda: self.ds.add_image(arr, image_id=image_id), after, fault)

    @precondition(lambda self: self.images)
    @rule(data=st.data(), arr=ARRAYS, fault=FAULTS)
    def replace(self, data: st.DataObject, arr: Any, fault: Fault) -> None:
        called = self.some(data)
        rec, after = self.record(called), self.changed()
        after[0][called]["pixels"] = _value(arr)
        self.step(lambda: rec.save_array(arr), after, fault)

    @precondition(lambda self: self.images)
    @rule(data=st.data(), name=NAMES, value=VALUES, fault=FAULTS)
    def save_json(self, data: st.DataObject, name: str, value: Any, fault: Fault) -> None:
        called = self.some(data)
        rec, after = self.record(called), self.changed()
        after[0][called]["json"][name] = value
        self.step(lambda: rec.save_json(name, value), after, fault)

    @precondition(lambda self: self.images)
    @rule(data=st.data(), name=NAMES, arr=ARRAYS, fault=FAULTS)
    def save_array(self, data: st.DataObject, name: str, arr: Any, fault: Fault) -> None:
        called = self.some(data)
        rec, after = self.record(called), self.changed()
        after[0][called]["arrays"][name] = _value(arr)
        self.step(lambda: rec.save_array_artifact(name, arr), after, fault)

    @precondition(lambda self: self.images)
    @rule(data=st.data(), keep=st.integers(0, 1), fault=FAULTS)
    def save_result(self, data: st.DataObject, keep: int, fault: Fault) -> None:
        called = self.some(data)
        rec, after = self.record(called), self.changed()
        value = len(self.made_of)
        self.made_of.append(after[0][called]["pixels"])
        after[0][called]["results"] = [value]
        self.step(lambda: rec.save_result("result", value, keep=keep), after, fault)

    @precondition(lambda self: self.images)
    @rule(data=st.data(), note=st.sampled_from(["", "good", "moved"]), fault=FAULTS)
    def edit(self, data: st.DataObject, note: str, fault: Fault) -> None:
        called = self.some(data)
        rec, after = self.record(called), self.changed()
        notes = after[0][called]["notes"]
        if note != (notes[-1] if notes else ""):
            notes.append(note)

        def operation() -> None:
            with rec.edit() as edit:
                edit.set_note(note)

        self.step(operation, after, fault)

    @precondition(lambda self: any(image["notes"] for image in self.images.values()))
    @rule(data=st.data(), fault=FAULTS)
    def undo(self, data: st.DataObject, fault: Fault) -> None:
        edited = sorted(called for called, image in self.images.items() if image["notes"])
        called = data.draw(st.sampled_from(edited))
        rec, after = self.record(called), self.changed()
        after[0][called]["notes"].pop()
        self.step(rec.undo, after, fault)

    @precondition(lambda self: self.images)
    @rule(data=st.data(), fault=FAULTS)
    def delete_analysis(self, data: st.DataObject, fault: Fault) -> None:
        called = self.some(data)
        rec, after = self.record(called), self.changed()
        after[0][called]["json"] = {}
        after[0][called]["results"] = []
        self.step(rec.delete_analysis, after, fault)

    @precondition(lambda self: self.images)
    @rule(data=st.data(), fault=FAULTS)
    def delete_image(self, data: st.DataObject, fault: Fault) -> None:
        called = self.some(data)
        rec, after = self.record(called), self.changed()
        del after[0][called]
        for name, rows in after[1].items():
            after[1][name] = [row for row in rows if row[0] != rec.image_id]
        self.step(lambda: self.ds.delete_image(rec.image_id), after, fault)

    @precondition(lambda self: self.images)
    @rule(data=st.data())
    def another_process_deletes_an_image(self, data: st.DataObject) -> None:
        called = self.some(data)
        rec, after = self.record(called), self.changed()
        del after[0][called]
        for name, rows in after[1].items():
            after[1][name] = [row for row in rows if row[0] != rec.image_id]
        OTHER.delete(self.path, rec.image_id)
        self.images, self.tables = after

    @rule(data=st.data(), name=LITTER, is_folder=st.booleans())
    def another_program_leaves_something(
        self, data: st.DataObject, name: str, is_folder: bool
    ) -> None:
        own = [path for path in self.path.rglob("*") if path.is_dir() and path.name != name]
        folder = data.draw(st.sampled_from([self.path, *sorted(own)]))
        place = folder / name
        if not os.path.lexists(place):
            if is_folder:
                place.mkdir()
                place = place / "SYNO@.fileindexdb"
            place.write_bytes(b"x")

    # Tables ----------------------------------------------------------------------------

    @precondition(lambda self: self.images)
    @rule(data=st.data(), name=NAMES, n=st.lists(st.integers(0, 9), max_size=3), fault=FAULTS)
    def replace_rows(self, data: st.DataObject, name: str, n: list[int], fault: Fault) -> None:
        image_id = self.record(self.some(data)).image_id
        rows = pd.DataFrame({"image_id": [image_id] * len(n), "n": n})
        after = self.changed()
        kept = [row for row in after[1].get(name, []) if row[0] != image_id]
        after[1][name] = [*kept, *((image_id, i) for i in n)]
        self.step(lambda: self.ds.replace_rows_for_image_id(name, image_id, rows), after, fault)

    @rule(name=NAMES, fault=FAULTS)
    def delete_table(self, name: str, fault: Fault) -> None:
        if name not in self.tables:
            with pytest.raises(FileNotFoundError):
                self.ds.delete_table(name)
            return
        after = self.changed()
        del after[1][name]
        self.step(lambda: self.ds.delete_table(name), after, fault)

    # A folder --------------------------------------------------------------------------

    @rule(name=FILES, arr=PLANES)
    def write_file(self, name: str, arr: Any) -> None:
        tifffile.imwrite(self.folder / name, arr)
        self.clock += 10**9
        os.utime(self.folder / name, ns=(self.clock, self.clock))
        self.files[name] = arr

    @precondition(lambda self: self.files)
    @rule(fault=FAULTS)
    def refresh(self, fault: Fault) -> None:
        after = self.changed()
        # Another file of equal content would be told to have moved, or to be a copy.
        assume(len({_value(arr) for arr in self.files.values()}) == len(self.files))
        for name, arr in self.files.items():
            image = after[0].setdefault(name, _image(arr))
            if self.digests.get(name) != _value(arr):
                image["pixels"] = _value(arr)
        self.step(
            lambda: self.ds.refresh_from_folder(self.folder, mode="reingest_if_changed"),
            after,
            fault,
        )

    @property
    def digests(self) -> dict[str, Any]:
        """What was in each file when its image was last made of it."""
        found = {}
        for rec in self.ds.iter_records():
            if rec.source is not None and rec.source.rel_path in self.files:
                arr = self.files[rec.source.rel_path]
                same = rec.source.mtime_ns == (self.folder / rec.source.rel_path).stat().st_mtime_ns
                found[rec.source.rel_path] = _value(arr) if same else None
        return found

    # Damage ----------------------------------------------------------------------------

    @precondition(lambda self: any(image["json"] for image in self.images.values()))
    @rule(data=st.data(), at=st.integers(0, 10**6), fault=FAULTS)
    def damage_and_repair(self, data: st.DataObject, at: int, fault: Fault) -> None:
        damaged = sorted(called for called, image in self.images.items() if image["json"])
        called = data.draw(st.sampled_from(damaged))
        name = data.draw(st.sampled_from(sorted(self.images[called]["json"])))
        rec = self.record(called)
        key = next(i.key for i in rec.list_artifacts() if i.name == name)
        file = self.path / key
        content = bytearray(file.read_bytes())
        content[at % len(content)] ^= 0xFF
        file.write_bytes(content)
        assert [damage.where for damage in self.ds.verify().errors] == [key]
        # Nobody reads what is broken meanwhile, so only the end of the repair is looked at.
        if fault is not None:
            with _point(fault):
                self.ds.repair()
            self.ds = ZarrDataset(self.path, mode="r+", durability="relaxed")
        self.ds.repair()
        del self.images[called]["json"][name]
        assert self.ds.verify().ok

    # Always ----------------------------------------------------------------------------

    @rule()
    def reopen(self) -> None:
        self.ds.close()
        self.ds = ZarrDataset(self.path, mode="r+", durability="relaxed")

    @rule(fault=FAULTS)
    def update_manifest(self, fault: Fault) -> None:
        self.step(self.ds.update_manifest, self.changed(), fault)

    @rule()
    def repair_what_is_whole(self) -> None:
        self.ds.repair()

    def some(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.images)))

    @invariant()
    def the_same_is_there(self) -> None:
        if hasattr(self, "ds"):
            assert self.observed() == (self.images, self.tables)

    @invariant()
    def results_of_other_pixels_are_out_of_date(self) -> None:
        if hasattr(self, "ds"):
            stale = set(self.ds.stale()["image_id"])
            for rec in self.ds.iter_records():
                image = self.images[self.called(rec)]
                other = [self.made_of[n] != image["pixels"] for n in image["results"]]
                assert [r.out_of_date for r in rec.results()] == other
                assert (rec.image_id in stale) == any(other)

    @invariant()
    def the_index_says_the_same(self) -> None:
        if hasattr(self, "ds"):
            shapes = sorted(tuple(e["shape"]) for e in self.ds.load_manifest()["images"])
            assert shapes == sorted(image["pixels"][1] for image in self.images.values())

    def teardown(self) -> None:
        with self.temporary:
            if hasattr(self, "ds"):
                self.ds.close()
                with ZarrDataset(self.path, mode="r+") as ds:
                    assert ds.verify().errors == ()
                    # Warnings are of what the user did: a payload of other pixels, say.
                    assert ds.validate().ok


Against.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestAgainstDictionaries = Against.TestCase
