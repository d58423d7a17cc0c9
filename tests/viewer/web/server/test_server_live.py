"""The server itself: it listens, tells its address, and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import kymflow_zarr.viewer.web
from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import (
    ArgumentError,
    MissingDependencyError,
    ReadOnlyError,
    StorageError,
)
from tests.cli.run import run
from tests.helpers.v1_dataset import STACK, write_v1
from tests.viewer.web.site import PIXELS, make_dataset


def get(address: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
        body: bytes = answer.read()
    return body


def test_a_dataset_is_served_until_the_block_ends(dataset: ZarrDataset) -> None:
    with dataset.view() as viewer:
        assert viewer.url.startswith("http://127.0.0.1:")
        told = json.loads(get(f"{viewer.url}api/dataset"))
        assert told["dataset_id"] == dataset.dataset_id
        assert viewer.address_of("É/1") == f"{viewer.url}image/%C3%89%2F1"
        address = f"{viewer.url}api/images/%C3%89%20%23%20%252e%20photo"
        assert json.loads(get(address))["image_id"] == "É # %2e photo"
        other = dataset.view()
        assert other.url != viewer.url
        other.close()
        other.close()
        other.wait()
    with pytest.raises(urllib.error.URLError):
        get(viewer.url)


def test_other_programs_open_an_image_at_its_ome_zarr_address(dataset: ZarrDataset) -> None:
    pytest.importorskip("aiohttp", reason="zarr reads over HTTP with it")
    with dataset.view() as viewer:
        group = zarr.open_group(viewer.ome_zarr_url("kymo"), mode="r")
        pixels: Any = group["data"]
        np.testing.assert_array_equal(pixels[100:200], PIXELS[100:200])


def test_another_host_needs_the_token_that_is_in_the_address(dataset: ZarrDataset) -> None:
    with dataset.view(host="0.0.0.0") as viewer:
        address, _, token = viewer.url.partition("?token=")
        assert len(token) >= 20
        port = address.rpartition(":")[2].strip("/")
        local = f"http://127.0.0.1:{port}/"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(f"{local}api/dataset")
        cookie = f"kymflow_zarr_token_{port}={token}"
        assert json.loads(get(f"{local}api/dataset", Cookie=cookie))["n_images"] == 3
    with dataset.view(token="my-own-token") as viewer:
        assert viewer.url.endswith("/?token=my-own-token")
    with pytest.raises(ArgumentError, match="token"):
        dataset.view(token="a b")


def test_a_port_that_is_taken_is_named(dataset: ZarrDataset) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StorageError, match=f"port {port}"):
            dataset.view(port=port)
    with pytest.raises(ArgumentError, match="no port"):
        dataset.view(port=70_000)
    with pytest.raises(StorageError, match="no host"):
        dataset.view(host="no.such.host.invalid")


def test_nothing_is_edited_in_a_dataset_that_is_read_only(dataset: ZarrDataset) -> None:
    with ZarrDataset(dataset.path, "r") as reader, pytest.raises(ReadOnlyError):
        reader.view(edit=True)


def test_the_extra_is_named_where_it_is_missing(
    dataset: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The package is imported again, and its folder then has the new module as attribute.
    monkeypatch.setattr(kymflow_zarr.viewer, "web", kymflow_zarr.viewer.web)
    for name in [name for name in sys.modules if name.startswith("kymflow_zarr.viewer.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.h11_impl", None)
    with pytest.raises(MissingDependencyError, match=r"kymflow-zarr\[view\]"):
        dataset.view()


# The command -----------------------------------------------------------------------------


def served(*args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kymflow_zarr", "view", *map(str, args)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole console")
@pytest.mark.parametrize("more", [[], ["--edit", "--as", "J. Doe"], ["--read-only"]])
def test_the_command_serves_until_ctrl_c(tmp_path: Path, more: list[str]) -> None:
    make_dataset(tmp_path / "x.zarr").close()
    process = served(tmp_path / "x.zarr", "--no-browser", *more)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    told = json.loads(get(f"{address}api/dataset"))
    assert told["who"] == ("J. Doe" if more[:1] == ["--edit"] else None)
    assert get(f"{address}api/images/kymo/thumbnail")
    kept = (tmp_path / "x.zarr" / "index" / "thumbnails" / "kymo.png").is_file()
    assert kept is (more != ["--read-only"])
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert not any((tmp_path / "x.zarr" / ".kymflow_zarr").glob("sessions/*"))


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole console")
def test_the_command_prints_the_address_of_an_image_as_ome_zarr(tmp_path: Path) -> None:
    make_dataset(tmp_path / "x.zarr").close()
    process = served(tmp_path / "x.zarr", "--url", "ky")
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    group = json.loads(get(f"{address}/zarr.json", Origin="https://viewer.example"))
    assert group["attributes"]["ome"]["multiscales"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    make_dataset(tmp_path / "x.zarr").close()
    write_v1(tmp_path / "old.zarr")
    for args, said in (
        ([tmp_path / "old.zarr", "--url", STACK], "kymflow-zarr migrate"),
        ([tmp_path / "old.zarr", "--edit"], "kymflow-zarr migrate"),
        ([tmp_path / "nothing.zarr"], "kymflow-zarr ingest makes one"),
        ([tmp_path / "x.zarr", "--url", "nothing"], "no image id begins"),
        ([tmp_path / "x.zarr", "--edit", "--read-only"], "one of --edit and --read-only"),
    ):
        result = run("view", *args)
        assert result.exit_code == 2
        assert said in result.stderr
