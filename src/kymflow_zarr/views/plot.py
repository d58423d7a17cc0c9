"""One plane of an image, drawn with matplotlib in real units."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kymflow_zarr.errors import MissingDependencyError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from kymflow_zarr.engine.image import StoredImage
    from kymflow_zarr.engine.rois.values import MaskRoi, RectRoi
    from kymflow_zarr.views.plane import Plane

__all__ = ["plain", "plot", "require_matplotlib"]


def require_matplotlib() -> Any:
    """Return matplotlib.pyplot.

    Raises
    ------
    MissingDependencyError
        If it is not installed; names the extra.
    """
    try:
        return import_module("matplotlib.pyplot")
    except ImportError as error:
        raise MissingDependencyError(
            "plots need the package matplotlib, which is not installed",
            hint="Install it with the extra: pip install 'kymflow-zarr[plot]'.",
        ) from error


def plain(text: object) -> str:
    """Return a text that matplotlib does not take for a formula."""
    return str(text).replace("$", r"\$")


def plot(
    record: StoredImage,
    ax: Axes | None,
    *,
    t: int,
    z: int,
    channel: int | str,
    at: Mapping[str, int] | None,
    cmap: str,
    vmin: float | None,
    vmax: float | None,
    rois: bool,
    scale_bar: bool,
) -> Axes:
    """Draw one plane; see :meth:`kymflow_zarr.StoredImage.plot`."""
    pyplot = require_matplotlib()

    from kymflow_zarr.engine.rois.values import known_rois
    from kymflow_zarr.views.picture import contrast
    from kymflow_zarr.views.plane import plane_of

    plane = plane_of(record)
    index = plane.index(t=t, z=z, channel=channel, at=at)
    regions = known_rois(record.load_rois()) if rois else []
    pixels = plane.arrange(_drawable(record.load_array(index)))
    if vmin is None or vmax is None:
        low, high = contrast(pixels)
        vmin, vmax = low if vmin is None else vmin, high if vmax is None else vmax
    own = None
    if ax is None:
        own, ax = pyplot.subplots(layout="constrained")
    assert ax is not None
    try:
        _draw_plane(ax, plane, pixels, title=record.image_id, cmap=cmap, vmin=vmin, vmax=vmax)
        for number, roi in enumerate(regions):
            if plane.shows(roi, index):
                _draw_roi(ax, plane, roi, f"C{number % 10}", record)
        if scale_bar:
            _draw_scale_bar(ax, plane)
    except BaseException:
        # A notebook would show the empty figure.
        if own is not None:
            pyplot.close(own)
        raise
    ax.set_xlim(0.0, plane.horizontal.extent)
    ax.set_ylim(plane.vertical.extent, 0.0)
    return ax


def _draw_plane(
    ax: Axes,
    plane: Plane,
    pixels: np.ndarray[Any, Any],
    *,
    title: str,
    cmap: str,
    vmin: float,
    vmax: float,
) -> None:
    across, down = plane.horizontal, plane.vertical
    ax.imshow(
        pixels,
        cmap=cmap,
        vmin=vmin,
        vmax=vmax,
        # From edge to edge; space downwards, as in every program for images.
        extent=(0.0, across.extent, down.extent, 0.0),
        aspect="equal" if plane.is_true_to_scale else "auto",
        interpolation="antialiased",
    )
    ax.set_xlabel(plain(across.label))
    ax.set_ylabel(plain(down.label))
    ax.set_title(plain(title))


def _drawable(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    if pixels.dtype.kind == "c":
        return np.asarray(np.abs(pixels))
    if pixels.dtype == np.float16 or pixels.dtype.kind == "b":
        return pixels.astype(np.float32)
    return pixels


def _draw_roi(
    ax: Axes, plane: Plane, roi: RectRoi | MaskRoi, color: str, record: StoredImage
) -> None:
    import numpy as np
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    from kymflow_zarr.engine.rois.values import MaskRoi

    across, down = plane.horizontal, plane.vertical
    label = plain(f"ROI {roi.roi_id}")
    if isinstance(roi, MaskRoi):
        mask = plane.arrange(record.load_array_artifact(roi.mask_ref) != 0)
        if not mask.any():
            return
        # A frame of nothing around it, so that the outline closes at the edge of the image.
        framed = np.pad(mask.astype(float), 1)
        x = (np.arange(framed.shape[1]) - 0.5) * across.step
        y = (np.arange(framed.shape[0]) - 0.5) * down.step
        ax.contour(x, y, framed, levels=[0.5], colors=[color])
        first = np.argwhere(mask)[0]
        corner = first[1] * across.step, first[0] * down.step
    else:
        x0, x1, y0, y1 = roi.x0, roi.x1, roi.y0, roi.y1
        if plane.turned:
            x0, x1, y0, y1 = y0, y1, x0, x1
        corner = x0 * across.step, y0 * down.step
        size = (x1 - x0) * across.step, (y1 - y0) * down.step
        ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=color, label=label))
    ax.annotate(
        label, corner, xytext=(3, -3), textcoords="offset points", color=color, va="top",
        fontsize="small", annotation_clip=True,
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )  # fmt: skip


def _draw_scale_bar(ax: Axes, plane: Plane) -> None:
    from matplotlib.patheffects import withStroke

    from kymflow_zarr.views.figure import bar_length

    across = plane.horizontal
    if not across.calibrated:
        return
    length, end = bar_length(across.extent), 0.97 * across.extent
    outline = [withStroke(linewidth=3, foreground="black")]
    # Along the axis in its own unit, down in parts of the picture.
    where = ax.get_xaxis_transform()
    ax.plot(
        [end - length, end], [0.06, 0.06], transform=where, color="white", linewidth=3,
        solid_capstyle="butt", path_effects=[withStroke(linewidth=5, foreground="black")],
        scalex=False, scaley=False, label="_scale bar",
    )  # fmt: skip
    ax.text(
        end - length / 2, 0.09, plain(f"{length:g} {across.unit}"), transform=where,
        color="white", ha="center", va="bottom", path_effects=outline,
    )  # fmt: skip
