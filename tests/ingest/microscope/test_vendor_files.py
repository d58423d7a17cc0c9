"""Real files of microscopes, compared with what the reference readers say of them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kymflow_zarr import PolylineRoi, ZarrDataset, ZarrImageRecord

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
    reference = json.loads((shared_data / "vendor" / "reference.json").read_text())
    (stated,) = reference[f"dev/vendor/scanimage/{file.name}"]["images"]
    rec = ds.ingest_tiff(file)
    assert (rec.shape, rec.get_axes()) == (tuple(stated["shape"]), ["t", "y", "x"])
    pixels = rec.load_array()
    assert pixels.dtype == stated["dtype"]
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == stated["sha256_pixels"]
    t = rec.axes[0]
    assert (t.name, t.unit) == ("t", "second")
    assert t.step == pytest.approx(1 / stated["frame_rate_hz"], rel=1e-12)
    assert len(pixels) == stated["n_pages"]
    entries = rec.load_json("tiff")["scanimage"]
    assert float(entries["state.acq.msPerLine"]) == stated["ms_per_line"]
    assert float(entries["state.acq.zoomFactor"]) == stated["zoom"]
    assert entries["state.acq.savingChannel2"] == stated["saving_channel2"]
    assert entries["state.software.version"].strip("'") == stated["version"]
    acquired = dt.datetime.strptime(stated["acquired"].strip("'"), "%m/%d/%Y %H:%M:%S.%f")
    header = rec.load_metadata_payload()["header"]
    assert header["acquired_local_epoch_ns"] == int(np.datetime64(acquired, "ns").astype(int))


def test_every_image_of_the_reference_is_compared(shared_data: Path) -> None:
    reference = json.loads((shared_data / "vendor" / "reference.json").read_text())
    compared = {f"dev/vendor/{name}" for name in FILES}
    others = {
        name
        for name, stated in reference.items()
        if name not in compared and (stated.get("images") or "xml" in stated)
    }
    assert all("/scanimage/" in name or "/prairie/" in name for name in others)


def test_a_prairie_scan_is_what_its_settings_say(ds: ZarrDataset, shared_data: Path) -> None:
    folder = shared_data / "vendor" / "prairie"
    reference = json.loads((shared_data / "vendor" / "reference.json").read_text())
    (stated,) = (
        stated["xml"]["sequences"][0] | {"date": stated["xml"]["date"]}
        for name, stated in reference.items()
        if "xml" in stated
    )
    rec, picture = map(ds.record, ds.ingest_legacy_folder(folder).image_ids)
    assert rec.shape == (2, stated["lines"], stated["pixels"])
    assert [axis.step for axis in rec.axes] == [
        None, stated["scan_line_period_s"], stated["microns_per_pixel"]["XAxis"],
    ]  # fmt: skip
    assert rec.channel_names == ["Ch1", "Ch2"]
    for plane, name in zip(rec.load_array(), stated["files"], strict=True):
        (file,) = (each for at, each in reference.items() if at.endswith(f"/{name}"))
        digest = hashlib.sha256(np.ascontiguousarray(plane).tobytes()).hexdigest()
        assert digest == file["images"][0]["sha256_pixels"]
    scan = rec.load_json("tiff")["line_scan"]
    assert scan["mode"] == stated["mode"]
    assert scan["length_um"] == float(stated["line_length_um"])
    assert scan["cycle_times_s"] == [stated["absolute_time_s"]]
    first, second, _, last = stated["points"]
    assert len(scan["path"]) == stated["n_points"]
    assert [scan["path"][at] for at in (0, 1, -1)] == [first, second, last]
    (line,) = picture.load_rois()
    assert isinstance(line, PolylineRoi)
    assert [list(point) for point in line.points] == scan["path"]
    day = dt.datetime.strptime(stated["date"], "%m/%d/%Y %I:%M:%S %p")
    acquired = rec.load_metadata_payload()["header"]["acquired_local_epoch_ns"]
    assert acquired // 10**9 == int(np.datetime64(day, "s").astype(int))
