"""The bridge to the classes of the package `kymflow`."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset, ZarrImageRecord
from kymflow_zarr.adapters.kymflow import RecordImage

HAS_KYMFLOW = importlib.util.find_spec("kymflow") is not None
needs_kymflow = pytest.mark.skipif(
    not HAS_KYMFLOW, reason="the package kymflow is not importable here"
)


@dataclasses.dataclass
class Experiment:
    species: str = "mouse"
    depth: float | None = None


class Offers:
    def __init__(self, value: Any) -> None:
        self.value = value

    def to_dict(self) -> Any:
        return self.value

    def to_list(self) -> Any:
        return self.value


class TestSaving:
    def test_objects_dataclasses_and_mappings(self, rec: ZarrImageRecord) -> None:
        roi = {"roi_id": 1, "data": {"x0": 0}}
        rec.save_metadata_objects(
            header=Offers({"ndim": 2}), experiment=Experiment(), rois=Offers([roi])
        )
        assert rec.load_metadata_payload() == {
            "version": "2.0",
            "header": {"ndim": 2},
            "experiment_metadata": {"species": "mouse", "depth": None},
            "rois": [roi],
        }
        rec.save_metadata_objects(header={"ndim": 3}, rois=[Offers(roi), Experiment("rat")])
        payload = rec.load_metadata_payload()
        assert payload["header"] == {"ndim": 3}
        assert payload["experiment_metadata"]["species"] == "mouse"
        assert payload["rois"] == [roi, {"species": "rat", "depth": None}]

    def test_keys_without_a_field_of_the_class_are_preserved(self, rec: ZarrImageRecord) -> None:
        header = {"ndim": 2, "acquired_local_epoch_ns": 5}
        rec.save_metadata_payload({"version": "1.0", "header": header, "accepted": True})
        rec.save_metadata_objects(header=Offers({"ndim": 2}), experiment=Experiment(), rois=[])
        payload = rec.load_metadata_payload()
        assert payload["header"] == header
        assert payload["accepted"] is True

    @pytest.mark.parametrize(
        ("kwargs", "says"),
        [
            ({"header": 5}, "header is of type int"),
            ({"experiment": "mouse"}, "experiment is of type str"),
            ({"rois": {"a": 1}}, "rois are of type dict"),
            ({"rois": [1]}, r"rois\[0\] is of type int"),
        ],
    )
    def test_what_offers_nothing_is_named(
        self, rec: ZarrImageRecord, kwargs: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(ValueError, match=says):
            rec.save_metadata_objects(**kwargs)
        assert rec.list_analysis_keys() == []


@pytest.mark.skipif(HAS_KYMFLOW, reason="the package kymflow is importable here")
def test_without_kymflow_the_error_says_how_to_get_the_payload(rec: ZarrImageRecord) -> None:
    rec.save_metadata_payload({"version": "2.0"})
    with pytest.raises(ImportError, match=r"load_metadata_payload\(\)"):
        rec.load_metadata_objects()


def test_without_a_payload_it_is_the_payload_that_is_missed(rec: ZarrImageRecord) -> None:
    with pytest.raises(FileNotFoundError, match="no metadata payload"):
        rec.load_metadata_objects()


@needs_kymflow
def test_real_objects_come_back_equal_and_regions_can_be_added(ds: ZarrDataset) -> None:
    from kymflow.core.image_loaders.metadata import AcqImgHeader, ExperimentMetadata
    from kymflow.core.image_loaders.roi import RoiBounds, RoiSet

    pixels = np.random.default_rng(0).integers(0, 400, (300, 38), dtype=np.uint16)
    rec = ds.add_image(pixels, line_period_s=0.001, pixel_size_um=0.3)
    header = AcqImgHeader(
        shape=(300, 38),
        ndim=2,
        voxels=[0.001, 0.3],
        voxels_units=["s", "um"],
        labels=["time (s)", "space (um)"],
        physical_size=[0.3, 11.4],
    )
    experiment = ExperimentMetadata(species="mouse", depth=12.5)
    rois = RoiSet.from_list([], RecordImage(rec._image))
    rois.create_roi(
        RoiBounds(dim0_start=0, dim0_stop=10, dim1_start=2, dim1_stop=9), channel=1, z=0
    )
    rec.save_metadata_objects(header=header, experiment=experiment, rois=rois)
    header2, experiment2, rois2 = rec.load_metadata_objects()
    assert header2 == header
    assert experiment2 == experiment
    assert rois2.to_list() == rois.to_list()
    bounds = RoiBounds(dim0_start=5, dim0_stop=300, dim1_start=0, dim1_stop=38)
    roi = rois2.create_roi(bounds, channel=1, z=0)
    assert rois2.numRois() == 2
    assert roi.img_mean == pytest.approx(pixels[5:].mean())
    rec.save_metadata_objects(header=header2, experiment=experiment2, rois=rois2)
    assert len(rec.load_metadata_objects()[2].to_list()) == 2


class TestRecordImage:
    def test_planes_and_channels_of_a_stack(self, ds: ZarrDataset) -> None:
        pixels = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
        image = RecordImage(ds.add_image(pixels)._image)
        assert image.get_image_bounds() == {"width": 5, "height": 4, "num_slices": 3}
        assert image.channels_available() == [1, 2]
        np.testing.assert_array_equal(image.get_img_slice(2, 2), pixels[1, 2])
        with pytest.raises(ValueError, match="no channel 3"):
            image.get_img_slice(0, 3)

    def test_channels_may_come_last(self, ds: ZarrDataset) -> None:
        pixels = np.arange(3 * 4 * 5 * 2).reshape(3, 4, 5, 2)
        rec = ds.add_image(pixels, axes=["z", "y", "x", "c"])
        image = RecordImage(rec._image)
        assert rec.get_image_bounds() == {"width": 5, "height": 4, "num_slices": 3}
        assert image.get_image_bounds() == rec.get_image_bounds()
        np.testing.assert_array_equal(image.get_img_slice(2, 2), pixels[2, :, :, 1])

    def test_a_kymograph_with_channels_is_one_plane(self, ds: ZarrDataset) -> None:
        pixels = np.arange(2 * 6 * 4).reshape(2, 6, 4)
        rec = ds.add_image(pixels, axes=["c", "t", "x"])
        assert rec.get_image_bounds() == {"width": 4, "height": 6, "num_slices": 1}
        np.testing.assert_array_equal(RecordImage(rec._image).get_img_slice(0, 1), pixels[0])
