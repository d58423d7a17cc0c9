"""Stacks of ScanImage 3: pages are channels of planes of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset


def stack(path: Path, pages: int, *, padding: int = 352, **entries: object) -> np.ndarray:
    told = {
        "state.software.version": 3.8, "state.acq.frameRate": 4, "state.acq.numberOfZSlices": 1,
        "state.internal.triggerTimeString": "'7/30/2014 21:10:00.731'",
    }  # fmt: skip
    told |= {f"state.acq.{key}": value for key, value in entries.items()}
    text = "\r".join(f"{key}={value}" for key, value in told.items())
    pixels = np.arange(pages * 12, dtype="u2").reshape(pages, 3, 4)
    with tifffile.TiffWriter(path) as tiff:
        for page in pixels:
            tiff.write(page, description=text, metadata=None, contiguous=False, software=False)
    with path.open("ab") as file:
        # tifffile counts the pages by the distance between the first two.
        file.write(bytes(padding))
    return pixels


@pytest.mark.parametrize(
    ("entries", "names", "shape"),
    [
        ({"savingChannel2": 1}, "tyx", (12,)),
        ({"savingChannel1": 1, "savingChannel3": 1}, "tcyx", (6, 2)),
        ({"savingChannel1": 1, "numberOfZSlices": 3, "zStepSize": 2}, "tzyx", (4, 3)),
        ({"savingChannel1": 1, "savingChannel2": 1, "numberOfZSlices": 3}, "tczyx", (2, 2, 3)),
        ({"savingChannel1": 1, "numberOfZSlices": 5}, "tyx", (12,)),
    ],
)
def test_pages_become_times_planes_and_channels(
    ds: ZarrDataset, tmp_path: Path, entries: dict[str, int], names: str, shape: tuple[int, ...]
) -> None:
    pixels = stack(tmp_path / "a.tif", 12, **entries)
    rec = ds.ingest_tiff(tmp_path / "a.tif")
    assert "".join(axis.name for axis in rec.axes) == names
    wanted = pixels.reshape(*shape, 3, 4)
    if names == "tczyx":
        # Pages run through the channels first.
        wanted = pixels.reshape(2, 3, 2, 3, 4).swapaxes(1, 2)
    assert np.array_equal(rec.load_array(), wanted)
    assert rec.axes[0].step == 0.25
    if "c" in names:
        assert rec.channel_names is not None
        assert len(rec.channel_names) == 2


def test_the_last_page_of_a_file_that_was_written_anew_is_there(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    pixels = stack(tmp_path / "a.tif", 12, padding=0, savingChannel1=1)
    assert np.array_equal(ds.ingest_tiff(tmp_path / "a.tif").load_array(), pixels)


def test_rows_of_a_line_scan_are_lines_in_time(ds: ZarrDataset, tmp_path: Path) -> None:
    stack(tmp_path / "a.tif", 12, savingChannel1=1, linescan=1, msPerLine=2.5)
    y = ds.ingest_tiff(tmp_path / "a.tif").axes[1]
    assert (y.name, y.quantity, y.unit, y.step) == ("y", "time", "second", 0.0025)


def test_a_header_of_a_later_version_is_told(ds: ZarrDataset, tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    tifffile.imwrite(
        tmp_path / "lab" / "a.tif", np.ones((4, 5, 6), "u2"), bigtiff=True, metadata=None,
        photometric="minisblack",
        software="SI.VERSION_MAJOR = '5'\nSI.hChannels.channelSave = [1;2]",
    )  # fmt: skip
    (item,) = ds.ingest_legacy_folder(tmp_path / "lab").ingested
    assert "ScanImage wrote it in a form that is not understood" in (item.reason or "")
