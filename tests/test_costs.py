"""How many operations of the file system a call takes, whatever the size of the dataset.

Writes are counted where the package makes them; reads as the interpreter reports them.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr._storage import Disk, disk_replaced
from tests.test_index import age, fill

PIXELS = np.zeros((20, 8), "uint16")
_counting: list[Counter[str]] = []


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not _counting:
        return
    if event == "open" and isinstance(args[0], str) and ".zarr" in args[0]:
        path = args[0]
        kind = "opened" if "/images/" in path else "opened elsewhere"
        _counting[-1][kind] += 1
    elif event in ("os.scandir", "os.listdir"):
        _counting[-1]["listed"] += 1


# A hook cannot be taken off again; it looks at nothing unless a test counts.
sys.addaudithook(_audit)


class CountingDisk(Disk):
    """Counts the changes of the file system by their kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name in ("create", "replace", "rename_folder", "make_folder", "unlink"):
            object.__getattribute__(self, "counts")[name] += 1
        return found


@contextmanager
def reads() -> Iterator[Counter[str]]:
    counts: Counter[str] = Counter()
    _counting.append(counts)
    try:
        yield counts
    finally:
        _counting.pop()


def writes_of(call: Callable[[], object]) -> dict[str, int]:
    disk = CountingDisk()
    with disk_replaced(disk):
        call()
    return dict(disk.counts)


@pytest.fixture(params=[3, 40], ids=["small", "larger"])
def sized(request: pytest.FixtureRequest, ds: ZarrDataset) -> ZarrDataset:
    """A dataset of some images, in which something was written already."""
    fill(ds, request.param)
    ds["image-000"].save_json("note", {"good": True})
    return ds


def test_adding_an_image_writes_its_files_and_moves_them_once(sized: ZarrDataset) -> None:
    counts = writes_of(lambda: sized.add_image(PIXELS))
    # Two documents, the pixels, the list of checksums; folders for the image and its array.
    assert counts["create"] == 4
    assert counts["rename_folder"] == 1
    assert counts["make_folder"] == 4
    assert "replace" not in counts


def test_saving_json_replaces_two_files(sized: ZarrDataset) -> None:
    counts = writes_of(lambda: sized["image-001"].save_json("note", 1))
    # The artifact, the list of checksums, and the journal that makes one change of them.
    assert counts["create"] == 3
    assert counts["replace"] == 2
    assert counts["unlink"] == 1
    assert "rename_folder" not in counts


def test_loading_json_opens_one_file(sized: ZarrDataset) -> None:
    rec = sized["image-000"]
    with reads() as counts:
        assert rec.load_json("note") == {"good": True}
    assert counts == {"opened": 1}


def test_a_record_opens_and_lists_nothing(sized: ZarrDataset) -> None:
    with reads() as counts:
        sized.record("image-002")
    assert counts == {}


def test_ids_take_one_listing(sized: ZarrDataset) -> None:
    with reads() as counts:
        assert len(sized.list_image_ids()) == len(sized)
    assert counts["opened"] == 0
    assert counts["listed"] == 2


def test_reading_pixels_opens_three_documents_and_the_pixels(sized: ZarrDataset) -> None:
    rec = sized["image-001"]
    with reads() as counts:
        rec.load_array()
    assert counts["opened"] <= 4
    assert counts["listed"] == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda ds: ds.images(),
        lambda ds: ds.load_manifest(),
        lambda ds: list(ds.iter_records("created_utc")),
        lambda ds: list(ds.iter_records("acquired_local_epoch_ns")),
        lambda ds: ds.load_sources_index(),
    ],
    ids=["images", "manifest", "created", "acquired", "sources"],
)
def test_a_list_with_a_warm_index_opens_no_document(
    sized: ZarrDataset, call: Callable[[ZarrDataset], object]
) -> None:
    age(sized)
    sized.update_manifest()
    call(sized)  # What is imported late is imported now.
    with reads() as counts:
        call(sized)
    assert counts["opened"] == 0
    # The index, the folder of images, the table's folder.
    assert counts["opened elsewhere"] <= 3


def test_a_list_opens_what_has_changed_and_nothing_else(sized: ZarrDataset) -> None:
    age(sized)
    sized.update_manifest()
    sized.images()
    sized["image-001"].save_json("late", 1)
    with reads() as counts:
        sized.images()
    assert counts["opened"] == 1


def test_a_list_writes_nothing_where_little_has_changed(sized: ZarrDataset) -> None:
    age(sized)
    sized.update_manifest()
    assert writes_of(sized.images) == {}
    assert not list(Path(sized.path / "index").glob("*.json"))
