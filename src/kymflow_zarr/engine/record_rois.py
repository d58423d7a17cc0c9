"""The regions of one image: kept in its metadata payload, cut out of its pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import load_image
from kymflow_zarr.engine.images.pixels import open_pixels
from kymflow_zarr.engine.record_artifacts import RecordArtifacts
from kymflow_zarr.errors import (
    ArgumentError,
    MetadataNotFoundError,
    SchemaValidationError,
    UnsupportedDataError,
)

# Making the classes of regions takes as long as reading an image that has none.
if TYPE_CHECKING:
    from kymflow_zarr.engine.rois.planes import ImagePlanes, RoiStatistics
    from kymflow_zarr.engine.rois.reader import RoiReader
    from kymflow_zarr.engine.rois.values import MaskRoi, RectRoi


class RecordRois(RecordArtifacts):
    """The regions of an image; a base of :class:`StoredImage`."""

    # In the payload --------------------------------------------------------------------

    def load_rois(self) -> list[RectRoi | MaskRoi]:
        """Return the regions of the image, in the order of the metadata payload.

        Older forms are read as well. An image without a payload has no regions.

        Raises
        ------
        SchemaValidationError
            If the payload holds what is no region of ours; names the key.
        """
        try:
            return self._rois_of(self.load_metadata_payload())
        except MetadataNotFoundError:
            return []

    def save_rois(self, rois: Iterable[RectRoi | MaskRoi]) -> str:
        """Replace the regions in the metadata payload and return the payload's key.

        Everything else in the payload stays; an image without one gets one.

        Parameters
        ----------
        rois : iterable of RectRoi or MaskRoi
            All regions of the image.

        Raises
        ------
        ArgumentTypeError
            If one is not such a value.
        ArgumentError
            If one reaches out of the image, if its mask is not there or of another shape than
            the plane, or if two have the same id; names the region and the field.
        """
        from kymflow_zarr.engine.rois.values import MaskRoi, check_rois

        self._storage.require_writable()
        checked = check_rois(rois)
        with self._changing() as change:
            planes = self._reader().planes
            for roi in checked:
                roi.check(planes.bounds, channels=planes.channels)
                if isinstance(roi, MaskRoi):
                    self._check_reference(roi, planes)
            self._write_rois(change, self._payload_or_none(), checked)
        return self._payload_key

    def save_mask(
        self,
        name: str,
        mask: object,
        *,
        roi_id: int | None = None,
        note: str = "",
        channel: int = 1,
        z: int = 0,
    ) -> MaskRoi:
        """Save a mask as an array artifact and put the region that it makes in the payload.

        Parameters
        ----------
        name : str
            Name of the array artifact and of the region. A mask of that name is replaced: its
            region keeps its id and counts one revision more.
        mask : array_like of bool or int
            Shape of the plane, (height, width); true, or not 0, inside. It is kept as bool.
        roi_id : int, optional
            None takes that of the region that is replaced, or the next that is free.
        note : str, optional
        channel : int, optional
            From 1.
        z : int, optional
            Plane along ``z``, from 0.

        Returns
        -------
        MaskRoi

        Raises
        ------
        UnsupportedDataError
            If the mask holds neither bool nor whole numbers.
        ArgumentError
            If it has another shape than the plane, if channel or plane are not there, or if
            another region has the id. Nothing is written.
        """
        from kymflow_zarr.engine.rois.reader import check_mask_shape
        from kymflow_zarr.engine.rois.values import MaskRoi, check_rois

        self._storage.require_writable()
        array = np.asarray(mask)
        if array.dtype.kind not in "bui":
            raise UnsupportedDataError(
                f"a mask is of bool or whole numbers, not {array.dtype}",
                where=f"mask {name!r}",
                hint="Compare with a threshold first, as in mask > 0.5.",
            )
        with self._changing() as change:
            planes = self._reader().planes
            check_mask_shape(name, array.shape, planes)
            payload = self._payload_or_none()
            rois = [] if payload is None else self._rois_of(payload)
            old = next((r for r in rois if isinstance(r, MaskRoi) and r.mask_ref == name), None)
            if roi_id is None:
                free = 1 + max((roi.roi_id for roi in rois), default=0)
                roi_id = free if old is None else old.roi_id
            roi = MaskRoi(
                roi_id=roi_id, name=name, note=note, channel=channel, z=z, mask_ref=name,
                revision=0 if old is None else old.revision + 1,
                meta={} if old is None else _without_statistics(old.meta),
                extra={} if old is None else old.extra,
            )  # fmt: skip
            roi.check(planes.bounds, channels=planes.channels)
            new = check_rois([roi if other is old else other for other in rois])
            if old is None:
                new = check_rois([*new, roi])
            y, x = planes.plane_axes
            axes = [planes.axes[y].name, planes.axes[x].name]
            self._arrays.save(change, name, array.astype(np.bool_), axes=axes, chunks=None)
            self._write_rois(change, payload, new)
        return roi

    def _payload_or_none(self) -> dict[str, Any] | None:
        try:
            payload = self.load_metadata_payload()
        except MetadataNotFoundError:
            return None
        if not isinstance(payload, dict):
            raise SchemaValidationError(
                "the metadata payload is not a mapping",
                where=self._payload_key,
                hint="save_metadata_payload() replaces it.",
            )
        return payload

    def _write_rois(
        self, change: Change, payload: dict[str, Any] | None, rois: Iterable[RectRoi | MaskRoi]
    ) -> None:
        if payload is None:
            from kymflow_zarr.engine.images.payload import payload_of

            payload = payload_of(None, None, None)
        payload["rois"] = [roi.to_dict() for roi in rois]
        change.write(*self._encoded("json", layout.METADATA, payload))

    @property
    def _payload_key(self) -> str:
        return f"{self._prefix}/{layout.artifact_key('json', layout.METADATA)}"

    def _rois_of(self, payload: object) -> list[RectRoi | MaskRoi]:
        from kymflow_zarr.engine.rois.values import roi_from_dict

        found = payload.get("rois") if isinstance(payload, Mapping) else payload
        if found is None:
            return []
        if not isinstance(found, list):
            raise SchemaValidationError(
                f"the regions are {type(found).__name__}, not a list",
                where=f"{self._payload_key}: rois",
                hint="save_rois() replaces them.",
            )
        rois: list[RectRoi | MaskRoi] = []
        for number, raw in enumerate(found):
            try:
                rois.append(roi_from_dict(raw))
            except ArgumentError as error:
                place = "" if error.where is None else f" ({error.where})"
                raise SchemaValidationError(
                    f"{error.what}{place}",
                    where=f"{self._payload_key}: rois[{number}]",
                    hint="load_metadata_payload() returns the regions as they are; correct it "
                    "and save_metadata_payload().",
                ) from error
        return rois

    def _check_reference(self, roi: MaskRoi, planes: ImagePlanes) -> None:
        from kymflow_zarr.engine.rois.reader import check_mask_shape

        try:
            document = self._arrays.document(roi.mask_ref)
        except KeyError as error:
            raise ArgumentError(
                f"mask_ref is {roi.mask_ref!r}, which is no array artifact of the image",
                where=f"roi {roi.roi_id}: mask_ref",
                hint="save_mask() saves a mask and its region.",
            ) from error
        check_mask_shape(roi.mask_ref, tuple(document.pixels.shape), planes)

    # In the pixels ---------------------------------------------------------------------

    def roi_pixels(
        self,
        roi: RectRoi | MaskRoi,
        *,
        channel: int | Literal["all"] | None = None,
        z: int | Literal["all"] | None = None,
        at: Mapping[str, int] | None = None,
    ) -> np.ndarray[Any, Any]:
        """Return the pixels of a region; no more of the image is read than it covers.

        Parameters
        ----------
        roi : RectRoi or MaskRoi
        channel : int or "all", optional
            From 1; that of the region by default.
        z : int or "all", optional
            Plane along ``z``, from 0; that of the region by default.
        at : mapping of str to int, optional
            Positions along other axes, from 0, such as ``{"t": 3}``; all where there is none.

        Returns
        -------
        numpy.ndarray
            dtype of the image. A rectangle: rows and columns are the last two axes; before
            them, in the image's order, those along which more than one position was asked for.
            A mask: the pixels inside, row after row, along the last axis.

        Raises
        ------
        ArgumentError
            If the region or what is asked for lies outside of the image; names the field.
        ArtifactNotFoundError
            If the mask is not there.
        """
        return self._reader().pixels(roi, channel=channel, z=z, at=at)

    def roi_statistics(
        self,
        roi: RectRoi | MaskRoi,
        *,
        channel: int | Literal["all"] | None = None,
        z: int | Literal["all"] | None = None,
        at: Mapping[str, int] | None = None,
    ) -> RoiStatistics:
        """Return the statistics of the pixels of a region, all that are asked for together.

        Pixels that are NaN or infinite do not count. One plane is in memory at a time.

        Parameters
        ----------
        roi, channel, z, at
            As for :meth:`roi_pixels`.

        Raises
        ------
        UnsupportedDataError
            If the pixels are complex.
        ArgumentError, ArtifactNotFoundError
            As for :meth:`roi_pixels`.
        """
        return self._reader().statistics(roi, channel=channel, z=z, at=at)

    def roi_statistics_by_plane(
        self,
        roi: RectRoi | MaskRoi,
        *,
        channel: int | Literal["all"] | None = "all",
        z: int | Literal["all"] | None = "all",
        at: Mapping[str, int] | None = None,
    ) -> list[RoiStatistics]:
        """Return the statistics of a region in each channel and plane of its own.

        Parameters
        ----------
        roi, channel, z, at
            As for :meth:`roi_pixels`, but all channels and planes by default; None for that of
            the region.

        Returns
        -------
        list of RoiStatistics
            In the order of the pixels; `channel`, `z` and `at` tell which one it is.

        Raises
        ------
        UnsupportedDataError, ArgumentError, ArtifactNotFoundError
            As for :meth:`roi_statistics`.
        """
        return self._reader().statistics_by_plane(roi, channel=channel, z=z, at=at)

    def _reader(self) -> RoiReader:
        from kymflow_zarr.engine.rois.planes import ImagePlanes
        from kymflow_zarr.engine.rois.reader import RoiReader

        document = load_image(self._storage, self.image_id)
        return RoiReader(
            ImagePlanes(document.axis_values(), tuple(document.pixels.shape)),
            lambda: open_pixels(self._storage, self._prefix, document.pixels),
            self.load_array_artifact,
        )


def _without_statistics(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return notes without the statistics of the mask that was replaced."""
    return {key: value for key, value in meta.items() if not key.startswith("img_")}
