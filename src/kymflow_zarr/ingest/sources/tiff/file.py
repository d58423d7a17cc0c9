"""Read TIFF files as images with named, calibrated axes and lazily read pixels."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from xml.etree import ElementTree as ET

import numpy as np
from tifffile import TiffFile, TiffPageSeries

from kymflow_zarr.errors import ArgumentError, KymflowZarrError, SourceFileError
from kymflow_zarr.ingest.sources.tiff.calibration import (
    OME_KINDS,
    QUANTITY_OF_NAME,
    AxisPlan,
    AxisScale,
    acquired_local_epoch_ns,
    channel_names_of,
    even_step,
    frame_times_s,
    ome_image,
    plan_axes,
    scales_of,
    stated_but_unknown,
)
from kymflow_zarr.ingest.sources.tiff.integrity import (
    check_image_size,
    check_page_chain,
    check_stored_bytes,
)
from kymflow_zarr.ingest.sources.tiff.ome import OmeXml, children, resolve_ome
from kymflow_zarr.ingest.sources.tiff.pixels import (
    PixelSource,
    StoredPixels,
    open_pixels,
    selection_of,
)
from kymflow_zarr.ingest.sources.tiff.prairie import line_scan_of, not_understood
from kymflow_zarr.ingest.sources.tiff.scanimage import (
    ScanImageHeader,
    arranged,
    parse_scanimage,
)
from kymflow_zarr.ingest.sources.tiff.skeleton import skeleton_of
from kymflow_zarr.ingest.sources.tiff.tags import describe, without_messages
from kymflow_zarr.types import Axis

if TYPE_CHECKING:
    from types import TracebackType

    import numpy.typing as npt

    from kymflow_zarr.schema.tiff_skeleton import TiffSkeleton
    from kymflow_zarr.types import StrPath

__all__ = ["TiffImage", "open_tiff"]

# Kinds of series that tifffile arranges by the file's metadata, whatever pages exist.
_ARRANGED: Final = ("ome", "imagej", "shaped", "fluoview")
_SIZES: Final = ("channels", "slices", "frames")
_NOT_ARRANGED: Final = ("uniform", "generic")
_DAMAGED: Final = "It may be damaged, or be another kind of file with this name."


def open_tiff(path: StrPath, *, series: int = 0, is_ome: bool | None = None) -> TiffImage:
    """Open one image of a TIFF file; its pixels are read on demand.

    Parameters
    ----------
    path : path-like
        Anything tifffile reads: ImageJ, OME-TIFF, FluoView, BigTIFF, tiled,
        compressed, pyramids (the full resolution) ...
    series : int
        Number of the image in the file.
    is_ome : bool, optional
        False reads the pages of the file alone, whatever set its OME-XML describes.

    Returns
    -------
    TiffImage
        A context manager that closes the file on exit.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    SourceFileError
        The file is not a TIFF, is damaged or truncated, or holds unsupported content.
    LimitExceededError
        The file declares more pages or pixels than the limits allow.
    ArgumentError
        The file has no image with that number.
    """
    path = Path(path)
    where = str(path)
    with without_messages():
        try:
            tif = TiffFile(path, is_ome=is_ome)
        except FileNotFoundError:
            raise
        except Exception as exc:
            raise _unreadable(exc, where) from exc
        try:
            tif = _with_all_pages(tif, path)
            page_count = check_page_chain(tif, where=where)
            ome = _resolved(tif, path, page_count)
            if ome is not None:
                tif.close()
                tif = _opened_with(path, ome)
            return TiffImage(tif, path, series, page_count, ome)
        except (FileNotFoundError, KymflowZarrError):
            tif.close()
            raise
        except Exception as exc:
            tif.close()
            raise _unreadable(exc, where) from exc
        except BaseException:
            tif.close()
            raise


def _with_all_pages(tif: TiffFile, path: Path) -> TiffFile:
    """Return a file of ScanImage with the pages of its chain, if those are more.

    tifffile counts them by the distance between the first two, which misses the last page of a
    file that another program has written anew.
    """
    if not tif.is_scanimage or tif.is_bigtiff:
        return tif
    chained = TiffFile(path, is_scanimage=False)
    try:
        is_longer = len(chained.pages) > len(tif.pages)
    except Exception:  # noqa: BLE001 - such as struct.error
        is_longer = False  # In files beyond 2 GB the chain leads nowhere; the distances hold.
    if not is_longer:
        chained.close()
        return tif
    tif.close()
    return chained


def _opened_with(path: Path, ome: OmeXml) -> TiffFile:
    """Reopen a file with corrected OME-XML."""
    if len(ome.root) == 0:
        return TiffFile(path, is_ome=False)
    text = ET.tostring(ome.root, encoding="unicode")
    # tifffile would follow Micro-Manager's own index to other files of a set by name.
    return TiffFile(path, omexml=text, is_mmstack=False if ome.other_files else None)


def _resolved(tif: TiffFile, path: Path, page_count: int) -> OmeXml | None:
    text = tif.pages.first.description if tif.is_ome else None
    if not text:
        return None

    def pages() -> list[object]:
        return [(page.shape, page.dtype, page.aspage().subfiletype) for page in tif.pages]

    return resolve_ome(path, text, pages, page_count)


class TiffImage:
    """One image of a TIFF file. Made by `open_tiff`.

    Regions are read with NumPy's basic indexing (integers, slices, ``...``) and come
    as new C-contiguous arrays in native byte order. Threads may share an image.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    axes : tuple of Axis
        In OME order ``t c z y x``; line scans without ``y`` are ``c z t x``. Unit and
        step as the file states them.
    dtype : numpy.dtype
        In native byte order.
    channel_names : tuple of str or None
        One per channel, where the file names them.
    source_axes : str
        tifffile's letters for the dimensions in the file.
    series_index, series_count : int
        Number of this image in the file, and the number of images.
    pixels_bounded : bool
        Whether a region can be read without the rest of the image; False only if all pixels are in
        one compressed page.
    held_bytes : int
        Memory needed besides the region while a region is read, such as decoded pages.
    """

    def __init__(
        self,
        tif: TiffFile,
        path: Path,
        series_index: int,
        page_count: int,
        ome: OmeXml | None,
    ) -> None:
        self.path = path
        self.files: tuple[Path, ...] = (path, *(() if ome is None else ome.other_files))
        self._where = str(path)
        self._tif = tif
        self._ome = ome
        self._series = self._chosen(series_index)
        self.series_index = series_index
        self.source_axes: str = self._series.axes
        self._line_scan = None if ome is None else line_scan_of(path)
        self._scanimage = parse_scanimage(self._series.keyframe.description)
        if self._scanimage is not None:
            self._series = self._of_scanimage(self._scanimage)
        self._pixels: PixelSource | None = None
        if ome is not None and ome.missing and None in list(self._series):
            page, names = list(self._series).index(None), ", ".join(ome.missing)
            raise SourceFileError(
                f"page {page} is not there: of the set of files, {names} is missing",
                where=self._where,
                hint="Put the files of the set into one folder.",
            )
        check_image_size(self._series, where=self._where)
        check_stored_bytes(self._series, where=self._where)
        self._plan: AxisPlan = plan_axes(self._series.axes, self._series.shape, where=self._where)
        self._pixels = open_pixels(self._series, where=self._where)
        self.dtype: np.dtype[Any] = self._series.dtype.newbyteorder("=")
        self.pixels_bounded: bool = self._pixels.bounded
        self.held_bytes: int = self._pixels.held_bytes
        image = None if ome is None else ome_image(ome.root, tif, self._series)
        pixels = None if image is None else next(children(image, "Pixels"), None)
        self.axes: tuple[Axis, ...] = self._calibrated(pixels)
        self.channel_names: tuple[str, ...] | None = self._channel_names(pixels)
        stated = self._series.name if image is None else image.get("Name")
        self.name: str | None = stated or None
        self.acquired_local_epoch_ns = None if image is None else acquired_local_epoch_ns(image)
        if self._scanimage is not None:
            self.acquired_local_epoch_ns = self._scanimage.acquired_local_epoch_ns
        if self._line_scan is not None:
            acquired = self._line_scan.acquired_local_epoch_ns(self.acquired_local_epoch_ns)
            self.acquired_local_epoch_ns = acquired
        fits = pixels is not None and self._series.kind in OME_KINDS
        self.frame_times_s = frame_times_s(pixels) if fits and pixels is not None else None
        self.notes: tuple[str, ...] = (
            *self._noted(page_count),
            *self._noted_steps(stated_but_unknown(tif, self._series, pixels)),
        )

    def _chosen(self, index: int) -> TiffPageSeries:
        self._stack_note: str | None = None
        if self._tif.is_imagej and self._ome is None:
            self._stack_note = _take_all_images(self._tif)
        # Some versions of tifffile detect this only when the pages are counted.
        series = list(self._tif.series)
        if not series:
            raise SourceFileError("the TIFF file holds no image", where=self._where, hint=_DAMAGED)
        # TIFF 6.0, NewSubfileType: bit 0 is "a reduced-resolution version of another image".
        full = [each for each in series if not each.keyframe.subfiletype & 1] or series
        self._previews = [each for each in series if each not in full]
        if not 0 <= index < len(full):
            raise ArgumentError(
                f"the file holds {len(full)} images, numbered from 0; there is no {index}",
                where=self._where,
            )
        self.series_count = len(full)
        return full[index]

    def _of_scanimage(self, header: ScanImageHeader) -> TiffPageSeries:
        """Return the series with the axes that ScanImage's header says."""
        series = self._series
        axes, shape = arranged(header, series.axes, series.shape)
        if axes == series.axes:
            return series
        return TiffPageSeries(
            list(series), shape, series.dtype, axes, parent=self._tif, name=series.name,
            kind=series.kind,
        )  # fmt: skip

    def _calibrated(self, pixels: ET.Element | None) -> tuple[Axis, ...]:
        scales = scales_of(self._tif, self._series, pixels)
        if self._scanimage is not None:
            period, step = self._scanimage.frame_period_s, self._scanimage.z_step_um
            if period is not None:
                scales["T"] = AxisScale("time", "second", period)
            if step is not None:
                scales["Z"] = AxisScale("space", "micrometer", step)
            lines = self._scanimage.line_period_s
            if lines is not None:
                scales["Y"] = AxisScale("time", "second", lines)
        axes = []
        for index, name in enumerate(self._plan.names):
            scale = scales.get(self._plan.letter(index))
            quantity = QUANTITY_OF_NAME[name]
            if scale is None or (name == "t" and scale.quantity != "time"):
                axes.append(Axis(name, quantity))
            else:
                # A y axis in seconds is the time axis of a kymograph.
                axes.append(Axis(name, scale.quantity, scale.unit, scale.step))
        scan = self._line_scan
        if scan is not None:
            true = {"y": Axis("y", "time", "second", scan.period_s)}
            if scan.pixel_um:
                true["x"] = Axis("x", "space", "micrometer", scan.pixel_um)
            axes = [true.get(axis.name, axis) for axis in axes]
        return tuple(axes)

    def _channel_names(self, pixels: ET.Element | None) -> tuple[str, ...] | None:
        if "c" not in self._plan.names:
            return None
        count = self._plan.shape[self._plan.names.index("c")]
        if self._scanimage is not None and len(self._scanimage.channels) == count:
            return tuple(self._scanimage.channels)
        return channel_names_of(self._tif, self._series, pixels, count)

    def _noted(self, page_count: int) -> Iterator[str]:
        """Yield notes on content that is not in the image or was not understood."""
        unread = None if self._ome is None else not_understood(self.path)
        if unread is not None:
            yield unread
        if self._scanimage is None and self._tif.pages.first.is_scanimage:
            yield (
                "ScanImage wrote it in a form that is not understood: its pages are taken as they "
                "are, without channels and times"
            )
        if self._ome is not None:
            yield from self._ome.notes
            if self._ome.missing and self._ome.other_files:
                names = ", ".join(self._ome.missing)
                yield f"of the set of files that it belongs to, {names} is not there"
            if self._series.kind not in OME_KINDS and not self._ome.notes:
                sized = "" if self.axes[-1].step is None else ", of which the pixel size was taken"
                yield f"its OME-XML does not fit its pages, which are taken as they are{sized}"
        elif self._stack_note is not None:
            yield self._stack_note
        elif self._tif.is_imagej and self._series.kind in _NOT_ARRANGED:
            yield "its description by ImageJ does not fit its pages, which are taken as they are"
        for preview in self._previews:
            size = " x ".join(str(n) for n in preview.shape)
            yield f"a preview of {size} pixels was left out"
        if self._series.kind in _ARRANGED and not (self._ome and self._ome.notes):
            used = sum(
                len(level)
                for each in self._tif.series
                for level in each.levels[: None if each in self._previews else 1]
            )
            if used < page_count and not self._series.is_multifile:
                yield (
                    f"{page_count - used} of its {page_count} pages are in no image that its "
                    "metadata describe, and were left out"
                )
        if self.frame_times_s is not None:
            yield from self._noted_times(self.frame_times_s)

    def _noted_steps(self, stated: Mapping[str, str]) -> Iterator[str]:
        """Yield a note on steps of axes that the file states and that the image does not have."""
        lost = [
            f"{axis.name} {stated[letter]}"
            for index, axis in enumerate(self.axes)
            if axis.step is None and (letter := self._plan.letter(index)) in stated
        ]
        if lost:
            yield f"its sampling is not understood and was left out: {', '.join(lost)}"

    def _noted_times(self, times: tuple[float, ...]) -> Iterator[str]:
        even, axis = even_step(times), next((a for a in self.axes if a.name == "t"), None)
        if axis is None:
            return
        if even is None:
            gaps = [after - before for before, after in pairwise(times)]
            usual = statistics.median(gaps)
            yield (
                f"its frames are not evenly spaced ({min(gaps):g} to {max(gaps):g} s, {usual:g} s "
                "in the middle): rec.times_s() gives the time of each"
            )
        elif axis.unit == "second" and axis.step and abs(axis.step - even) > 0.01 * even:
            yield (
                f"its time increment is {axis.step:g} s, the times of its planes are {even:g} s "
                "apart; the first was taken"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._plan.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._plan.names)

    @cached_property
    def description(self) -> dict[str, object]:
        """All metadata of the file, JSON-able (floats may be NaN)."""
        self._open_pixels()
        try:
            with without_messages():
                described = describe(self._tif, self._series)
        except Exception as exc:
            raise _unreadable(exc, self._where) from exc
        if self._ome is not None:
            described["ome_xml"] = self._ome.text
        if len(self.files) > 1:
            described["files"] = [path.name for path in self.files]
        if self.frame_times_s is not None:
            described["frame_times_s"] = list(self.frame_times_s)
        if self._scanimage is not None:
            described["scanimage"] = dict(self._scanimage.entries)
        if self._line_scan is not None:
            described["line_scan"] = self._line_scan.described()
        described["series_count"] = self.series_count
        return described

    def skeleton(self, channel: tuple[int, int] | None = None) -> TiffSkeleton | None:
        """Return the file's skeleton; None unless its pixels are stored uncompressed and in order.

        Parameters
        ----------
        channel : (int, int), optional
            Axis and index, for a file that is one channel of an image.
        """
        self._open_pixels()
        try:
            with without_messages():
                return skeleton_of(self._tif, self._series, self._plan, channel)
        except Exception as exc:
            raise _unreadable(exc, self._where) from exc

    def hold(self, size: int) -> memoryview | None:
        """Read the whole file into memory, if its pixels are stored contiguously.

        Until :meth:`let_go`, regions are served from memory, as read-only views where possible.

        Parameters
        ----------
        size : int
            Expected size of the file.

        Returns
        -------
        memoryview or None
            The content of the file; None if it was not read or has another size.
        """
        pixels = self._open_pixels()
        # A file of a set may have its pixels in another file.
        if not isinstance(pixels, StoredPixels) or self._series.keyframe.parent is not self._tif:
            return None
        return pixels.hold(size)

    def let_go(self) -> None:
        """Read regions from the file again, each as a new array."""
        pixels = self._open_pixels()
        if isinstance(pixels, StoredPixels):
            pixels.let_go()

    def __getitem__(self, key: Any, /) -> npt.NDArray[Any]:
        """Read a region.

        Parameters
        ----------
        key : int, slice, Ellipsis or tuple of them
            NumPy's basic indexing.

        Returns
        -------
        numpy.ndarray
            A new array, 0-dimensional if `key` selects a single pixel.

        Raises
        ------
        IndexError
            Out of range, or too many indices.
        SourceFileError
            Stored pixels cannot be decoded.
        """
        pixels = self._open_pixels()
        wanted, integers = selection_of(key, self.shape)
        if all(wanted):
            with without_messages():
                region = self._read(pixels, wanted)
        else:
            region = np.empty(tuple(len(r) for r in wanted), self.dtype)
        remaining = tuple(0 if axis in integers else slice(None) for axis in range(self.ndim))
        return region[(*remaining, ...)]  # the ellipsis keeps a single pixel an array

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        """Read everything."""
        if copy is False:
            raise ArgumentError("pixels of a file cannot become an array without a copy")
        return self[...].astype(self.dtype if dtype is None else dtype, copy=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        names = "".join(axis.name for axis in self.axes)
        return f"<TiffImage {self.path.name!r} {names} {self.shape} {self.dtype}>"

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._pixels = None
        self._tif.close()

    def _open_pixels(self) -> PixelSource:
        if self._pixels is None:
            raise ArgumentError(
                "the TIFF file is closed", where=self._where, hint="Open it again with open_tiff."
            )
        return self._pixels

    def _read(self, pixels: PixelSource, wanted: tuple[range, ...]) -> npt.NDArray[Any]:
        """Read a box in the file's order of dimensions into an array in the order of the axes."""
        source = [range(1)] * len(self._plan.source_shape)
        rest: list[slice | npt.NDArray[np.intp]] = []
        for dims, indices in zip(self._plan.dims, wanted, strict=True):
            if len(dims) == 1:
                source[dims[0]] = indices if indices.step > 0 else indices[::-1]
                rest.append(slice(None, None, 1 if indices.step > 0 else -1))
            else:
                outer, inner = dims
                samples = self._plan.source_shape[inner]
                first = min(indices) // samples
                source[outer] = range(first, max(indices) // samples + 1)
                source[inner] = range(samples)
                rest.append(np.asarray(indices, dtype=np.intp) - first * samples)
        order = [d for dims in self._plan.dims for d in dims]
        order += [d for d in range(len(source)) if d not in order]
        held = pixels.view(source) if isinstance(pixels, StoredPixels) else None
        if held is None:
            flat = np.empty(tuple(len(source[d]) for d in order), self.dtype)
            pixels.read_into(source, flat.transpose(np.argsort(order)))
        else:
            flat = np.ascontiguousarray(held.transpose(order), self.dtype)
        lengths = [
            len(source[dims[0]]) * (len(source[dims[1]]) if len(dims) == 2 else 1)
            for dims in self._plan.dims
        ]
        # At most one entry is an array, so this never broadcasts.
        return np.ascontiguousarray(flat.reshape(lengths)[tuple(rest)])


def _take_all_images(tif: TiffFile) -> str | None:
    """Make tifffile read all images of a stack whose sizes are not stated, or do not fit.

    ImageJ (ij.io.FileOpener, TiffDecoder) reads ``images`` planes; without sizes of a hyperstack
    that fit them, they are slices.

    Returns
    -------
    str or None
        A note if there are sizes that do not fit.
    """
    meta = tif.imagej_metadata or {}
    images, *sizes = (meta.get(key, 1) for key in ("images", *_SIZES))
    if not all(isinstance(n, int) for n in (images, *sizes)) or images <= 1 or min(sizes) < 1:
        return None
    # Some programs count the samples of each plane as channels.
    if math.prod(sizes) in (images, images * tif.pages.first.samplesperpixel):
        return None
    meta.update({"channels": 1, "slices": images, "frames": 1})
    if max(sizes) == 1:
        return None
    stated = ", ".join(f"{n} {key}" for key, n in zip(_SIZES, sizes, strict=True) if n > 1)
    return f"its description states {stated} and {images} images: all are taken, as slices"


def _unreadable(exc: Exception, where: str) -> SourceFileError:
    return SourceFileError(
        f"the file cannot be read as TIFF: {type(exc).__name__}: {exc}",
        where=where,
        hint=_DAMAGED,
    )
