"""Real files of microscopes, compared with what the reference readers say of them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset, ZarrImageRecord

LIBRARIES = {".czi": "czifile", ".lif": "liffile", ".nd2": "nd2", ".oib": "oiffile"}
FILES = [
    "czi/LLS7_small.czi",
    "czi/RGB-multichannel.czi",
    "lif/LeicaLASX_wavelength-sweep_example.lif",
    "nd2/cluster.nd2",
    "oib/test.oib",
]


def micrometers(stated: dict[str, Any]) -> dict[str, float]:
    meters = stated.get("pixel_size_m") or {
        k: v for k, v in stated.get("step_m_or_s", {}).items() if k in "XYZ"
    }
    return {k.lower(): v * 1e6 for k, v in meters.items()} | {
        k.lower(): v for k, v in stated.get("pixel_size_um", {}).items()
    }


def clock(text: str) -> int:
    """Return a time of the reference as nanoseconds, as its reader spells it."""
    if "/" in text:
        moment = dt.datetime.strptime(text, "%d/%m/%Y  %H:%M:%S")
        return int(np.datetime64(moment, "ns").astype(int))
    return int(np.datetime64(text.removesuffix("Z").replace(" ", "T"), "ns").astype(int))


def in_the_order_of(dims: str, shape: list[int], rec: ZarrImageRecord) -> Any:
    """Return the pixels with samples as an axis of their own, as the reference has them."""
    pixels = rec.load_array()
    if "S" in dims:
        pixels = np.moveaxis(pixels.reshape(shape[0], shape[-1], *shape[1:-1]), 1, -1)
    return np.ascontiguousarray(pixels)


@pytest.mark.parametrize("name", FILES)
def test_a_real_file_gives_what_its_reference_reader_gives(
    ds: ZarrDataset, shared_data: Path, name: str
) -> None:
    pytest.importorskip(LIBRARIES[Path(name).suffix])
    reference = json.loads((shared_data / "vendor" / "reference.json").read_text())
    images = reference[f"dev/vendor/{name}"]["images"]
    for series, stated in enumerate(images):
        rec = ds.ingest_tiff(shared_data / "vendor" / name, series=series)
        pixels = in_the_order_of(stated["dims"], stated["shape"], rec)
        assert pixels.shape == tuple(stated["shape"])
        assert pixels.dtype == stated["dtype"]
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == stated["sha256_pixels"]
        steps = {axis.name: axis.step for axis in rec.axes}
        for axis, step in micrometers(stated).items():
            assert steps[axis] == pytest.approx(step, rel=1e-12)
        if "channels" in stated and "S" not in stated["dims"]:
            assert rec.channel_names == stated["channels"]
        if "T" in stated.get("step_m_or_s", {}):
            assert steps["t"] == pytest.approx(stated["step_m_or_s"]["T"], rel=1e-12)
        acquired = rec.load_metadata_payload()["header"]["acquired_local_epoch_ns"]
        assert acquired // 10**6 == clock(stated["acquired"]) // 10**6 or (
            acquired // 10**9 == clock(stated["acquired"]) // 10**9
        )
    assert ds.validate().ok


def test_a_nikon_file_without_a_period_has_the_times_of_its_events(
    ds: ZarrDataset, shared_data: Path
) -> None:
    pytest.importorskip("nd2")
    rec = ds.ingest_tiff(shared_data / "vendor" / "nd2" / "cluster.nd2")
    times = rec.load_json("tiff")["frame_times_s"]
    assert times[0] == 0.44508349828422067
    assert rec.axes[0].step == pytest.approx(np.diff(times).mean(), rel=0.01)


def test_a_scanimage_stack_is_frames_in_time(ds: ZarrDataset, shared_data: Path) -> None:
    (file,) = (shared_data / "vendor" / "scanimage").glob("*.tif")
    rec = ds.ingest_tiff(file)
    t = rec.axes[0]
    assert (t.name, t.unit) == ("t", "second")
    assert t.step == pytest.approx(1 / 8.13802083333333)
    assert rec.load_array().shape == (30, 64, 64)
    assert rec.load_json("tiff")["scanimage"]["state.acq.zoomFactor"] == "1.6"
    header = rec.load_metadata_payload()["header"]
    assert header["acquired_local_epoch_ns"] == clock("2014-07-30T21:10:00.731")


def test_a_prairie_scan_has_the_pixel_size_and_the_path_of_its_settings(
    ds: ZarrDataset, shared_data: Path
) -> None:
    (image_id,) = ds.ingest_legacy_folder(shared_data / "vendor" / "prairie").image_ids
    rec = ds.record(image_id)
    assert [axis.step for axis in rec.axes] == [None, 0.00206355468314815, 0.294117647058823]
    path = rec.load_json("tiff")["line_scan"]["path"]
    assert (len(path), path[0], path[-1]) == (255, [167.0, 39.5], [116.5, 179.0])
