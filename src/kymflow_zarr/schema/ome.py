"""OME-Zarr 0.5 metadata of an image group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from kymflow_zarr.schema.axes import ome_axes
from kymflow_zarr.types import Axis

# Default display colors, as Fiji assigns them to the channels of a composite.
_COLORS: Final = ("FF0000", "00FF00", "0000FF", "FFFFFF", "00FFFF", "FF00FF", "FFFF00")


class ChannelWindow(NamedTuple):
    """Name and range of intensities of one channel, for the display settings."""

    name: str
    low: float
    high: float


def ome_attributes(
    axes: Sequence[Axis], *, path: str, name: str, channels: Sequence[ChannelWindow] = ()
) -> dict[str, Any] | None:
    """Return the ``ome`` attribute of an image group, or None where OME cannot express it.

    Parameters
    ----------
    axes : sequence of Axis
        The true axes.
    path : str
        Name of the level 0 array below the group.
    name : str
        Name of the image in viewers.
    channels : sequence of ChannelWindow
        Named channels, for the ``omero`` block; none leaves the block out.

    Notes
    -----
    Source: OME-Zarr 0.5, https://ngff.openmicroscopy.org/0.5/.
    """
    told = ome_axes(axes)
    if told is None:
        return None
    # "The length of the 'scale' array MUST be the same as the length of 'axes'"; an unknown
    # step is 1, the specification's value for "no scaling".
    scale = [1.0 if axis.step is None else axis.step for axis in told]
    multiscale = {
        "name": name,
        "axes": [_axis(axis) for axis in told],
        "datasets": [
            {"path": path, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        ],
    }
    attributes: dict[str, Any] = {"version": "0.5", "multiscales": [multiscale]}
    if channels:
        attributes["omero"] = {"channels": [_channel(i, c) for i, c in enumerate(channels)]}
    return attributes


def _axis(axis: Axis) -> dict[str, Any]:
    described: dict[str, Any] = {"name": axis.name}
    # "The value of 'type' ... SHOULD be one of 'space', 'time' or 'channel'": a custom axis
    # is left without one.
    if axis.quantity != "other":
        described["type"] = axis.quantity
    if axis.unit is not None:
        described["unit"] = axis.unit
    return described


def _channel(index: int, channel: ChannelWindow) -> dict[str, Any]:
    # "Each dictionary in 'channels' MUST contain the field 'color' ... and 'window'".
    window = {"min": channel.low, "max": channel.high, "start": channel.low, "end": channel.high}
    return {
        "label": channel.name,
        "color": _COLORS[index % len(_COLORS)],
        "window": window,
        "active": True,
    }
