"""How many files of the package a call walks through: what a newcomer reads to follow it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd
import pytest
import tifffile

import kymflow_zarr
from kymflow_zarr import ZarrDataset

PACKAGE = str(Path(kymflow_zarr.__file__).parent)


def walked(call: Callable[[], object]) -> set[str]:
    """Return the files of the package of which a function is entered, in all threads."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(PACKAGE):
            found.add(file)

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    return found


def test_replacing_the_rows_of_an_image_walks_through_twenty_files(ds: ZarrDataset) -> None:
    image_id = ds.add_image(np.zeros((4, 4), "uint8")).image_id
    rows = pd.DataFrame({"image_id": [image_id] * 3, "score": [1, 2, 3]})
    ds.replace_rows_for_image_id("scores", image_id, rows)
    assert len(walked(lambda: ds.replace_rows_for_image_id("scores", image_id, rows))) <= 20


def test_ingesting_a_tiff_walks_through_no_more_files_than_it_did(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    for number in range(2):
        pixels = np.full((50, 38), number, "uint16")
        tifffile.imwrite(tmp_path / f"{number}.tif", pixels)
    ds.ingest_tiff(tmp_path / "0.tif")
    assert len(walked(lambda: ds.ingest_tiff(tmp_path / "1.tif"))) <= 54


def test_a_tile_of_the_page_walks_through_fifteen_files_or_twenty(ds: ZarrDataset) -> None:
    pytest.importorskip("starlette")
    from tests.viewer.web.site import client_of

    ds.add_image(np.zeros((600, 40), "uint16"), image_id="a")
    client = client_of(ds)
    for path, most in (("window?rows=0:2", 20), ("window?rows=0:2", 15)):
        assert len(walked(partial(client.get, f"/api/images/a/{path}"))) <= most, path
