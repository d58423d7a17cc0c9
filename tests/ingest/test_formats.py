"""A format of image files that the package does not know, taught by one class and one row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from kymflow_zarr import Axis, ZarrDataset
from kymflow_zarr.ingest.sources import registry
from kymflow_zarr.ingest.sources.interface import FileSet, ImageFile
from kymflow_zarr.ingest.sources.registry import FORMATS, ImageFormat


class JsonImage:
    """Two scenes in a JSON file: one class that satisfies `ImageFile`."""

    source_axes = "TX"
    channel_names = None
    acquired_local_epoch_ns = 5_000_000_000
    frame_times_s = None
    held_bytes = 0
    series_count = 2

    def __init__(self, path: Path, series: int) -> None:
        content = json.loads(path.read_text())
        self.path = path
        more = path.with_suffix(".more")
        self.files: tuple[Path, ...] = (path, *([more] if more.exists() else []))
        self._pixels = np.array(content["scenes"][series], dtype="uint16")
        self.dtype = self._pixels.dtype
        self.axes = (Axis("t", "time", "second", 0.5), Axis("x", "space", "micrometer", 0.25))
        self.series_index = series
        self.name: str | None = f"scene {series}"
        self.notes: tuple[str, ...] = (f"seen by the reader of scene {series}",)
        self.description: dict[str, object] = {"format": "json", "microscope": "M1"}

    @property
    def shape(self) -> tuple[int, ...]:
        return self._pixels.shape

    def __getitem__(self, key: Any, /) -> Any:
        return np.ascontiguousarray(self._pixels[key])

    def hold(self, size: int) -> memoryview | None:
        return None

    def let_go(self) -> None:
        pass

    def skeleton(self, channel: tuple[int, int] | None = None) -> None:
        return None

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_json(path: Path, series: int) -> ImageFile:
    return JsonImage(path, series)


def json_sets(images: Any, others: Any) -> list[FileSet]:
    return [
        FileSet(path, companions=(path.with_suffix(".more"),))
        for path in images
        if path.with_suffix(".more") in others
    ]


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ImageFormat("JSON image", (".jim",), open_json, (".more",), json_sets)
    monkeypatch.setattr(registry, "FORMATS", (*FORMATS, row))


def test_a_format_is_one_class_and_one_row(ds: ZarrDataset, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    scenes = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]
    (lab / "a.jim").write_text(json.dumps({"scenes": scenes}))
    (lab / "a.more").write_text("described here")
    (lab / "a.quality.json").write_text('{"good": true}')
    report = ds.ingest_legacy_folder(lab, pattern="*.jim")
    assert [item.status for item in report.items] == ["ingested", "ingested"]
    assert "seen by the reader of scene 1" in (report.items[1].reason or "")
    for series, image_id in enumerate(report.image_ids):
        rec = ds.record(image_id)
        assert rec.load_array().tolist() == scenes[series]
        assert rec.axes == (
            Axis("y", "time", "second", 0.5), Axis("x", "space", "micrometer", 0.25),
        )  # fmt: skip
        assert rec.load_json("quality") == {"good": True}
        assert rec.load_json("tiff")["microscope"] == "M1"
        assert [file.role for file in rec.source_files] == ["image", "companion", "sidecar"]
    listed = ds.images(columns=["source_image", "acquired_local_epoch_ns"])
    assert sorted(listed.values.tolist()) == [["scene 0", 5 * 10**9], ["scene 1", 5 * 10**9]]
    assert not list(ds.refresh_from_folder(lab, pattern="*.jim"))
    (lab / "a.more").write_text("described otherwise")
    again = ds.refresh_from_folder(lab, pattern="*.jim", mode="reingest_if_changed")
    assert len(again.report.updated) == 2
    assert ds.validate().ok
    assert not ds.export_legacy_folder(tmp_path / "out", layout="kymflow").failed
