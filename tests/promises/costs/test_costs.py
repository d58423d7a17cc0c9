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
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.engine import documents
from kymflow_zarr.formats.array import read
from kymflow_zarr.schema.image import read_image_document
from kymflow_zarr.storage.local.disk import Disk, disk_replaced
from kymflow_zarr.storage.local.files import FileParts
from kymflow_zarr.storage.unpacking import check_blosc
from kymflow_zarr.types import Durability
from tests.engine.index.test_index import age, fill

PIXELS = np.zeros((20, 8), "uint16")
_counting: list[tuple[str, Counter[str]]] = []


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not _counting:
        return
    place, counts = _counting[-1]
    path = args[0] if args else None
    # Datasets that other tests have forgotten may be tidied up meanwhile, by any thread.
    if isinstance(path, str) and not path.startswith(place):
        return
    if event == "open" and isinstance(path, str):
        counts["opened" if "/images/" in path else "opened elsewhere"] += 1
    elif event in ("os.scandir", "os.listdir"):
        counts["listed"] += 1


# A hook cannot be taken off again; it looks at nothing unless a test counts.
sys.addaudithook(_audit)


CHANGES = ("create", "replace", "rename_folder", "make_folder", "unlink", "sync", "sync_folder")


class CountingDisk(Disk):
    """Counts the changes of the file system by their kind, and syncs nothing in truth."""

    def __init__(self) -> None:
        self.changes: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name not in CHANGES:
            return found
        changes = object.__getattribute__(self, "changes")

        def counted(*args: Any) -> None:
            changes.append(name)  # Several threads may be at it.
            if name not in ("sync", "sync_folder"):
                found(*args)

        return counted


@contextmanager
def reads(ds: ZarrDataset) -> Iterator[Counter[str]]:
    """Count what is opened and listed in a dataset and beside it."""
    counts: Counter[str] = Counter()
    _counting.append((str(ds.path.parent), counts))
    try:
        yield counts
    finally:
        _counting.pop()


def writes_of(call: Callable[[], object]) -> dict[str, int]:
    disk = CountingDisk()
    with disk_replaced(disk):
        call()
    return dict(Counter(disk.changes))


@contextmanager
def decoded() -> Iterator[list[int]]:
    """Collect the sizes of the chunks that are decoded."""
    sizes: list[int] = []

    def counting(chunk: bytes | memoryview) -> None:
        sizes.append(len(chunk))
        check_blosc(chunk)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "check_blosc", counting)
        yield sizes


@contextmanager
def read_bytes() -> Iterator[list[int]]:
    """Collect how much is read of files of pixels."""
    sizes: list[int] = []
    real = FileParts.read

    def counting(self: FileParts, start: int, size: int) -> bytes:
        sizes.append(size)
        return real(self, start, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileParts, "read", counting)
        yield sizes


@pytest.fixture(params=[3, 40], ids=["small", "larger"])
def sized(request: pytest.FixtureRequest, ds: ZarrDataset) -> ZarrDataset:
    """A dataset of some images, in which something was written already."""
    fill(ds, request.param)
    ds["image-000"].save_json("note", {"good": True})
    return ds


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_adding_an_image_writes_its_files_and_moves_them_once(
    sized: ZarrDataset, durability: Durability
) -> None:
    with ZarrDataset(sized.path, mode="r+", durability=durability) as ds:
        ds.add_image(PIXELS)
        counts = writes_of(lambda: ds.add_image(PIXELS))
    # Two documents, the pixels, the list of checksums; folders for the image and its array. The
    # renaming is the commit, without a journal, and changes the folder of images.
    folders = {"sync_folder": 5} if durability == "full" else {}
    assert counts == {"create": 4, "make_folder": 4, "rename_folder": 1, "sync": 4} | folders


def test_adding_an_image_reads_nothing(sized: ZarrDataset) -> None:
    with reads(sized) as counts:
        sized.add_image(PIXELS)
    # Each of its files is opened to be synced, and once the dataset's folder: the rename that
    # commits goes by descriptors, so that no link that appears meanwhile can redirect it. Files
    # are made by their names in open folders.
    assert counts == {"opened elsewhere": 5}


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_saving_json_replaces_two_files(sized: ZarrDataset, durability: Durability) -> None:
    with ZarrDataset(sized.path, mode="r+", durability=durability) as ds:
        first = writes_of(lambda: ds["image-001"].save_json("note", 1))
        again = writes_of(lambda: ds["image-001"].save_json("note", 2))
    # The folder of artifacts is the first's to make, as that of this writer's own files.
    assert first["make_folder"] == 2
    # The artifact, the list of checksums, and the journal that makes one change of them.
    folders = {"sync_folder": 4} if durability == "full" else {}
    assert again == {"create": 3, "replace": 2, "unlink": 1, "sync": 3} | folders


def test_saving_json_opens_and_lists_as_much_beside_many_artifacts_as_beside_few(
    ds: ZarrDataset,
) -> None:
    counts = []
    for name, artifacts in (("few", 3), ("many", 300)):
        rec = ds.add_image(PIXELS, image_id=name)
        for number in range(artifacts):
            rec.save_json(f"note {number}", number)
        with reads(ds) as counted:
            rec.save_json("note 0", -1)
        counts.append(counted)
    few, many = counts
    assert few == many
    assert few["opened"] <= 8


def test_ingesting_a_new_tiff_costs_the_same_however_many_images_there_are(
    sized: ZarrDataset, tmp_path: Path
) -> None:
    folders = [tmp_path / "lab" / f"{i}" for i in range(5)]
    for i, folder in enumerate(folders):
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / "a.tif", PIXELS + i)
    for folder in folders[:3]:  # The first calls read the index.
        sized.ingest_tiff(folder / "a.tif")
    with reads(sized) as counts:
        sized.ingest_tiff(folders[3] / "a.tif")
    # No document of another image is opened, and of folders only that of the TIFF is listed.
    assert counts["opened"] == 0
    assert counts["opened elsewhere"] <= 20
    assert counts["listed"] == 1
    counts = Counter(writes_of(lambda: sized.ingest_tiff(folders[4] / "a.tif")))
    assert counts["create"] == 8
    assert counts["rename_folder"] == 1


def test_loading_json_opens_one_file(sized: ZarrDataset) -> None:
    rec = sized["image-000"]
    with reads(sized) as counts:
        assert rec.load_json("note") == {"good": True}
    assert counts == {"opened": 1}


def test_a_record_opens_and_lists_nothing(sized: ZarrDataset) -> None:
    with reads(sized) as counts:
        sized.record("image-002")
    assert counts == {}


def test_ids_take_one_listing(sized: ZarrDataset) -> None:
    with reads(sized) as counts:
        assert len(sized.list_image_ids()) == len(sized)
    assert counts["opened"] == 0
    assert counts["listed"] == 2


def test_reading_pixels_opens_three_documents_and_the_pixels(sized: ZarrDataset) -> None:
    rec = sized["image-001"]
    with reads(sized) as counts:
        rec.load_array()
    assert counts["opened"] <= 4
    assert counts["listed"] == 0


def test_a_part_is_read_of_the_chunks_that_hold_it_and_of_no_other(ds: ZarrDataset) -> None:
    stack = np.random.default_rng(0).integers(0, 4096, (2, 3, 4, 64, 64), dtype="uint16")
    lines = stack.reshape(-1, 64)
    planes, rows = ds.add_image(stack), ds.add_image(lines, chunks=(64, 64))
    a_chunk = np.s_[0, 0, 0]
    parts: list[tuple[Any, Any, int]] = [
        (planes, a_chunk, 1),
        (planes, np.s_[1, :, 2], 3),
        (planes, np.s_[..., 5:9, 60:], 24),
        (planes, np.s_[::-1, 0, 0, ::9], 2),
        (rows, np.s_[64:128], 1),
        (rows, np.s_[100], 1),
        (rows, np.s_[60:70, 3], 2),
        (rows, np.s_[::640], 3),
        (rows, np.s_[9:9], 0),
    ]
    for rec, selection, chunks in parts:
        whole = rec.load_array()
        with decoded() as sizes:
            part = rec.load_array(selection)
        assert len(sizes) == chunks, selection
        np.testing.assert_array_equal(part, whole[selection])
    # It takes its chunk and the index of the shard, and not the shard.
    with reads(ds) as counts, read_bytes() as found:
        planes.load_array(a_chunk)
    assert counts["opened"] <= 4
    assert sum(found) < 2 * stack[a_chunk].nbytes


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
    with reads(sized) as counts:
        call(sized)
    assert counts["opened"] == 0
    # The index, the folder of images, the table's folder.
    assert counts["opened elsewhere"] <= 3


def test_a_list_opens_what_has_changed_and_nothing_else(sized: ZarrDataset) -> None:
    age(sized)
    sized.update_manifest()
    sized.images()
    sized["image-001"].save_json("late", 1)
    with reads(sized) as counts:
        sized.images()
    assert counts["opened"] == 1


def test_a_list_writes_nothing_where_little_has_changed(sized: ZarrDataset) -> None:
    age(sized)
    sized.update_manifest()
    assert writes_of(sized.images) == {}
    assert not list(Path(sized.path / "index").glob("manifest*"))


def counts_of(ds: ZarrDataset, call: Callable[[], object]) -> tuple[Counter[str], dict[str, int]]:
    """Return what a call reads and what it writes, once all that it imports is imported."""
    call()
    with reads(ds) as counts:
        writes = writes_of(call)
    return counts, writes


# What one commit of a file writes: the file, the list of checksums, and the journal of the two.
COMMIT = {"create": 3, "replace": 2, "unlink": 1, "sync": 3}


def test_saving_a_data_frame_costs_what_saving_json_does(sized: ZarrDataset) -> None:
    numbers = iter(range(9))
    counts, writes = counts_of(
        sized, lambda: sized["image-001"].save_df_parquet("v", pd.DataFrame({"x": [next(numbers)]}))
    )
    assert writes == COMMIT
    assert counts["opened"] <= 2


def test_replacing_rows_rewrites_one_table(sized: ZarrDataset) -> None:
    numbers = iter(range(9))

    def replace() -> None:
        rows = pd.DataFrame({"image_id": ["image-001"], "v": [next(numbers)]})
        sized.replace_rows_for_image_id("events", "image-001", rows)

    counts, writes = counts_of(sized, replace)
    assert writes == COMMIT
    assert counts["opened"] == 0


def test_an_edit_is_one_commit(sized: ZarrDataset) -> None:
    numbers = iter(range(9))

    def edit() -> None:
        with sized["image-001"].edit(who="me") as change:
            change.set_note(f"note {next(numbers)}")

    counts, writes = counts_of(sized, edit)
    assert writes == COMMIT
    assert counts["opened"] <= 8


@contextmanager
def parsed_images() -> Iterator[list[str]]:
    """Collect the documents of images that are parsed."""
    parsed: list[str] = []

    def counting(group: Any, *, where: str) -> Any:
        parsed.append(where)
        return read_image_document(group, where=where)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "read_image_document", counting)
        yield parsed


def test_a_tile_of_the_page_parses_one_document(sized: ZarrDataset) -> None:
    pytest.importorskip("starlette")
    from tests.viewer.web.site import client_of

    client = client_of(sized)
    for path in ("window", "window?rows=0:2", "window?rows=0:2", "thumbnail", "thumbnail"):
        with parsed_images() as parsed:
            assert client.get(f"/api/images/image-001/{path}").status_code == 200
        assert len(parsed) == 1, path


def test_reading_pixels_parses_one_document(sized: ZarrDataset) -> None:
    rec = sized["image-001"]
    with parsed_images() as parsed:
        rec.load_array()
        assert len(parsed) == 1
        rec.load_array(np.s_[2:4])
        assert len(parsed) == 2
