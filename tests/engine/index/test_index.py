"""The index: never stale, never needed, and not read where it is damaged."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.engine.index import columns, file, index, order, seal
from kymflow_zarr.engine.index.columns import Row, read_row
from kymflow_zarr.errors import KymflowZarrError, StorageError
from kymflow_zarr.storage.local import files
from kymflow_zarr.storage.local.disk import Disk, disk_replaced
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.types import OrderBy, StrPath
from tests.conftest import files_of

PIXELS = np.zeros((4, 4), "uint16")
MANY = 70


def fill(ds: ZarrDataset, count: int) -> None:
    for i in range(count):
        ds.add_image(PIXELS, image_id=f"image-{i:03d}")
    age(ds)


def age(ds: ZarrDataset) -> None:
    """Make all images ten seconds old: what changed a moment ago is in no index."""
    then = time.time_ns() - 10_000_000_000
    for folder in (ds.path / "images").iterdir():
        os.utime(folder, ns=(then, then))


def index_of(ds: ZarrDataset) -> Path:
    return ds.path / "index" / "images.parquet"


def trusted_ids(ds: ZarrDataset) -> list[str]:
    rows = pq.read_table(index_of(ds), filters=[("changed_ns", ">=", 0)])
    return [str(image_id) for image_id in rows["image_id"].to_pylist()]


def test_it_has_a_row_for_each_image_that_is_not_about_to_change(ds: ZarrDataset) -> None:
    fill(ds, 2)
    ds.add_image(PIXELS, image_id="new")
    ds.update_manifest()
    assert trusted_ids(ds) == ["image-000", "image-001"]
    # A web host lists no folders, so that the file has to name all images.
    ids = pq.read_table(index_of(ds))["image_id"].to_pylist()
    assert ids == ["image-000", "image-001", "new"]
    assert [image["image_id"] for image in ds.load_manifest()["images"]][-1] == "new"


def test_what_another_process_changes_is_in_the_next_answer(ds: ZarrDataset) -> None:
    fill(ds, 3)
    ds.update_manifest()
    code = (
        "import numpy as np; from kymflow_zarr import ZarrDataset; "
        f"ds = ZarrDataset({str(ds.path)!r}, mode='r+'); "
        "ds.add_image(np.zeros((2, 2)), image_id='added'); ds.delete_image('image-000'); "
        "ds['image-001'].save_json('late', 1); ds['image-002'].save_array(np.zeros((7, 5)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    images = ds.images().set_index("image_id")
    assert images.index.tolist() == ["added", "image-001", "image-002"]
    assert images.loc["image-001", "artifacts"] == ("late",)
    assert images.loc["image-002", "shape"] == (7, 5)


def test_an_open_dataset_sees_names_come_and_go(ds: ZarrDataset) -> None:
    fill(ds, 3)
    ds.update_manifest()
    images = ds.path / "images"
    expected = ["image-000", "image-001", "image-002"]
    for old, new in [
        ("image-000", "image-100"),  # As many as before.
        ("image-001", ".hidden"),
        ("image-002", "Not An Id"),
        (".hidden", "con^0"),
        ("con^0", "a%2fb"),
        ("a%2fb", "zarr-2"),
    ]:
        assert ds.list_image_ids() == expected
        assert ds.images(["image_id"])["image_id"].tolist() == expected
        (images / old).rename(images / new)
        names = sorted(folder.name for folder in images.iterdir())
        expected = [name for name in names if name.startswith(("image-", "zarr-"))]
    assert ds.list_image_ids() == ["image-100", "zarr-2"]


def test_every_kind_of_change_to_an_image_shows(ds: ZarrDataset) -> None:
    fill(ds, 1)
    rec = ds["image-000"]
    changes = [
        lambda: rec.save_json("a/b/c", 1),
        lambda: rec.save_array_artifact("mask", PIXELS),
        lambda: rec.save_metadata_payload({"rois": [{"roi_id": 1}]}),
        lambda: rec.delete_analysis("c"),
        lambda: rec.delete_array_artifact("mask"),
        lambda: rec.save_array(np.zeros((5, 5))),
    ]
    columns = ["shape", "n_rois", "artifacts"]
    seen = [ds.images(columns).iloc[0].tolist()]
    for change in changes:
        age(ds)
        ds.update_manifest()
        change()
        seen.append(ds.images(columns).iloc[0].tolist())
        assert seen[-1] != seen[-2]
    assert seen[-1] == [(5, 5), 1, ("metadata",)]


def test_a_writable_dataset_brings_an_old_index_up_to_date(ds: ZarrDataset) -> None:
    fill(ds, MANY)
    earlier = ds.path / "index" / "manifest.json"
    earlier.parent.mkdir()
    earlier.write_text("{}")
    first = ds.images()
    assert pq.read_metadata(index_of(ds)).num_rows == MANY
    assert not earlier.exists()
    shutil.rmtree(ds.path / "index")
    assert ds.images().equals(first)
    assert index_of(ds).exists()


def test_one_change_does_not_rewrite_it(ds: ZarrDataset) -> None:
    fill(ds, MANY)
    ds.update_manifest()
    before = index_of(ds).read_bytes()
    ds["image-003"].save_json("a", 1)
    os.utime(ds.path / "images" / "image-003", ns=(1, 1))
    assert ds.images(["n_artifacts"])["n_artifacts"].sum() == 1
    assert index_of(ds).read_bytes() == before


def test_mode_r_writes_nothing(ds: ZarrDataset) -> None:
    fill(ds, MANY)
    ds.close()
    before = files_of(ds.path)
    with ZarrDataset(ds.path, mode="r") as frozen:
        assert len(frozen.images()) == len(frozen.load_manifest()["images"]) == MANY
        list(frozen.iter_records(order_by="created_utc"))
    assert files_of(ds.path) == before


class NoRoom(Disk):
    def create(self, path: StrPath, data: bytes | memoryview) -> None:
        raise OSError(28, "No space left on device")


def test_mode_r_without_an_index_reads_each_document_until_it_is_surely_unchanged(
    ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ds, 3)
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    read: list[str] = []

    def counting(storage: LocalStorage, image_id: str, changed_ns: int) -> Row | None:
        read.append(image_id)
        return read_row(storage, image_id, changed_ns)

    monkeypatch.setattr(index, "read_row", counting)
    with ZarrDataset(ds.path, mode="r") as frozen:
        for later_s, expected in [(0, 3), (1, 3), (2, 3), (0, 0), (9, 0)]:
            now[0] += later_s
            read.clear()
            assert frozen.images(["image_id"])["image_id"].tolist() == list(ds)
            assert len(read) == expected
        ds["image-001"].save_json("late", 1)
        ds.delete_image("image-000")
        ds.add_image(PIXELS, image_id="new")
        read.clear()
        frame = frozen.images().set_index("image_id")
        assert read == ["image-001", "new"]
        assert frame["n_artifacts"].to_dict() == {"image-001": 1, "image-002": 0, "new": 0}
    assert not index_of(ds).exists()


def test_a_full_disk_does_not_fail_a_read(ds: ZarrDataset) -> None:
    fill(ds, MANY)
    with disk_replaced(NoRoom()):
        assert len(ds.images()) == MANY
    assert not index_of(ds).exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign", "other"])
def test_a_damaged_index_is_as_good_as_none(ds: ZarrDataset, damage: str) -> None:
    fill(ds, 3)
    ds.update_manifest()
    expected = ds.images()
    path = index_of(ds)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[40] ^= 1
    elif damage == "cut":
        del data[-50:]
    elif damage == "empty":
        data.clear()
    elif damage == "other":
        data = bytearray(b"{}")
    path.write_bytes(data)
    if damage == "foreign":
        pq.write_table(pq.read_table(path).slice(0, 1), path)
    assert ds.images().equals(expected)
    ds.update_manifest()
    assert len(pq.read_table(path)) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_named_pipe_in_place_of_the_index_hides_no_image(ds: ZarrDataset) -> None:
    fill(ds, MANY)
    ds["image-001"].save_df_parquet("v", pd.DataFrame({"x": [1]}))
    ds.update_manifest()
    index_of(ds).unlink()
    os.mkfifo(index_of(ds))
    with ZarrDataset(ds.path, "r") as reader:
        assert len(reader.images()) == MANY
        assert reader.gather("v")["x"].tolist() == [1]
        assert reader.sql("select count(*) n from v")["n"].tolist() == [1]
    assert len(ds.images()) == MANY


def test_every_flipped_byte_is_noticed(ds: ZarrDataset) -> None:
    fill(ds, 2)
    ds.update_manifest()
    expected = ds.images()
    data = index_of(ds).read_bytes()
    for place in range(0, len(data), 53):
        changed = bytearray(data)
        changed[place] ^= 4
        index_of(ds).write_bytes(changed)
        assert ds.images().equals(expected)


def test_an_unfinished_change_of_a_dead_writer_is_rolled_back(ds: ZarrDataset) -> None:
    fill(ds, 2)
    journal = ds.path / ".kymflow_zarr" / "journal"
    journal.mkdir(parents=True, exist_ok=True)
    trash = f".kymflow_zarr/sessions/{'0' * 32}/{'1' * 32}"
    step = {"type": "remove", "key": "images/image-000/analysis/x.json", "aside": trash}
    body = json.dumps({"locks": [], "steps": [step]}).encode()
    digest = hashlib.sha256(body).hexdigest().encode()
    (journal / f"{'0' * 32}-1.json").write_bytes(digest + b"\n" + body)
    ds.update_manifest()
    assert "image-000" not in trusted_ids(ds)


def ordered(ds: ZarrDataset, by: OrderBy = "created_utc") -> list[str]:
    return [rec.image_id for rec in ds.iter_records(by)]


def order_of(ds: ZarrDataset) -> Path:
    return ds.path / "index" / "order.json"


def test_the_order_file_has_what_the_index_has(ds: ZarrDataset) -> None:
    fill(ds, 3)
    ds["image-001"].save_metadata_payload({"header": {"acquired_local_epoch_ns": 7}})
    os.utime(ds.path / "images" / "image-001" / "analysis" / "metadata.json", (1, 1))
    age(ds)
    ds.update_manifest()
    columns = ["image_id", "changed_ns", "created_utc", "acquired_local_epoch_ns"]
    content = json.loads(order_of(ds).read_bytes())
    rows = pq.read_table(index_of(ds), columns=columns).to_pydict()
    assert {name: content[name] for name in columns} == rows
    assert content["acquired_local_epoch_ns"] == [None, 7, None]


def test_an_ordered_list_is_never_stale(ds: ZarrDataset) -> None:
    fill(ds, 5)
    ds.update_manifest()
    ds.delete_image("image-003")
    ds.add_image(PIXELS, image_id="a late one")
    ds["image-002"].save_metadata_payload({"header": {"acquired_local_epoch_ns": 7}})
    reader = ZarrDataset(ds.path, mode="r")
    late = ["image-000", "image-001", "image-002", "image-004", "a late one"]
    assert ordered(reader) == late
    assert ordered(reader, "acquired_local_epoch_ns")[0] == "image-002"


def test_an_ordered_list_after_many_changes_is_complete(ds: ZarrDataset) -> None:
    fill(ds, 3)
    ds.update_manifest()
    for number in range(20):
        ds.add_image(PIXELS, image_id=f"z{number:02}")
    assert ordered(ZarrDataset(ds.path, mode="r")) == ordered(ds) == ds.list_image_ids()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-20],
        lambda data: data.replace(b"created_utc", b"created_uct"),
        lambda data: seal.sealed(data.replace(b'"image_id":[', b'"image_id":["image-009",')),
        lambda data: seal.sealed(data.replace(b'"changed_ns":[', b'"changed_ns":["x",')),
        lambda data: seal.sealed(data.replace(b'"format_version":2', b'"format_version":3')),
    ],
    ids=["empty", "cut", "flipped", "uneven", "type", "newer"],
)
def test_a_damaged_order_file_is_as_good_as_none(
    ds: ZarrDataset, damage: Callable[[bytes], bytes]
) -> None:
    fill(ds, 3)
    ds.update_manifest()
    data = order_of(ds).read_bytes()
    assert order.from_bytes(data) is not None
    order_of(ds).write_bytes(damage(data))
    assert order.from_bytes(damage(data)) is None
    assert ordered(ds) == ds.list_image_ids()
    assert [problem.code for problem in ds.validate().problems] == ["index"]
    ds.repair()
    assert ds.validate().ok
    ds.update_manifest()
    assert order_of(ds).read_bytes() == data


def test_order_and_missing_values(ds: ZarrDataset) -> None:
    for name, acquired in (("a", 3), ("b", None), ("c", 1), ("d", 3)):
        rec = ds.add_image(PIXELS, image_id=name)
        if acquired is not None:
            rec.save_metadata_payload({"header": {"acquired_local_epoch_ns": acquired}})
    by: OrderBy = "acquired_local_epoch_ns"
    assert [rec.image_id for rec in ds.iter_records(by)] == ["c", "a", "d", "b"]
    assert [rec.image_id for rec in ds.iter_records(by, "first")] == ["b", "c", "a", "d"]
    assert [rec.image_id for rec in ds.iter_records("created_utc")] == ["a", "b", "c", "d"]


def test_ids_of_every_kind_are_listed(ds: ZarrDataset) -> None:
    names = ["con-1", "Ümlaut", "UPPER", "a.json", "zarr", "plain", ".dot", "x y", "123"]
    for name in names:
        ds.add_image(PIXELS, image_id=name)
    assert ds.list_image_ids() == ds.images()["image_id"].tolist() == sorted(names)
    (ds.path / "images" / "notes.txt").write_text("not an image")
    (ds.path / "images" / ".hidden").mkdir()
    assert ds.list_image_ids() == ds.images()["image_id"].tolist() == sorted(names)


def test_text_that_is_not_unicode_breaks_one_image_only(ds: ZarrDataset) -> None:
    fill(ds, 2)
    path = ds.path / "images" / "image-000" / "zarr.json"
    path.write_text(path.read_text().replace('"created_utc": "2', '"created_utc": "\\ud800'))
    bad, good = ds.images().to_dict("records")
    assert "Unicode" in bad["error"]
    assert good["shape"] == (4, 4)


def test_an_error_that_passes_is_not_in_the_index(
    ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ds, 3)
    ds["image-001"].save_metadata_payload({"experiment_metadata": {"condition": "drug"}})
    age(ds)
    real = LocalStorage.read
    for part in ("image-000/zarr.json", "image-001/analysis/metadata.json"):

        def refuse(self: LocalStorage, key: str, part: str = part) -> bytes | None:
            if key.endswith(part):
                raise StorageError("cannot read: Too many open files", where=key)
            return real(self, key)

        with monkeypatch.context() as patch:
            patch.setattr(LocalStorage, "read", refuse)
            ds.update_manifest()
            ds.images()
        for reader in (ds, ZarrDataset(ds.path, mode="r")):
            images = reader.images(["error", "condition"])
            assert images["error"].isna().all()
            assert images["condition"].dropna().tolist() == ["drug"]


def test_a_document_put_right_in_its_place_is_read_again(ds: ZarrDataset) -> None:
    fill(ds, 3)
    document = ds.path / "images" / "image-001" / "zarr.json"
    whole = document.read_bytes()
    document.write_bytes(whole[:-20])
    age(ds)
    ds.update_manifest()
    assert ds.images(["error"])["error"].notna().sum() == 1
    document.write_bytes(whole)  # The folder's time is the same.
    assert ds.images(["error"])["error"].isna().all()


def test_rows_of_errors_that_an_earlier_version_saved_are_not_trusted(ds: ZarrDataset) -> None:
    fill(ds, 3)
    ds.update_manifest()
    table = pq.read_table(index_of(ds))
    errors = pa.array(["cannot read", None, None], pa.string())
    table = table.set_column(table.column_names.index("error"), "error", errors)
    index_of(ds).write_bytes(file.to_bytes(table))
    assert ds.images(["error"])["error"].isna().all()


def test_a_program_that_ends_after_a_list_ends_well(ds: ZarrDataset) -> None:
    fill(ds, 5)
    for name in ds:
        ds[name].save_df_parquet("e", pd.DataFrame({"v": np.arange(50_000.0)}))
    ds.save_table("t", pd.DataFrame({"image_id": list(ds), "v": 1.0}))
    age(ds)
    ds.update_manifest()
    code = (
        "import sys; from kymflow_zarr import ZarrDataset; ZarrDataset(sys.argv[1], 'r').images()"
    )
    for _ in range(12):
        subprocess.run([sys.executable, "-c", code, str(ds.path)], check=True)


def test_the_docs_list_the_columns() -> None:
    docs = Path(__file__).parents[3] / "docs"
    for page, names in (("format.md", columns.INDEX), ("questions.md", columns.IMAGES)):
        text = (docs / page).read_text(encoding="utf-8")
        rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        listed = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
        assert names.keys() <= listed


def test_a_copied_image_folder_is_an_error_and_no_second_image(ds: ZarrDataset) -> None:
    vessel = ds.add_image(np.zeros((4, 4), "uint8"), image_id="vessel")
    vessel.save_df_parquet("events", pd.DataFrame({"v": [1.0, 2.0]}))
    shutil.copytree(ds.path / "images" / "vessel", ds.path / "images" / "vessel copy")
    errors = ds.images().set_index("image_id")["error"]
    assert pd.isna(errors["vessel"])
    assert "the document is that of the image 'vessel'" in errors["vessel copy"]
    with pytest.raises(KymflowZarrError, match="vessel copy"):
        ds.gather("events")
    assert len(ds.gather("events", on_error="report")) == 2
    assert [p.code for p in ds.validate().problems if p.severity == "error"] == ["image-id"]


def test_metadata_that_an_editor_wrote_in_place_are_in_the_list(
    ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        rec = ds.add_image(PIXELS, image_id=f"image-{i:03d}")
        rec.save_metadata_payload({"experiment_metadata": {"condition": "contol"}})
    age(ds)
    for path in (ds.path / "images").glob("*/analysis/metadata.json"):
        os.utime(path, ns=(1, 1))
    ds.update_manifest()
    for many in (2_000, 1):  # One by one, and through Arrow.
        monkeypatch.setattr(files, "_MANY", many)
        assert ds.images()["condition"].tolist() == ["contol"] * 3
    edited = ds.path / "images" / "image-001" / "analysis" / "metadata.json"
    folder = edited.parents[1].stat().st_mtime_ns
    token = ds._open.change_token()
    edited.write_text(edited.read_text().replace("contol", "control"))
    assert edited.parents[1].stat().st_mtime_ns == folder
    assert ds._open.change_token() != token  # The page draws its list again.
    for many in (2_000, 1):
        monkeypatch.setattr(files, "_MANY", many)
        for again in (ds, ZarrDataset(ds.path, "r")):
            assert again.images()["condition"].tolist() == ["contol", "control", "contol"]


def test_metadata_from_a_clock_that_is_ahead_hide_no_change(ds: ZarrDataset) -> None:
    fill(ds, 2)
    rec = ds["image-001"]
    rec.save_metadata_payload({"experiment_metadata": {"condition": "drug"}})
    age(ds)
    ahead = time.time_ns() + 3600 * 10**9
    os.utime(ds.path / "images" / "image-001" / "analysis" / "metadata.json", ns=(ahead, ahead))

    def versions() -> dict[str, int]:
        return LocalStorage(ds.path, writable=False).versions("images", "analysis/metadata.json")

    before = versions()
    assert before == versions()
    rec.save_json("late", 1)
    after = versions()
    assert before["image-000"] == after["image-000"]
    assert before["image-001"] != after["image-001"]
