"""The content of one NWB file: images, series, events and tables of a session.

- A kymograph is a ``TimeSeries`` for each channel, shape (lines, pixels); a movie an
  ``ImageSeries`` (frames, x, y[, z]), or, where it has fewer frames than pixels along a side,
  ``Images`` in order and an ``IndexSeries`` with their times; any other image is ``Images``.
- Axes of an image other than time and space, such as channels, are series of their own.
- Regular times are a rate and a starting time, others timestamps in seconds.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr._version import __version__
from kymflow_zarr.engine.images.times import SECONDS, time_axis, times_s
from kymflow_zarr.engine.rois.values import RectRoi, UnknownRoi

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr.engine.image import StoredImage
    from kymflow_zarr.export.archives.metadata import ArchiveMetadata
    from kymflow_zarr.export.archives.session import Session

# Columns with the time of a row in the image, in seconds; the first that is there counts.
_TIMES: Final = ("image_time_s", "image_time_sec", "time_s", "time_sec")
_STARTS: Final = ("t_start_s", "start_time_s", "start_s")
_STOPS: Final = ("t_end_s", "stop_time_s", "end_s")
# Units at the end of a column's name.
_UNITS: Final = {
    "_mm_s": "mm/s", "_um_s": "um/s", "_um": "um", "_px": "pixels", "_deg": "degrees", "_hz": "Hz",
    "_bpm": "beats per minute",
}  # fmt: skip
_NOT_SERIES: Final = frozenset({"roi_id", "channel", "channel_index", "pixel_size_um"})
_RESERVED: Final = frozenset({"id", "name", "description", "columns", "colnames", "parent"})
_CHUNK_BYTES: Final = 1 << 20


def left_out_of(image: StoredImage) -> Iterator[str]:
    """Yield the artifacts of an image that NWB has no place for: arrays of complex numbers."""
    for name in image.list_array_artifacts():
        if image.open_array_artifact(name).dtype.kind == "c":
            yield f"{image.image_id}: {name}"


def write_session(
    pynwb: Any,
    path: Path,
    session: Session,
    known: ArchiveMetadata,
    common: Mapping[str, Any],
    *,
    names: Mapping[str, str],
    identifier: str,
) -> None:
    """Write the NWB file of a session."""
    described = ", ".join(names.values())
    nwb = pynwb.NWBFile(
        session_description=common.get("session_description", f"Microscope images: {described}"),
        identifier=identifier,
        session_start_time=session.start,
        session_id=session.session_id,
        subject=pynwb.file.Subject(**session.subject),
        was_generated_by=[("kymflow_zarr", __version__)],
        **{key: value for key, value in common.items() if key != "session_description"},
    )
    content = _Content(pynwb, nwb)
    rows = []
    taken: set[str] = set()
    for image, start in session.images:
        name = _free(_object_name(Path(names[image.image_id]).stem), taken)
        offset = (start - session.start).total_seconds()
        content.add_pixels(image, name, offset)
        prefix = f"{name}_" if len(session.images) > 1 else ""
        content.add_artifacts(image, prefix, offset)
        rows.append(_row(image, name, names[image.image_id], known))
    content.add_table("images", "The images of this file: what is known of each", rows)
    content.add_regions([image for image, _ in session.images])
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(nwb)


class _Content:
    """The content of an NWB file while it is made."""

    def __init__(self, pynwb: Any, nwb: Any) -> None:
        self._pynwb = pynwb
        self._nwb = nwb
        self._common: Any = import_module("hdmf.common")
        self._module: Any = None
        self._names: set[str] = set()

    @property
    def _ophys(self) -> Any:
        if self._module is None:
            self._module = self._nwb.create_processing_module(
                name="ophys", description="What was measured in the images, and their regions"
            )
        return self._module

    # Pixels

    def add_pixels(self, image: StoredImage, name: str, offset: float) -> None:
        """Add the pixels of an image, a series for each channel."""
        axes, shape = image.axes, image.shape
        time = time_axis(image)
        ours = [i for i, axis in enumerate(axes) if axis.quantity == "space" and i != time][-3:]
        others = [i for i in range(len(shape)) if i not in ours and i != time]
        channel_names = image.channel_names
        for index in itertools.product(*(range(shape[i]) for i in others)):
            at = dict(zip(others, index, strict=True))
            words = [f"{axes[i].name} {number}" for i, number in at.items() if shape[i] > 1]
            label = name
            for place, number in at.items():
                if shape[place] == 1:
                    continue
                is_channel = axes[place].quantity == "channel"
                label += f"_channel{number + 1}" if is_channel else f"_{axes[place].name}{number}"
            for place, number in at.items():
                if axes[place].quantity == "channel" and channel_names:
                    words.append(f"channel {channel_names[number]!r}")
            description = ", ".join([_calibration(image), *words])
            plane = _Pixels(image, at, time, ours)
            self._add_plane(image, label, plane, offset, description)

    def _add_plane(
        self, image: StoredImage, name: str, pixels: _Pixels, offset: float, description: str
    ) -> None:
        nwb, n_space = self._nwb, len(pixels.space)
        if pixels.time is None or image.shape[pixels.time] == 1:
            nwb.add_acquisition(self._images(name, pixels, description))
            return
        seconds = times_s(image)
        assert pixels.time is not None
        if seconds is None:
            seconds = np.arange(image.shape[pixels.time], dtype=float)
            description += "; its times are not known and are numbers of frames"
        time = _timing(seconds + offset)
        if n_space <= 1:
            nwb.add_acquisition(
                self._pynwb.TimeSeries(
                    name=name,
                    data=pixels.compressed(),
                    unit="a.u.",
                    description=f"Line scan, a row a line: {description}",
                    **time,
                )
            )
        elif pixels.shape[0] >= max(pixels.shape[1:]):
            nwb.add_acquisition(
                self._pynwb.image.ImageSeries(
                    name=name,
                    data=pixels.compressed(),
                    unit="a.u.",
                    format="raw",
                    description=f"Frames (time, x, y[, z]): {description}",
                    **time,
                )
            )
        else:
            images = self._images(f"{name}_frames", pixels, description)
            nwb.add_acquisition(images)
            repeat = len(images.images) // len(seconds)
            nwb.add_acquisition(
                self._pynwb.image.IndexSeries(
                    name=name,
                    data=np.arange(len(seconds), dtype=np.uint32) * repeat,
                    unit="N/A",
                    indexed_images=images,
                    description=f"Time of the first plane of each frame: {description}",
                    **time,
                )
            )

    def _images(self, name: str, pixels: _Pixels, description: str) -> Any:
        """Return planes as images in order, x first as NWB has them."""
        base: Any = import_module("pynwb.base")
        planes = [
            self._pynwb.image.GrayscaleImage(name=label, data=plane, description=description)
            for label, plane in pixels.planes()
        ]
        return base.Images(
            name=name, images=planes, description=description,
            order_of_images=base.ImageReferences(name="order_of_images", data=planes),
        )  # fmt: skip

    # Artifacts

    def add_artifacts(self, image: StoredImage, prefix: str, offset: float) -> None:
        """Add the artifacts of an image, under names that begin with a prefix.

        A data frame becomes series or intervals, and a table; a JSON document, as its text, and an
        array become scratch data.
        """
        made_by = {
            result.artifact: f"; by {result.program} {result.version}".rstrip()
            for result in image.results()
            if result.artifact is not None
        }
        for info in image.list_artifacts():
            description = f"{info.name} of {image.image_id}{made_by.get(info.key, '')}"
            value = image.load_artifact(info.name, info.kind)
            if hasattr(value, "columns"):
                self._add_frame(value, f"{prefix}{info.name}", description, offset)
            else:
                document = json.dumps(value, ensure_ascii=False)
                self._add_scratch(f"{prefix}{info.name}", document, f"JSON: {description}")
        for name in image.list_array_artifacts():
            array = image.load_array_artifact(name)
            if array.dtype.kind != "c":
                self._add_scratch(f"{prefix}{name}", _numbers(array), f"{name} of {image.image_id}")

    def _add_scratch(self, name: str, value: Any, description: str) -> None:
        name = _free(_object_name(name), self._names)
        self._nwb.add_scratch(value, name=name, description=description)

    def _add_frame(self, frame: pd.DataFrame, name: str, description: str, offset: float) -> None:
        import pandas as pd

        label = _object_name(name)
        units = frame.attrs.get("units")
        units = units if isinstance(units, Mapping) else {}
        if not isinstance(frame.index, pd.RangeIndex):
            frame = frame.reset_index()
        frame = frame.set_axis([str(column) for column in frame.columns], axis="columns")
        start = next((c for c in _STARTS if c in frame), None)
        time = next((c for c in _TIMES if c in frame), None)
        if start is not None:
            self._add_intervals(frame, label, description, start, offset)
        elif len(frame):
            if time is not None:
                self._add_series(frame, label, description, time, units, offset)
            self.add_table(f"{label}_table", description, frame, units)

    def _add_intervals(
        self, frame: pd.DataFrame, label: str, description: str, start: str, offset: float
    ) -> None:
        stop = next((c for c in _STOPS if c in frame), None)
        starts = frame[start].to_numpy(dtype=float, na_value=np.nan) + offset
        stops = starts if stop is None else frame[stop].to_numpy(float, na_value=np.nan) + offset
        order = np.argsort(starts, kind="stable")
        intervals = self._pynwb.epoch.TimeIntervals(
            name=_free(label, self._names), description=f"Events: {description}"
        )
        if len(frame):
            rest = frame.drop(columns=[c for c in (start, stop) if c is not None]).iloc[order]
            for row in range(len(order)):
                # An event may have been typed from its end to its start.
                ends = sorted((starts[order[row]], stops[order[row]]))
                intervals.add_row(start_time=float(ends[0]), stop_time=float(ends[-1]))
            for column, values in _columns(rest, avoid="_time").items():
                intervals.add_column(column, f"column {column}", data=values)
        self._nwb.add_time_intervals(intervals)

    def _add_series(
        self, frame: pd.DataFrame, label: str, description: str, time: str,
        units: Mapping[str, Any], offset: float,
    ) -> None:  # fmt: skip
        keys = [key for key in ("roi_id", "channel") if key in frame]
        groups: Any = frame.groupby(keys, dropna=False) if keys else [((), frame)]
        for values, part in groups:
            seconds = part[time].to_numpy(dtype=float, na_value=np.nan)
            order = np.argsort(seconds, kind="stable")[: int(np.isfinite(seconds).sum())]
            if not len(order):
                continue
            which = "".join(
                f"_{key.removesuffix('_id')}{value}"
                for key, value in zip(keys, values, strict=True)
            )
            timing = _timing(seconds[order] + offset)
            for column in part.columns:
                unit = _unit(column, units)
                if unit is None or column in (*_TIMES, *_NOT_SERIES):
                    continue
                try:
                    numbers = part[column].to_numpy(dtype=float, na_value=np.nan)[order]
                except (TypeError, ValueError):
                    continue  # Text: it is in the table.
                self._ophys.add(
                    self._pynwb.TimeSeries(
                        name=_free(_object_name(f"{label}_{column}{which}"), self._names),
                        data=numbers,
                        unit=unit,
                        description=f"{column} of {description}",
                        **timing,
                    )
                )

    # Tables

    def add_table(
        self, name: str, description: str, rows: pd.DataFrame | list[dict[str, Any]],
        units: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Add a table with a column for each of a data frame's, or of rows' keys."""
        import pandas as pd

        frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)
        columns = [
            self._common.VectorData(
                name=column,
                description=str((units or {}).get(column, f"column {column}")),
                data=data,
            )
            for column, data in _columns(frame).items()
        ]
        self._ophys.add(
            self._common.DynamicTable(
                name=_free(_object_name(name), self._names),
                description=description,
                columns=columns,
            )
        )

    def add_regions(self, images: list[StoredImage]) -> None:
        """Add the regions of images as a table; each has the corners of its outline."""
        rows, outlines = [], []
        for image in images:
            for roi in image.load_rois():
                raw = roi.to_dict()
                rows.append(
                    {
                        "image_id": image.image_id,
                        **{key: str(raw.get(key, "")) for key in ("roi_id", "roi_type")},
                        **{f"roi_{key}": str(raw.get(key, "")) for key in ("name", "note")},
                        **{key: str(raw.get(key, "")) for key in ("channel", "z")},
                    }
                )
                if isinstance(roi, RectRoi):
                    corners = [
                        (roi.x0, roi.y0),
                        (roi.x1, roi.y0),
                        (roi.x1, roi.y1),
                        (roi.x0, roi.y1),
                    ]
                else:
                    corners = (
                        [] if isinstance(roi, UnknownRoi) else list(getattr(roi, "outline", ()))
                    )
                outlines.append(corners)
        if not rows:
            return
        table = self._common.DynamicTable(
            name="regions",
            description="Regions of the images, in pixels: x is the column, y the row, both from 0",
            columns=[
                self._common.VectorData(name=key, description=f"{key} of the region",
                                        data=[row[key] for row in rows])
                for key in rows[0]
            ],
        )  # fmt: skip
        if any(outlines):
            ends = np.cumsum([len(outline) for outline in outlines])
            for place, axis in enumerate("xy"):
                data = np.array([point[place] for outline in outlines for point in outline], float)
                table.add_column(
                    f"outline_{axis}", f"{axis} of the points of its outline", data=data, index=ends
                )
        self._ophys.add(table)


class _Pixels:
    """The pixels of one channel of an image in the order of NWB: time, x, y, z."""

    def __init__(
        self, image: StoredImage, at: Mapping[int, int], time: int | None, space: list[int]
    ) -> None:
        self._image = image
        self._at = at
        self.time = time
        self.space = space
        self.order = ([] if time is None else [time]) + space[::-1]
        # Of three axes z, y, x, NWB has x, y, z.
        self.shape = tuple(image.shape[place] for place in self.order)

    def read(self, selection: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Return a part, given by slices in the order of NWB."""
        wanted = dict(zip(self.order, selection, strict=True))
        index = tuple(self._at.get(i, wanted.get(i)) for i in range(self._image.ndim))
        pixels = self._image.load_array(index)
        present = sorted(self.order)
        turned = pixels.transpose([present.index(place) for place in self.order])
        return _numbers(turned)

    def compressed(self) -> Any:
        """Return them as data that hdmf reads part by part and compresses."""
        hdmf: Any = import_module("hdmf.data_utils")
        h5: Any = import_module("hdmf.backends.hdf5.h5_utils")
        read, shape = self.read, self.shape

        class Parts(hdmf.GenericDataChunkIterator):  # type: ignore[misc]
            def _get_data(self, selection: tuple[slice, ...]) -> Any:
                return read(selection)

            def _get_maxshape(self) -> tuple[int, ...]:
                return shape

            def _get_dtype(self) -> Any:
                return read(tuple(slice(0, 1) for _ in shape)).dtype

        line = int(np.prod(shape[1:], dtype=np.int64)) * self._image.dtype.itemsize
        rows = max(1, min(shape[0], _CHUNK_BYTES // max(1, line)))
        buffer = min(shape[0], rows * max(1, (64 << 20) // max(1, rows * line)))
        parts = Parts(chunk_shape=(rows, *shape[1:]), buffer_shape=(buffer, *shape[1:]))
        return h5.H5DataIO(parts, compression="gzip", compression_opts=1, shuffle=True)

    def planes(self) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """Yield a name and the pixels, shape (x, y), of each plane; z is the fastest."""
        frames = self.shape[:1] if self.time is not None else (1,)
        depth = self.shape[-1:] if len(self.space) == 3 else (1,)
        for frame, z in itertools.product(range(*frames), range(*depth)):
            selection = [slice(None)] * len(self.order)
            label = "image"
            if self.time is not None:
                selection[0] = slice(frame, frame + 1)
                label += f"_{frame:05d}"
            if len(self.space) == 3:
                selection[-1] = slice(z, z + 1)
                label += f"_z{z:04d}"
            pixels = self.read(tuple(selection))
            sides = [self._image.shape[place] for place in self.space[-2:][::-1]]
            yield label, pixels.reshape((*sides, *[1] * (2 - len(sides))))


def _numbers(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array in a type that NWB has, of equal values."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _timing(seconds: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return regular times as rate and start, others as timestamps."""
    if len(seconds) > 1:
        step = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
        even = seconds[0] + step * np.arange(len(seconds))
        if step > 0 and np.abs(even - seconds).max() < 5e-10 + 1e-9 * step:
            return {"rate": float(1 / step), "starting_time": float(seconds[0])}
    return {"timestamps": np.asarray(seconds, dtype=np.float64)}


def _calibration(image: StoredImage) -> str:
    parts = [
        f"{axis.name} {axis.step:.12g} {axis.unit} a sample"
        for axis in image.axes
        if axis.step is not None and axis.unit not in (None, *SECONDS)
    ]
    return "; ".join([image.image_id, *parts])


def _unit(column: str, units: Mapping[str, Any]) -> str | None:
    if column in units:
        return str(units[column])
    return next((unit for end, unit in _UNITS.items() if column.endswith(end)), None)


def _row(image: StoredImage, name: str, file: str, known: ArchiveMetadata) -> dict[str, Any]:
    source = image.document().source
    curation = image.curation()
    row = {
        "series": name,
        "image_id": image.image_id,
        "image_name": file,
        "source_path": "" if source is None else str(PurePosixPath(source.rel_path)),
        "source_sha256": "" if source is None else source.sha256,
        "axes": ", ".join(str(axis) for axis in image.axes),
        "verdict": curation.verdict or "",
        "curation_note": curation.note,
    }
    return row | {f"experiment_{k}": str(v) for k, v in known.experiment(image).items()}


def _columns(frame: pd.DataFrame, avoid: str = "") -> dict[str, list[Any] | np.ndarray[Any, Any]]:
    """Return the columns of a data frame in types that NWB has, under names that are free."""
    columns: dict[str, list[Any] | np.ndarray[Any, Any]] = {}
    for place, label in enumerate(frame.columns):
        name = _object_name(str(label))
        if name in _RESERVED or (avoid and name.endswith(avoid)) or name in columns:
            name = _free(f"{name}_value", set(columns))
        columns[name] = _cells(frame.iloc[:, place])
    return columns


def _cells(column: pd.Series[Any]) -> list[Any] | np.ndarray[Any, Any]:
    import pandas as pd

    kind = column.dtype
    if pd.api.types.is_bool_dtype(kind) and not column.isna().any():
        return column.to_numpy(dtype=bool)
    if pd.api.types.is_integer_dtype(kind) and not column.isna().any():
        return column.to_numpy(dtype=np.uint64 if str(kind).lower().startswith("u") else np.int64)
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return [_text(value) for value in column.tolist()]


def _text(value: Any) -> str:
    if isinstance(value, list | dict | tuple | np.ndarray):
        return json.dumps(value, default=str, ensure_ascii=False)
    return "" if value is None or value != value else str(value)


def _object_name(name: str) -> str:
    """Return a text as the name of an object in a file, where ``/`` and ``:`` mean a path."""
    return re.sub(r"[/:\\]+", "_", name).strip() or "x"


def _free(name: str, taken: set[str]) -> str:
    free = next(n for n in itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2)))
                if n not in taken)  # fmt: skip
    taken.add(free)
    return free
