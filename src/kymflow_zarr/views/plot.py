"""A plane of an image, and its velocity and events, drawn with matplotlib in real units."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.engine.rois.values import known_rois
from kymflow_zarr.errors import ArgumentError, ArtifactNotFoundError, extra_module
from kymflow_zarr.formats.kinds import dataframe_kinds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kymflow_zarr.engine.image import StoredImage
    from kymflow_zarr.engine.rois.values import KnownRoi
    from kymflow_zarr.views.plane import Plane

__all__ = [
    "column_label",
    "drawn_axes",
    "new_figure",
    "plain",
    "plot",
    "plot_events",
    "require_matplotlib",
    "save_figure",
]


def require_matplotlib() -> Any:
    """Return matplotlib.pyplot.

    Raises
    ------
    MissingDependencyError
        If it is not installed; names the extra.
    """
    return extra_module(
        "matplotlib.pyplot", extra="plot", needs="plots need the package matplotlib"
    )


def plain(text: object) -> str:
    """Return a text with ``$`` escaped, so that matplotlib does not parse a formula."""
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
    vmin: float | Sequence[float] | None,
    vmax: float | Sequence[float] | None,
    rois: bool,
    scale_bar: bool,
) -> Axes:
    """Draw one plane; see :meth:`kymflow_zarr.StoredImage.plot`."""
    require_matplotlib()

    from kymflow_zarr.views.picture import contrast
    from kymflow_zarr.views.plane import plane_of

    plane = plane_of(record)
    regions = known_rois(record.load_rois()) if rois else []
    level = _level_for(record, plane)
    if channel == "all" and channel not in plane.channel_names:
        channels, tints = _tints(record, plane)
        # The position along the channels says nothing where all of them are drawn.
        at = {name: position for name, position in (at or {}).items() if name not in channels}
        indices = [plane.index(t=t, z=z, channel=n + 1, at=at) for n in range(len(tints))]
        pixels = _composite(
            [plane.arrange(_drawable(record.load_array(index, level=level)))
             for index in indices],
            tints, _one_each(vmin, "vmin", len(tints)), _one_each(vmax, "vmax", len(tints)),
            as_they_are=record.dtype == "u1" and len(tints) == 3 and tints[0] == (255, 0, 0),
        )  # fmt: skip
        vmin, vmax = 0.0, 255.0
    else:
        indices = [plane.index(t=t, z=z, channel=channel, at=at)]
        pixels = plane.arrange(_drawable(record.load_array(indices[0], level=level)))
        (vmin,), (vmax,) = _one_each(vmin, "vmin", 1), _one_each(vmax, "vmax", 1)
        if vmin is None or vmax is None:
            low, high = contrast(pixels)
            vmin, vmax = low if vmin is None else vmin, high if vmax is None else vmax
    with drawn_axes(ax) as axes:
        factors = record.levels[level].factors if level else (1,) * record.ndim
        extent = _extent(plane, factors)
        title = record.image_id
        _draw_plane(axes, plane, pixels, extent, title=title, cmap=cmap, vmin=vmin, vmax=vmax)
        for number, roi in enumerate(regions):
            if any(plane.shows(roi, index) for index in indices):
                _draw_roi(axes, plane, roi, f"C{number % 10}", record)
        if scale_bar:
            _draw_scale_bar(axes, plane)
    axes.set_xlim(plane.horizontal.start, plane.horizontal.extent)
    axes.set_ylim(plane.vertical.extent, plane.vertical.start)
    return axes


_Tint = tuple[int, int, int]
_PRIMARIES: Final = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def _tints(record: StoredImage, plane: Plane) -> tuple[set[str], Sequence[_Tint]]:
    """Return the axis of channels, if any, and the colors in which the page draws its channels."""
    from kymflow_zarr.views.overview import MAX_TINTS, TINTS, is_rgb

    pairs = zip(plane.axes, plane.shape, strict=True)
    sizes = {axis.name: size for axis, size in pairs if axis.quantity == "channel"}
    n = next(iter(sizes.values()), 1)
    if is_rgb(record.dtype, n, plane.channel_names):
        return set(sizes), _PRIMARIES
    if n > MAX_TINTS:
        raise ArgumentError(
            f"{n} channels are more than the {MAX_TINTS} that are drawn over each other",
            where="channel", hint="Draw one of them.",
        )  # fmt: skip
    return set(sizes), TINTS[:n] if n > 1 else ((255, 255, 255),)


def _one_each(
    value: float | Sequence[float] | None, name: str, n: int
) -> Sequence[float] | list[float | None]:
    """Return one end of the contrast for each channel that is drawn."""
    if value is None or isinstance(value, int | float):
        return [value] * n
    if len(value) != n:
        raise ArgumentError(f"{name} has {len(value)} values for {n} channels", where=name)
    return value


def _composite(
    planes: Sequence[npt.NDArray[Any]],
    tints: Sequence[_Tint],
    lows: Sequence[float | None],
    highs: Sequence[float | None],
    *,
    as_they_are: bool,
) -> npt.NDArray[np.uint8]:
    """Return channels drawn over each other, as a sum of colors."""
    import numpy as np

    from kymflow_zarr.views.picture import contrast

    total = np.zeros((*planes[0].shape, 3))
    for pixels, tint, low, high in zip(planes, tints, lows, highs, strict=True):
        usual = (0.0, 255.0) if as_they_are else contrast(pixels)
        low, high = usual[0] if low is None else low, usual[1] if high is None else high
        with np.errstate(all="ignore"):
            levels = (pixels.astype(np.float64) - low) / max(high - low, 1e-300)
        levels = np.clip(np.nan_to_num(levels, nan=0.0), 0, 1)
        total += levels[..., np.newaxis] * np.array(tint)
    return np.rint(np.minimum(total, 255)).astype(np.uint8)


@contextmanager
def drawn_axes(ax: Axes | None) -> Iterator[Axes]:
    """Yield the axes to draw into, of a new figure if there are none."""
    if ax is not None:
        yield ax
        return
    pyplot = require_matplotlib()
    figure, ax = pyplot.subplots(layout="constrained")
    try:
        yield ax
    except BaseException:
        # Close it, or a notebook would show the empty figure.
        pyplot.close(figure)
        raise


# The longer side of a large figure on a large screen.
_FIGURE_PIXELS: Final = 4096
# One figure at a time: matplotlib's caches and settings belong to the whole process.
_SAVING: Final = threading.Lock()


def new_figure(figsize: tuple[float, float] | None = None) -> Figure:
    """Return a figure that belongs to no window and to no notebook."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=figsize, layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure as its suffix says, with text as text, which other programs can edit."""
    import matplotlib as mpl

    settings: Any = {"svg.fonttype": "none", "pdf.fonttype": 42}
    with _SAVING, mpl.rc_context(settings):
        figure.savefig(path, dpi=300)


def _level_for(record: StoredImage, plane: Plane) -> int:
    """Return the smallest level that still has a sample for each pixel of a large figure."""
    uneven = plane.horizontal.edges is not None or plane.vertical.edges is not None
    small = all(plane.shape[axis] <= _FIGURE_PIXELS for axis in (plane.rows, plane.columns))
    # The mean of magnitudes is not the magnitude of the mean; uneven lines have a time each. Of a
    # small image the levels are not asked for: a result that draws one plane depends on that alone.
    if small or uneven or record.dtype.kind == "c":
        return 0
    return max(
        number
        for number, level in enumerate(record.levels)
        if all(
            level.shape[axis] >= min(_FIGURE_PIXELS, plane.shape[axis])
            for axis in (plane.rows, plane.columns)
        )
    )


def _extent(plane: Plane, factors: Sequence[int]) -> tuple[float, float]:
    """Return the outer edges of the last samples of a level, across and down.

    Its shape is rounded up, so that its last samples may reach beyond the plane.
    """
    down, across = (
        -(-plane.shape[axis] // factors[axis]) * factors[axis]
        for axis in (plane.rows, plane.columns)
    )
    if plane.turned:
        down, across = across, down
    return across * plane.horizontal.step, down * plane.vertical.step


def _draw_plane(
    ax: Axes,
    plane: Plane,
    pixels: np.ndarray[Any, Any],
    extent: tuple[float, float],
    *,
    title: str,
    cmap: str,
    vmin: float,
    vmax: float,
) -> None:
    across, down = plane.horizontal, plane.vertical
    if across.edges is not None or down.edges is not None:
        import numpy as np

        edges = (axis.at(np.arange(axis.size + 1)) for axis in (across, down))
        ax.pcolorfast(*edges, pixels, cmap=cmap, vmin=vmin, vmax=vmax)
    else:
        _show_evenly(ax, plane, pixels, extent, cmap=cmap, vmin=vmin, vmax=vmax)
    ax.set_xlabel(plain(across.label))
    ax.set_ylabel(plain(down.label))
    ax.set_title(plain(title))


def _show_evenly(
    ax: Axes,
    plane: Plane,
    pixels: np.ndarray[Any, Any],
    extent: tuple[float, float],
    *,
    cmap: str,
    vmin: float,
    vmax: float,
) -> None:
    across, down = extent
    ax.imshow(
        pixels,
        cmap=cmap,
        vmin=vmin,
        vmax=vmax,
        # Edge to edge, with space downwards as in image viewers.
        extent=(0.0, across, down, 0.0),
        aspect="equal" if plane.is_true_to_scale else "auto",
        interpolation="antialiased",
    )


def _drawable(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    if pixels.dtype.kind == "c":
        return np.asarray(np.abs(pixels))
    if pixels.dtype == np.float16 or pixels.dtype.kind == "b":
        return pixels.astype(np.float32)
    return pixels


def _draw_roi(ax: Axes, plane: Plane, roi: KnownRoi, color: str, record: StoredImage) -> None:
    import numpy as np
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    from kymflow_zarr.engine.rois.values import MaskRoi, PointsRoi, RectRoi

    across, down = plane.horizontal, plane.vertical
    label = plain(f"ROI {roi.roi_id}")
    if isinstance(roi, MaskRoi):
        mask = plane.arrange(record.load_array_artifact(roi.mask_ref) != 0)
        if not mask.any():
            return
        # Pad the mask with zeros, so that its outline closes at the edge of the image.
        framed = np.pad(mask.astype(float), 1)
        x = across.at(np.arange(framed.shape[1]) - 0.5)
        y = down.at(np.arange(framed.shape[0]) - 0.5)
        ax.contour(x, y, framed, levels=[0.5], colors=[color])
        first = np.argwhere(mask)[0]
        corner = across.at(first[1]), down.at(first[0])
    elif not isinstance(roi, RectRoi):
        # Points count from the center of the first pixel, the axes from its edge.
        points = np.array(roi.outline) + 0.5
        if plane.turned:
            points = points[:, ::-1]
        points = np.stack([across.at(points[:, 0]), down.at(points[:, 1])], axis=1)
        if roi.is_closed:
            points = np.concatenate([points, points[:1]])
        look = "o" if isinstance(roi, PointsRoi) else "-"
        ax.plot(points[:, 0], points[:, 1], look, color=color, label=label, fillstyle="none")
        corner = points[0, 0], points[0, 1]
    else:
        x0, x1, y0, y1 = roi.x0, roi.x1, roi.y0, roi.y1
        if plane.turned:
            x0, x1, y0, y1 = y0, y1, x0, x1
        corner = across.at(x0), down.at(y0)
        size = across.at(x1) - across.at(x0), down.at(y1) - down.at(y0)
        ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=color, label=label, gid=label))
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
    # x in data units of the axis, y in fractions of the picture.
    where = ax.get_xaxis_transform()
    ax.plot(
        [end - length, end], [0.06, 0.06], transform=where, color="white", linewidth=3,
        solid_capstyle="butt", path_effects=[withStroke(linewidth=5, foreground="black")],
        scalex=False, scaley=False, label="_scale bar", gid="scale bar",
    )  # fmt: skip
    ax.text(
        end - length / 2, 0.09, plain(f"{length:g} {across.unit}"), transform=where,
        color="white", ha="center", va="bottom", path_effects=outline,
    )  # fmt: skip


def plot_events(
    record: StoredImage,
    *,
    velocity: str,
    events: str,
    column: str,
    roi_id: int | None,
    channel: int | None,
    cmap: str,
    figsize: tuple[float, float],
) -> Figure:
    """Draw the events; see :meth:`kymflow_zarr.StoredImage.plot_events`."""
    pyplot = require_matplotlib()

    from kymflow_zarr.views.plane import plane_of

    plane = plane_of(record)
    if not plane.is_kymograph or plane.horizontal.unit != "s":
        raise ArgumentError(
            "the image has no time axis in seconds from left to right"
            if plane.is_kymograph
            else "the image is no kymograph: neither axis of its planes is time",
            where=record.image_id,
            hint="save_array(..., line_period_s=...) tells the seconds from line to line.",
        )
    # Read everything before drawing, so that an error leaves no empty figure.
    traces = list(_traces(_wanted(_frame(record, velocity), roi_id, channel), velocity, column))
    marks = list(_marks(_events(record, events, roi_id, channel), events))
    plane.index(channel=1 if channel is None else channel)
    figure, (above, below) = pyplot.subplots(
        2, 1, sharex=True, figsize=figsize, layout="constrained"
    )
    try:
        plot(
            record, above, t=0, z=0, channel=1 if channel is None else channel, at=None, cmap=cmap,
            vmin=None, vmax=None, rois=True, scale_bar=False,
        )  # fmt: skip
    except BaseException:
        pyplot.close(figure)
        raise
    above.set_xlabel("")
    # Use the color of the region in the picture.
    colors = {roi.roi_id: f"C{i % 10}" for i, roi in enumerate(known_rois(record.load_rois()))}
    for key, label, time_s, values in traces:
        below.plot(time_s, values, linewidth=0.8, label=label, color=colors.get(key))
    below.axhline(0.0, color="gray", linewidth=0.5)
    _draw_marks((above, below), marks)
    below.set_xlabel(plain(plane.horizontal.label))
    below.set_ylabel(plain(column_label(column)))
    below.set_xlim(plane.horizontal.start, plane.horizontal.extent)
    if below.get_legend_handles_labels()[0]:
        below.legend(loc="upper right", fontsize="small")
    return figure  # type: ignore[no-any-return]


def _frame(record: StoredImage, name: str) -> pd.DataFrame:
    kinds = [info.kind for info in record.list_artifacts() if info.name == name]
    for kind in dataframe_kinds():
        if kind.name in kinds:
            frame: pd.DataFrame = record.load_artifact(name, kind.name)
            return frame
    raise ArtifactNotFoundError(
        f"the image {record.image_id!r} has no data frame {name!r}",
        where=record.image_id,
        hint="list_artifacts() tells which there are.",
    )


def _events(
    record: StoredImage, name: str, roi_id: int | None, channel: int | None
) -> pd.DataFrame | None:
    """Return the events; None if the image has no such data frame."""
    try:
        return _wanted(_frame(record, name), roi_id, channel)
    except ArtifactNotFoundError:
        return None


def _wanted(frame: pd.DataFrame, roi_id: int | None, channel: int | None) -> pd.DataFrame:
    for column, value in (("roi_id", roi_id), ("channel", channel)):
        if value is not None and column in frame:
            frame = frame[(frame[column] == value).fillna(False).astype(bool)]
    return frame


def _traces(
    frame: pd.DataFrame, name: str, column: str
) -> Iterator[tuple[Any, str, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yield region, label, times and values of each region and channel."""
    keys = [key for key in ("roi_id", "channel") if key in frame]
    _numbers(frame, "time_s", name)
    _numbers(frame, column, name)
    groups: Any = frame.groupby(keys, dropna=False) if keys else [((), frame)]
    one_channel = "channel" not in keys or frame["channel"].nunique() <= 1
    for values, part in groups:
        values_of_group = dict(zip(keys, values, strict=True))
        label = f"ROI {values_of_group['roi_id']}" if "roi_id" in values_of_group else column
        if not one_channel:
            label += f", channel {values_of_group['channel']}"
        region = values_of_group.get("roi_id") if one_channel else None
        yield region, plain(label), _numbers(part, "time_s", name), _numbers(part, column, name)


def _numbers(frame: pd.DataFrame, column: str, name: str) -> npt.NDArray[np.float64]:
    if column not in frame:
        raise ArgumentError(
            f"the data frame {name!r} has no column {column!r}",
            where=name,
            hint=f"Its columns are {', '.join(map(str, frame.columns))}.",
        )
    try:
        return frame[column].to_numpy(dtype="float64", na_value=math.nan)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"the column {column!r} of {name!r} holds more than numbers", where=name
        ) from error


def _marks(frame: pd.DataFrame | None, name: str) -> Iterator[tuple[str, float, float]]:
    """Yield type, start and end in seconds of each event; the end may be NaN."""
    if frame is None:
        return
    starts = _numbers(frame, "t_start_s", name)
    ends = _numbers(frame, "t_end_s", name) if "t_end_s" in frame else starts * math.nan
    kinds = frame["event_type"] if "event_type" in frame else ["event"] * len(frame)
    for kind, start, end in zip(kinds, starts, ends, strict=True):
        if math.isfinite(start):
            yield str(kind), float(start), float(end)


def _draw_marks(axes: tuple[Axes, Axes], marks: list[tuple[str, float, float]]) -> None:
    kinds = list(dict.fromkeys(kind for kind, _, _ in marks))
    labelled: set[str] = set()
    for kind, start, end in marks:
        color = f"C{(kinds.index(kind) + 3) % 10}"
        for ax in axes:
            first = ax is axes[1] and kind not in labelled
            # matplotlib leaves labels that begin with an underscore out of the legend.
            label = plain(kind).lstrip("_") or "event" if first else "_"
            if math.isfinite(end) and end > start:
                ax.axvspan(start, end, color=color, alpha=0.25, linewidth=0, label=label)
            else:
                ax.axvline(start, color=color, linewidth=1.2, label=label)
        labelled.add(kind)


def column_label(column: str) -> str:
    """Return a column as the label of an axis: ``velocity_mm_s`` as ``velocity (mm/s)``."""
    if column.endswith("_mm_s"):
        return f"{column.removesuffix('_mm_s').replace('_', ' ')} (mm/s)"
    return column
