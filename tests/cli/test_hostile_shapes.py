"""An image whose document claims a shape beyond sense is one broken image among others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kymflow_zarr import SchemaValidationError, ZarrDataset
from kymflow_zarr.errors import LimitExceededError
from tests.cli.run import run
from tests.viewer.web.site import ask, client_of

SHAPES = ([2**62, 2**62], [2**63, 1], [10**30, 10**30], [0, 10**30], [-4, 5], [2**40, 2**40])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_shape_beyond_sense_is_refused_everywhere(tmp_path: Path, shape: list[int]) -> None:
    with ZarrDataset(tmp_path / "x.zarr", "w-") as ds:
        ds.add_image(np.ones((64, 48), np.uint16), image_id="a")
        ds.add_image(np.ones((64, 48), np.uint16), image_id="b")
    document = tmp_path / "x.zarr" / "images" / "a" / "zarr.json"
    group = json.loads(document.read_text())
    group["attributes"]["kymflow_zarr"]["pixels"]["shape"] = shape
    document.write_text(json.dumps(group))
    with ZarrDataset(tmp_path / "x.zarr", "r") as ds:
        for call in ("thumbnail", "load_array", "to_xarray"):
            with pytest.raises((SchemaValidationError, LimitExceededError), match="shape"):
                getattr(ds["a"], call)()
        assert "shape" in ds._repr_html_()
        listed = ds.images(["image_id", "error"]).set_index("image_id")["error"]
        assert "shape" in listed["a"]
        client = client_of(ds)
        assert [row["error"] is None for row in ask(client, "/api/images")["rows"]] == [False, True]
        assert "shape" in ask(client, "/api/images/a")["error"]
        for address in ("thumbnail", "histogram", "window?step=9,9"):
            ask(client, f"/api/images/a/{address}", 422)
        assert client.get("/api/images/b/thumbnail").status_code == 200
    assert run("ls", tmp_path / "x.zarr").exit_code == 1
    assert run("show", tmp_path / "x.zarr", "a", "--picture").exit_code == 2
