"""Objects of other programs into a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kymflow_zarr import Axis, ZarrDataset
from tests.helpers.sources import PIXELS


class Source:
    """An image as another program holds it."""

    def __init__(self, **offers: Any) -> None:
        self.__dict__.update(offers)


class TestObjects:
    @pytest.mark.parametrize("name", ["getChannelData", "get_channel"])
    def test_one_channel(self, ds: ZarrDataset, name: str) -> None:
        rec = ds.ingest_image(Source(**{name: lambda channel: PIXELS * channel}))
        np.testing.assert_array_equal(rec.load_array(), PIXELS)
        with pytest.raises(FileNotFoundError):
            rec.load_metadata_payload()

    def test_all_channels_and_metadata_as_methods(self, ds: ZarrDataset) -> None:
        header = {"shape": [30, 20], "voxels": [0.001, 0.3], "voxels_units": ["s", "um"]}
        rec = ds.ingest_image(
            Source(
                get_channel=lambda channel: PIXELS + channel,
                channels_available=lambda: [2, 1],
                getHeader=lambda: header,
                getExperimentMetadata=lambda: {"species": "mouse"},
                rois=lambda: [{"roi_id": 1}],
            )
        )
        assert rec.get_axes() == ["c", "y", "x"]
        np.testing.assert_array_equal(rec.load_array(), np.stack([PIXELS + 1, PIXELS + 2]))
        payload = rec.load_metadata_payload()
        assert payload["header"] == header
        assert payload["experiment_metadata"] == {"species": "mouse"}
        assert payload["rois"] == [{"roi_id": 1}]

    def test_metadata_as_properties_calibrates_the_image(self, ds: ZarrDataset) -> None:
        header = {"shape": [30, 20], "voxels": [0.001, 0.3], "voxels_units": ["s", "um"]}
        rec = ds.ingest_image(
            Source(getChannelData=lambda _: PIXELS, header=header, experiment_metadata={}, rois=[]),
            image_id="mine",
        )
        assert rec.image_id == "mine"
        assert rec.axes[0] == Axis("y", "time", "second", 0.001)

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            (object(), "neither getChannelData"),
            (Source(get_channel=lambda _: None), "no pixels for channel 1"),
            (Source(get_channel=lambda _: PIXELS, channels_available=list), "no channels"),
            (
                Source(
                    get_channel=lambda channel: PIXELS[channel:],
                    channels_available=lambda: [1, 2],
                ),
                "do not stack",
            ),
        ],
    )
    def test_what_offers_no_image_is_named(self, ds: ZarrDataset, source: Any, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            ds.ingest_image(source)
        assert len(ds) == 0
