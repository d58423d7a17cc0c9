"""`ds.plot()`: a point for each image or animal, by condition, and what a click leads to."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.views.groups import point_offsets

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

VALUES = {"a": 1.0, "b": 3.0, "c": 5.0, "d": 6.0}
ANIMALS = {"a": "m1", "b": "m2", "c": "m1", "d": "m2"}


@pytest.fixture(autouse=True)
def _figures_closed() -> Iterator[None]:
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for image_id in VALUES:
            phase = "before" if image_id in "ab" else "after"
            ds.add_image(np.zeros((4, 4), np.uint8), image_id=image_id).save_metadata_payload(
                {"experiment_metadata": {"phase": phase, "animal": ANIMALS[image_id]}}
            )
        ds.save_table(
            "t", pd.DataFrame({"image_id": list(VALUES), "v_mm_s": list(VALUES.values())})
        )
        yield ds


def points_of(ax: Any) -> list[list[float]]:
    """Return the values of the points of each group, from left to right."""
    return [c.get_offsets()[:, 1].tolist() for c in ax.collections if "values" in str(c.get_gid())]


@pytest.mark.parametrize("kind", ["swarm", "strip", "box"])
def test_each_image_is_a_point_over_its_condition(lab: ZarrDataset, kind: Any) -> None:
    ax = lab.plot("t", "v_mm_s", by="phase", kind=kind)
    assert points_of(ax) == [[5.0, 6.0], [1.0, 3.0]]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["after\nn = 2", "before\nn = 2"]
    assert ax.get_ylabel() == "v (mm/s)"


def test_an_animal_before_and_after_is_joined_by_a_line(lab: ZarrDataset) -> None:
    ax = lab.plot("t", "v_mm_s", by="phase", unit="animal", paired=True, order=["before", "after"])
    pairs: dict[Any, Any] = {
        line.get_gid(): line.get_ydata() for line in ax.lines if line.get_gid()
    }
    assert {key: list(y) for key, y in pairs.items()} == {"pair m1": [1, 5], "pair m2": [3, 6]}


def test_a_click_on_a_point_of_an_svg_opens_its_image_or_its_animal(lab: ZarrDataset) -> None:
    class Page:
        def address_of(self, image_id: str) -> str:
            return f"http://here/image/{image_id}"

        def address_of_images(self, column: str, value: str) -> str:
            return f"http://here/?where={column}:eq:{value}"

    def links(unit: str | None) -> list[str]:
        file = io.StringIO()
        page: Any = Page()
        figure: Any = lab.plot("t", "v_mm_s", by="phase", unit=unit, viewer=page).figure
        figure.savefig(file, format="svg")
        return re.findall(r'xlink:href="http://here/([^"]+)"', file.getvalue())

    assert sorted(links(None)) == [f"image/{image_id}" for image_id in "abcd"]
    assert sorted(set(links("animal"))) == ["?where=animal:eq:m1", "?where=animal:eq:m2"]


def test_what_cannot_be_drawn_leaves_no_figure(lab: ZarrDataset) -> None:
    for wrong in ({"kind": "violin"}, {"paired": True}, {"by": "fase"}):
        with pytest.raises(ArgumentError):
            lab.plot("t", "v_mm_s", **wrong)
    assert plt.get_fignums() == []


def test_points_of_a_swarm_stand_side_by_side_only_where_they_would_overlap() -> None:
    values = np.array([1.0, 1.0, 1.0, 9.0])
    assert point_offsets(values, 8.0, "swarm").tolist() == [0.0, 0.05, -0.05, 0.0]
    many = point_offsets(np.zeros(1000), 0.0, "swarm")
    assert len(np.unique(many)) == 1000
    assert np.abs(many).max() <= 0.36
