"""What is published is the dataset, nothing of the machine, and is brought up to date."""

from __future__ import annotations

import getpass
import itertools
import os
import socket
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError, SchemaValidationError, StorageError
from kymflow_zarr.export.publishing.places import FolderPlace
from kymflow_zarr.testing import state_of
from kymflow_zarr.viewer.web.publishing.image_page import TILE, levels_of
from tests.helpers.static_host import hosted
from tests.storage.test_dataset_on_memory import work
from tests.viewer.web.site import ask, client_of


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def times_of(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def statuses(report: Any) -> dict[str | None, str]:
    return {item.image_id: item.status for item in report.items}


def test_python_reads_the_published_dataset_as_it_reads_the_source(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        work(ds)
        assert ds.publish(tmp_path / "web/x.zarr").ok
        with hosted(tmp_path / "web") as url:
            there = ZarrDataset(f"{url}/x.zarr", mode="r")
            assert state_of(there) == state_of(ds)
            assert there.verify().ok
            assert [*there.images()["image_id"]] == ds.list_image_ids()
    folder = ZarrDataset(tmp_path / "web/x.zarr", mode="r")
    assert folder.verify().ok
    known = folder.validate().problems
    assert known == ds.validate().problems
    (tmp_path / "web/x.zarr/index/page/published.json").unlink()
    [more] = {*folder.validate().problems} - {*known}
    assert (more.code, more.where) == ("foreign-file", "index.html")


def test_other_programs_read_images_and_tables_at_their_plain_addresses(
    dataset: ZarrDataset, tmp_path: Path
) -> None:
    dataset.publish(tmp_path / "web")
    with hosted(tmp_path / "web") as url:
        table = pd.read_parquet(f"{url}/tables/a/flow.parquet")
    assert [*table["state"]] == ["rest", "run", "rest"]
    group: Any = zarr.open_group(tmp_path / "web/images/kymo", mode="r")
    level = group.attrs["ome"]["multiscales"][0]["datasets"][0]["path"]
    assert np.array_equal(group[level][...], dataset["kymo"].load_array())


def test_publishing_again_writes_only_what_differs(dataset: ZarrDataset, tmp_path: Path) -> None:
    target = tmp_path / "web"
    assert set(statuses(dataset.publish(target)).values()) == {"published"}
    before, then = files_of(target), times_of(target)
    again = dataset.publish(target)
    assert set(statuses(again).values()) == {"unchanged"}
    assert again.n_bytes == 0
    assert times_of(target) == then

    with dataset["kymo"].edit(who="ada") as edit:
        edit.set_verdict("accepted")
    report = dataset.publish(target)
    assert statuses(report) == {
        "kymo": "updated", "stack": "unchanged", "É # %2e photo": "unchanged", None: "updated",
    }  # fmt: skip
    written = {name for name, data in files_of(target).items() if before.get(name) != data}
    assert not [name for name in written if "/stack" in name or name.startswith("tables/")]
    # The tiles of its pixels are as they were.
    assert not [name for name in written if "images/kymo/p" in name]
    assert not [name for name in written if name.startswith("images/kymo/data")]
    fresh = tmp_path / "fresh"
    dataset.publish(fresh)
    assert files_of(fresh).keys() == files_of(target).keys()


def test_what_is_deleted_in_the_dataset_is_deleted_there(
    dataset: ZarrDataset, tmp_path: Path
) -> None:
    dataset.publish(tmp_path / "web")
    dataset.delete_image("stack")
    dataset.delete_table("a/flow")
    assert statuses(dataset.publish(tmp_path / "web"))["stack"] == "deleted"
    dataset.publish(tmp_path / "fresh")
    assert files_of(tmp_path / "web").keys() == files_of(tmp_path / "fresh").keys()
    assert not (tmp_path / "web/images/stack").exists()


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    dataset: ZarrDataset, tmp_path: Path
) -> None:
    report = dataset.publish(tmp_path / "web", dry_run=True)
    assert report.counts() == {"published": 3}
    assert report.n_bytes > 0
    assert "would be 3 published" in str(report)
    assert not (tmp_path / "web").exists()


def test_an_interrupted_run_is_continued(
    dataset: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "web"
    write = FolderPlace.write
    count = 0

    def failing(place: FolderPlace, name: str, data: bytes) -> None:
        nonlocal count
        count += 1
        if count > 12:
            raise StorageError("the disk is full", where=name)
        write(place, name, data)

    with monkeypatch.context() as patched:
        patched.setattr(FolderPlace, "write", failing)
        assert not dataset.publish(target).ok
    assert not (target / "index.html").exists()
    assert dataset.publish(target).ok
    dataset.publish(tmp_path / "fresh")
    assert files_of(target) == files_of(tmp_path / "fresh")


def test_nothing_of_the_machine_is_published(
    dataset: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "zaphod-user")
    monkeypatch.setattr(socket, "gethostname", lambda: "zaphod-host")
    dataset.publish(tmp_path / "web")
    found = files_of(tmp_path / "web")
    # Whatever is packed is looked at unpacked, too.
    text = b"\n".join(found.values())
    for name, data in found.items():
        if name.endswith(".bin"):
            text += b"\n".join(_unpacked(data))
    for secret in (str(tmp_path), str(Path.home()) + "/", getpass.getuser(), socket.gethostname()):
        assert secret.encode() not in text, secret
    assert not [name for name in found if ".kymflow_zarr" in name]


def _unpacked(data: bytes) -> list[bytes]:
    parts = []
    while data:
        stream = zlib.decompressobj()
        parts.append(stream.decompress(data))
        data = stream.unused_data
    return parts


@pytest.mark.parametrize(
    ("height", "width"), [(3000, 40), (1, 1), (4096, 1024), (512, 513), (9, 5000)]
)
def test_levels_halve_long_axes_until_the_image_is_one_tile(height: int, width: int) -> None:
    levels = levels_of(height, width)
    assert levels[0] == (1, 1)
    for (down, across), (lower, further) in itertools.pairwise(levels):
        assert lower == (2 * down if height / down > TILE else down)
        assert further == (2 * across if width / across > TILE else across)
    down, across = levels[-1]
    assert max(-(-height // down), -(-width // across)) <= TILE


def test_a_damaged_image_is_reported_and_the_others_are_published(
    dataset: ZarrDataset, tmp_path: Path
) -> None:
    chunk = next(path for path in Path(dataset.location).glob("images/stack/data/c/**/*")
                 if path.is_file())  # fmt: skip
    chunk.write_bytes(b"damaged")
    report = dataset.publish(tmp_path / "web")
    assert not report.ok
    assert statuses(report)["stack"] == "failed"
    assert "not as it was written" in str(report)
    assert statuses(report)["kymo"] == "published"
    with hosted(tmp_path / "web") as url:
        assert "stack" not in ZarrDataset(url, mode="r").list_image_ids()


def test_nothing_is_published_over_something_else(dataset: ZarrDataset, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(SchemaValidationError, match=r"something else is there: thesis\.txt"):
        dataset.publish(tmp_path / "mine")
    with ZarrDataset(tmp_path / "other.zarr") as other:
        other.publish(tmp_path / "web")
    with pytest.raises(SchemaValidationError, match="another dataset was published"):
        dataset.publish(tmp_path / "web")
    for inside in (dataset.location, f"{dataset.location}/web", tmp_path):
        with pytest.raises(ArgumentError, match=r"over itself|one within the other"):
            dataset.publish(inside)
    for address in ("https://host/x.zarr", "memory://x", "ftp://host/x"):
        with pytest.raises(ArgumentError):
            dataset.publish(address)
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]  # noqa: PTH208


def test_nothing_is_published_at_a_file(dataset: ZarrDataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(SchemaValidationError, match="this is a file, not a folder"):
        dataset.publish(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_an_empty_dataset_is_published(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        assert ds.publish(tmp_path / "web").ok
    with hosted(tmp_path / "web") as url:
        assert ZarrDataset(url, mode="r").list_image_ids() == []


def test_the_page_shows_a_dataset_on_a_web_host(dataset: ZarrDataset, tmp_path: Path) -> None:
    dataset.publish(tmp_path / "web")
    here = client_of(dataset)
    with hosted(tmp_path / "web") as url:
        there = client_of(ZarrDataset(url, mode="r"))
        for address in (
            "/api/images/kymo/histogram", "/api/tables/a%2Fflow?limit=10",
            "/api/images/kymo/series?kind=parquet&name=velocity",
        ):  # fmt: skip
            expected, found = ask(here, address), ask(there, address)
            assert found == expected, address
        window = "/api/images/kymo/window?rows=100:350&columns=0:20&step=2,1"
        assert there.get(window).content == here.get(window).content
