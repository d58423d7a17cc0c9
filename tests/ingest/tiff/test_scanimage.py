"""Stacks of ScanImage 3: pages are channels of planes of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset


def stack(path: Path, pages: int, **entries: object) -> np.ndarray:
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
        file.write(bytes(352))
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
