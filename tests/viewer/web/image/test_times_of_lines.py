"""What the server tells of lines at irregular times."""

from __future__ import annotations

import numpy as np
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from tests.viewer.web.site import ask


def test_the_page_learns_the_time_of_each_line(client: TestClient, dataset: ZarrDataset) -> None:
    rec = dataset.add_image(np.ones((3, 5), "u1"), image_id="uneven", line_period_s=1.0)
    rec.save_array_artifact("axis_times/y", [0.0, 2.0, 3.0])
    facts = ask(client, "/api/images/uneven")
    assert facts["plane"]["horizontal"]["knots"] == {
        "positions": [0, 1, 2, 3],
        "values": [0.0, 2.0, 3.0, 4.5],
    }
    assert "knots" not in facts["plane"]["vertical"]
