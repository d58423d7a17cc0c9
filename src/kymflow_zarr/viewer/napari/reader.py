"""The reader declared in `napari.yaml`, and the layers that it returns."""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from kymflow_zarr import (
    EllipseRoi,
    LineRoi,
    MaskRoi,
    PointsRoi,
    PolygonRoi,
    PolylineRoi,
    RectRoi,
    UnknownRoi,
)
from kymflow_zarr.api.internals import stored_image_of
from kymflow_zarr.errors import (
    FormatVersionError,
    KymflowZarrError,
    LimitExceededError,
    MetadataNotFoundError,
    SchemaValidationError,
)
from kymflow_zarr.views.figure import ROI_COLORS
from kymflow_zarr.views.picture import contrast, preview
from kymflow_zarr.views.plane import Plane, plane_of

if TYPE_CHECKING:
    from kymflow_zarr import ZarrDataset, ZarrImageRecord


LayerData: TypeAlias = tuple[Any, ...]
"""``(data, options, "image" | "shapes" | "points" | "labels")``, as napari takes it."""

OutlinedRoi: TypeAlias = RectRoi | LineRoi | PolylineRoi | PolygonRoi | EllipseRoi | PointsRoi

# The maximum texture size of most graphics hardware.
_LONGEST: Final = 16384
_COLORMAPS: Final = ("red", "green", "blue", "gray", "cyan", "magenta", "yellow")


def layers_of(dataset: ZarrDataset, record: ZarrImageRecord) -> list[LayerData]:
    """Return an image layer for each channel, the regions as shapes, the masks as labels."""
    layout = _Layout(plane_of(stored_image_of(record)))
    about: dict[str, Any] = {"dataset": dataset.location, "image_id": record.image_id}
    with contextlib.suppress(MetadataNotFoundError, SchemaValidationError):
        about["experiment_metadata"] = record.load_metadata_payload().get("experiment_metadata")
    about["results"] = [
        {"result": r.result_id.label, "status": r.status, "made_by": r.made_by,
         "computed_utc": r.computed_utc, "out_of_date": list(r.reasons)}
        for r in record.results()
    ]  # fmt: skip
    rois = record.load_rois()
    layers = [
        *_images(record, layout),
        *_labels(record, layout, [roi for roi in rois if isinstance(roi, MaskRoi)]),
        *_shapes(
            layout, [roi for roi in rois if not isinstance(roi, MaskRoi | PointsRoi | UnknownRoi)]
        ),
        *_points(layout, [roi for roi in rois if isinstance(roi, PointsRoi)]),
    ]
    source = record.source
    name = record.image_id if source is None else PurePath(source.rel_path).stem
    return [
        (
            data,
            {
                "visible": True,
                "metadata": {"kymflow_zarr": about},
                **options,
                "name": f"{name} {options['name']}".strip(),
            },
            kind,
        )
        for data, options, kind in layers
    ]


@dataclass(frozen=True)
class _Layout:
    """The mapping from the axes of an image to those of its layers.

    Channels become layers. The plane comes last, with time to the right, and ``z`` directly before
    it, so that an object in one z extends over all times.
    """

    plane: Plane

    @cached_property
    def channel(self) -> int | None:
        """The axis that is split into layers."""
        return next(
            (i for i, axis in enumerate(self.plane.axes)
             if axis.quantity == "channel" and i not in (self.plane.rows, self.plane.columns)),
            None,
        )  # fmt: skip

    @cached_property
    def z(self) -> int | None:
        """The stack axis, if it has more than one plane."""
        return next((i for i in self.order[:-2] if self.plane.axes[i].name == "z"), None)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The axes of a layer, as positions in the image."""
        last = (self.plane.rows, self.plane.columns)
        others = [i for i in range(len(self.plane.axes)) if i not in (*last, self.channel)]
        others.sort(key=lambda i: self.plane.axes[i].name == "z")
        return (*others, *(last[::-1] if self.plane.turned else last))

    def placed(self, axes: Sequence[int]) -> dict[str, Any]:
        """Return the calibration of a layer with these axes."""
        steps, units, labels = [], [], []
        for i in axes:
            axis = self.plane.axes[i]
            known = axis.step is not None and axis.unit is not None
            steps.append(axis.step if known else 1.0)
            units.append(_unit(axis.unit) if known else "pixel")
            labels.append(axis.name)
        if self.plane.is_kymograph:
            labels[-2:] = [self.plane.vertical.name, self.plane.horizontal.name]
        return {"scale": tuple(steps), "units": tuple(units), "axis_labels": tuple(labels)}

    def arranged(self, pixels: Any, axes: Sequence[int]) -> Any:
        """Return pixels with these axes, transposed from the image's order to the layer's."""
        return pixels.transpose([sorted(axes).index(i) for i in axes])


def _unit(name: str | None) -> str:
    """Return a unit in napari's spelling; an unknown unit would make napari fail."""
    try:
        pint: Any = import_module("pint")
        pint.get_application_registry().Unit(name)
    except ImportError:
        pass
    except Exception:  # noqa: BLE001 - pint's parser raises many exception types
        return "dimensionless"
    return str(name)


# Pixels ------------------------------------------------------------------------------------


def _images(record: ZarrImageRecord, layout: _Layout) -> list[LayerData]:
    stored = [_lazy(record.open_array(level=n), layout) for n in range(len(record.levels))]
    if record.dtype.kind == "c":
        # The magnitude of a mean is not the mean of magnitudes.
        stored = [abs(stored[0])]
    display = _display(record)
    names = record.channel_names or ()
    count = 1 if layout.channel is None else layout.plane.shape[layout.channel]
    layers = []
    for number in range(count):
        levels = stored
        if layout.channel is not None:
            levels = [pixels[(slice(None),) * layout.channel + (number,)] for pixels in stored]
        # Removing the channel axis shifts the later axes, but keeps their order.
        levels = [layout.arranged(pixels, layout.order) for pixels in levels]
        levels[-1:] = _levels(levels[-1])
        options = {
            **layout.placed(layout.order),
            "name": names[number] if number < len(names) else "",
            "colormap": "gray",
            "multiscale": len(levels) > 1,
        }
        if count > 1:
            options["name"] = options["name"] or f"channel {number + 1}"
            options["colormap"] = _colormap(display, number)
            options["blending"] = "additive"
        limits = _chosen_window(display, number) or _limits(record, number + 1, levels[0].dtype)
        if limits is not None:
            options["contrast_limits"] = limits
        layers.append((levels if len(levels) > 1 else levels[0], options, "image"))
    return layers


def _lazy(array: Any, layout: _Layout | None = None) -> Any:
    """Return a Zarr array as a dask array in blocks of whole planes; without dask, read it."""
    try:
        import dask.array as da
    except ImportError:
        return np.asarray(array[...])
    chunks: Any = "auto"
    if layout is not None:
        ours = (layout.plane.rows, layout.plane.columns)
        chunks = tuple("auto" if i in ours else n for i, n in enumerate(array.chunks))
    from_array: Any = da.from_array
    # A random name avoids hashing the pixels, and an empty `meta` array avoids reading them.
    kind = np.empty((0,) * array.ndim, array.dtype)
    return from_array(array, chunks=chunks, name=False, meta=kind)


def _levels(pixels: Any) -> list[Any]:
    """Return the pixels and subsampled levels (2, 4, ...) until one fits into a texture."""
    levels = [pixels]
    while max(levels[-1].shape[-2:]) > _LONGEST:
        steps = (slice(None, None, 2 if n > _LONGEST else 1) for n in levels[-1].shape[-2:])
        levels.append(levels[-1][(..., *steps)])
    return levels


def _limits(
    record: ZarrImageRecord, channel: int, dtype: np.dtype[Any]
) -> tuple[float, float] | None:
    if dtype.kind == "b":
        return 0.0, 1.0
    try:
        seen = preview(stored_image_of(record), channel=channel).pixels
    except LimitExceededError:
        return None  # napari determines the contrast itself from the first view.
    low, high = contrast(np.abs(seen) if seen.dtype.kind == "c" else seen)
    return low, max(high, float(np.nextafter(np.float32(low), np.float32(np.inf))))


def _display(record: ZarrImageRecord) -> list[Any]:
    """Return the channels' display settings from the OME-Zarr metadata, empty if it has none."""
    try:
        with stored_image_of(record).open_file("zarr.json") as document:
            channels = json.load(document)["attributes"]["ome"]["omero"]["channels"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return channels if isinstance(channels, list) else []


def _colormap(display: Sequence[Any], number: int) -> str:
    channel = display[number] if number < len(display) else None
    color = channel.get("color") if isinstance(channel, Mapping) else None
    if isinstance(color, str) and re.fullmatch(r"[0-9A-Fa-f]{6}", color):
        return f"#{color}"
    return _COLORMAPS[number % len(_COLORMAPS)]


def _chosen_window(display: Sequence[Any], number: int) -> tuple[float, float] | None:
    """Return the display window if it was chosen, i.e. differs from the full range."""
    try:
        window = display[number]["window"]
        low, high, least, most = (float(window[key]) for key in ("start", "end", "min", "max"))
    except (LookupError, TypeError, ValueError):
        return None
    return (low, high) if low < high and (low, high) != (least, most) else None


# Regions -----------------------------------------------------------------------------------


def _corners(roi: OutlinedRoi) -> Sequence[tuple[float, float]]:
    """Return the points of a region as (x, y), the center of the first pixel at 0."""
    if not isinstance(roi, RectRoi):
        return roi.outline
    # Rectangles extend from pixel edge to edge.
    x0, x1, y0, y1 = (value - 0.5 for value in (roi.x0, roi.x1, roi.y0, roi.y1))
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _shape_type(roi: OutlinedRoi) -> str:
    if isinstance(roi, RectRoi):
        return "rectangle"
    return "polygon" if roi.is_closed else "path"


def _placed_regions(
    layout: _Layout, rois: Sequence[OutlinedRoi]
) -> tuple[list[np.ndarray[Any, Any]], dict[str, Any], float]:
    """Return points of regions in real units, options of their layer, and the width of lines."""
    axes = layout.order[-2:] if layout.z is None else layout.order[-3:]
    options = layout.placed(axes)
    down, across = options["scale"][-2:]
    corners = []
    for roi in rois:
        corner = np.array(_corners(roi), float)
        corner = (corner if layout.plane.turned else corner[:, ::-1]) * (down, across)
        if layout.z is not None:
            corner = np.column_stack([np.full(len(corner), float(roi.z)), corner])
        corners.append(corner)
    # Coordinates are in real units already, so that lines have equal width in both directions.
    options["scale"] = (*options["scale"][:-2], 1.0, 1.0)
    height, width = (
        layout.plane.shape[i] * step for i, step in zip(axes[-2:], (down, across), strict=True)
    )
    return corners, options | {"ndim": len(axes)}, min(height, width) / 100


def _features(rois: Sequence[OutlinedRoi]) -> dict[str, list[Any]]:
    return {
        "roi_id": [roi.roi_id for roi in rois],
        "name": [roi.name for roi in rois],
        "note": [roi.note for roi in rois],
        "channel": [roi.channel for roi in rois],
        "z": [roi.z for roi in rois],
        "label": [f"{roi.roi_id} {roi.name}".strip() for roi in rois],
    }


def _points(layout: _Layout, rois: Sequence[PointsRoi]) -> list[LayerData]:
    """Return the points of point regions in one layer, each with the features of its region."""
    if not rois:
        return []
    corners, options, line = _placed_regions(layout, rois)
    each = [roi for roi in rois for _ in roi.points]
    options |= {"name": "points", "size": 5 * line, "features": _features(each)}
    return [(np.concatenate(corners), options, "points")]


def _shapes(layout: _Layout, rois: Sequence[OutlinedRoi]) -> list[LayerData]:
    """Return rectangles, lines and areas in real units, each in its plane of a stack."""
    if not rois:
        return []
    corners, options, line = _placed_regions(layout, rois)
    options |= {
        "name": "regions",
        "shape_type": [_shape_type(roi) for roi in rois],
        "face_color": "transparent",
        "edge_color": [ROI_COLORS[i % len(ROI_COLORS)] for i in range(len(rois))],
        "edge_width": line,
        "features": _features(rois),
        "text": {"string": "{label}", "anchor": "upper_left", "color": "white", "size": 10},
    }
    return [(corners, options, "shapes")]


def _labels(record: ZarrImageRecord, layout: _Layout, rois: Sequence[MaskRoi]) -> list[LayerData]:
    """Return the array artifacts of bools or integers whose shape fits the image."""
    region_of = {roi.mask_ref: roi for roi in rois}
    layers = []
    for name in record.list_array_artifacts():
        array = record.open_array_artifact(name)
        axes = _axes_of(tuple(array.shape), layout)
        if array.dtype.kind not in "bui" or axes is None:
            continue
        mask = layout.arranged(_lazy(array), axes)
        options = layout.placed(axes)
        roi = region_of.get(name)
        if roi is not None:
            # The label value is the id of its region.
            number = roi.roi_id if 0 < roi.roi_id < 2**31 else 1
            mask = (mask != 0).astype(np.min_scalar_type(number)) * number
            options["features"] = {"index": [number], "roi_id": [roi.roi_id], "name": [roi.name]}
            if layout.z is not None and len(axes) == 2:
                mask, axes = mask[np.newaxis], layout.order[-3:]
                options |= layout.placed(axes)
                options["translate"] = (roi.z * options["scale"][0], 0.0, 0.0)
        elif array.dtype.kind == "b":
            mask = mask.astype(np.uint8)
        levels = _levels(mask)
        options |= {"name": name, "opacity": 0.5, "multiscale": len(levels) > 1}
        layers.append((levels if len(levels) > 1 else levels[0], options, "labels"))
    return layers


def _axes_of(shape: tuple[int, ...], layout: _Layout) -> tuple[int, ...] | None:
    """Return the axes of the image that match an array's shape, in the layer's order."""
    order = layout.order
    for axes in (order, order if layout.z is None else order[-3:], order[-2:]):
        if shape == tuple(layout.plane.shape[i] for i in sorted(axes)):
            return axes
    return None


MOST_IMAGES: Final = 12
"""Images that a dataset opens with; all are in the list of the widget."""
_IMAGES: Final = "images"

Paths: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """Return :func:`read` if all paths are datasets or images of ours, else None.

    napari calls this for each dropped folder, so it neither raises nor reads pixels.
    """
    return read if all(_is_ours(Path(one)) for one in _each(path)) else None


def read(path: Paths) -> list[LayerData]:
    """Return the layers of datasets and images.

    For a dataset, return the first :data:`MOST_IMAGES` images in order of acquisition, with all but
    the first hidden.

    Raises
    ------
    KymflowZarrError
        If a path cannot be read.
    """
    layers: list[LayerData] = []
    for one in _each(path):
        folder = Path(one)
        if _is_image(folder):
            dataset = _opened(folder.parents[1])
            layers += layers_of(dataset, dataset.record(folder.name))
        else:
            layers += _gallery(_opened(folder))
    # This tells napari that there is nothing to show.
    return layers or [(None,)]


def folder_of(dataset: ZarrDataset, image_id: str) -> Path:
    """Return the folder of an image, which can be passed to :func:`read`."""
    return dataset.path / _IMAGES / image_id


def _each(path: Paths) -> list[str | os.PathLike[str]]:
    return [path] if isinstance(path, str | os.PathLike) else list(path)


def _opened(folder: Path) -> ZarrDataset:
    from kymflow_zarr import ZarrDataset

    return ZarrDataset(folder, mode="r")


def _is_image(folder: Path) -> bool:
    if folder.absolute().parent.name != _IMAGES:
        return False
    try:
        return folder.name in _opened(folder.absolute().parents[1])
    except KymflowZarrError:
        return False


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if _is_image(folder):
        return True
    try:
        _opened(folder)
    except FormatVersionError:
        return True  # A later format version: reading it raises an error with advice.
    except KymflowZarrError:
        return False
    return True


def _gallery(dataset: ZarrDataset) -> Iterator[LayerData]:
    records = list(dataset.iter_records(order_by="acquired_local_epoch_ns"))
    if not records:
        _tell(f"The dataset {dataset.location} has no images.")
    shown = False
    for record in records[:MOST_IMAGES]:
        try:
            layers = layers_of(dataset, record)
        except KymflowZarrError as error:
            _tell(f"The image {record.image_id} is left out: {error}")
            continue
        for pixels, options, kind in layers:
            yield pixels, options | {"visible": options["visible"] and not shown}, kind
        shown = True
    if len(records) > MOST_IMAGES:
        _tell(
            f"The first {MOST_IMAGES} of {len(records)} images were opened. Plugins > "
            "Kymflow-Zarr > Images of a dataset lists all."
        )


def _tell(message: str) -> None:
    """Show a notice: napari displays warnings in its window."""
    warnings.warn(message, stacklevel=2)
