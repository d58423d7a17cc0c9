"""The ten workflows, as `docs/workflows.md` has them, in one program, on three TIFFs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.testing import SyntheticVessel, synthesize_kymograph, write_experiment

DOCS = Path(__file__).parents[3] / "docs" / "workflows.md"
HAS_KYMFLOW = importlib.util.find_spec("kymflow") is not None


class Header:
    """As a program's own header class offers it."""

    def to_dict(self) -> dict[str, Any]:
        return {"shape": [300, 20], "ndim": 2, "acquired_local_epoch_ns": 1667392215461000000}


class Regions:
    """As a program's own collection of regions offers it."""

    def to_list(self) -> list[dict[str, Any]]:
        rect = {"x0": 0, "x1": 5, "y0": 0, "y1": 9}
        return [{"roi_id": 1, "roi_type": "rect", "version": "1.0", "channel": 1, "data": rect}]


def snippets(text: str) -> list[str]:
    """Return the Python blocks of a Markdown page."""
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def run(blocks: list[str], tiff: Path, legacy: Path, tmp_path: Path) -> dict[str, Any]:
    """Run the snippets in one namespace, with their paths below `tmp_path`."""
    paths = {
        "/tmp/my_dataset.zarr": tmp_path / "my_dataset.zarr",
        "/tmp/exported": tmp_path / "exported",
        "/data/example.tif": tiff,
        "/data/legacy": legacy,
    }
    variables: dict[str, Any] = {
        "header": Header(),
        "experiment": {"species": "mouse"},
        "rois": Regions(),
    }
    for block in blocks:
        for written, here in paths.items():
            block = block.replace(written, here.as_posix())
        exec(compile(block, "workflows.md", "exec"), variables)
    return variables


def real(name: str) -> Any:
    """Return a function that finds one of the real files."""
    return lambda request, _: request.getfixturevalue("shared_data") / "kymflow_folder" / name


def synthetic(_: Any, tmp_path: Path) -> Path:
    """Write a realistic kymograph without calibration."""
    path = tmp_path / "synthetic.tif"
    tifffile.imwrite(path, synthesize_kymograph(SyntheticVessel(n_lines=2000)).pixels)
    return path


def imagej_stack(_: Any, tmp_path: Path) -> Path:
    """Write a calibrated z-stack of two channels as ImageJ does."""
    path = tmp_path / "stack.tif"
    stack = np.random.default_rng(3).integers(0, 4096, (5, 2, 64, 48), dtype=np.uint16)
    metadata = {"axes": "ZCYX", "unit": "um", "spacing": 2.0}
    tifffile.imwrite(path, stack, imagej=True, metadata=metadata, resolution=(2.0, 2.0))
    return path


def rgb(_: Any, tmp_path: Path) -> Path:
    """Write an RGB picture, big-endian and compressed."""
    path = tmp_path / "rgb.tif"
    pixels = np.random.default_rng(4).integers(0, 255, (50, 40, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", compression="lzw", byteorder=">")
    return path


SOURCES = {
    "synthetic": synthetic,
    "imagej": imagej_stack,
    "rgb": rgb,
    "Capillary1": real("Capillary1_0001.tif"),
    "A89_0002": real("28d AngII/20250722/20250722_A89_0002.tif"),
    "A89_0003": real("28d AngII/20250722/20250722_A89_0003.tif"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_snippets_run_as_written(
    request: pytest.FixtureRequest, tmp_path: Path, source: str
) -> None:
    tiff = SOURCES[source](request, tmp_path)
    legacy = tmp_path / "legacy"
    write_experiment(legacy, vessels=[SyntheticVessel(name="capillary_1", n_lines=500)])
    blocks = snippets(DOCS.read_text(encoding="utf-8"))
    assert len(blocks) == 10
    if not HAS_KYMFLOW:
        # The one line that is marked as optional needs the package `kymflow`.
        i = next(i for i, block in enumerate(blocks) if "load_metadata_objects" in block)
        lines = blocks[i].splitlines(keepends=True)
        blocks[i] = "".join(line for line in lines if "load_metadata_objects" not in line)
    variables = run(blocks, tiff, legacy, tmp_path)

    ds, rec = variables["ds"], variables["rec"]
    np.testing.assert_array_equal(rec.load_array(), tifffile.imread(tiff))
    assert rec.load_json("provenance")["original_path"] == tiff.as_posix()
    assert variables["payload"]["experiment_metadata"] == {"notes": "pilot run"}
    pd.testing.assert_frame_equal(variables["out_df"], variables["df"])
    assert ds.load_table("kym_velocity_events")["image_id"].tolist() == [rec.image_id]
    exported = tmp_path / "exported"
    with tifffile.TiffFile(exported / "images" / rec.image_id / "image.tif") as image:
        series = image.series[0]
        # ImageJ keeps its dimensions in an order of its own.
        order = [series.axes.lower().index(name) for name in rec.get_axes()]
        np.testing.assert_array_equal(series.asarray().transpose(order), rec.load_array())
    assert (exported / "tables" / "kym_velocity_events.csv").is_file()
    assert len(ds) == 2
    assert ZarrDataset(ds.path, mode="r").validate().ok


def test_the_page_is_what_was_asked_for(shared_data: Path) -> None:
    asked = shared_data.parent / "workflows.md"
    if not asked.is_file():
        pytest.skip("the page that was asked for is not here")
    assert snippets(asked.read_text()) == snippets(DOCS.read_text(encoding="utf-8"))
