"""Where the dataset's methods reach the rooms below this one.

`OpenDataset.ingest_tiff()` is the obvious call, but the ingest room builds on the dataset and
not the other way round. So this room says what it expects of each, as a Protocol, and finds
the room by name when a method is called: nothing here imports from below, and a program that
never ingests never loads tifffile.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from kymflow_zarr.types import ExportLayout, Progress, RefreshMode, StrPath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.engine.images.draft import RecordDraft
    from kymflow_zarr.engine.record import StoredImage
    from kymflow_zarr.engine.reports import (
        ExportReport,
        IngestReport,
        Problem,
        RefreshResult,
        ValidationReport,
    )
    from kymflow_zarr.engine.verify_reports import RepairReport, VerifyLevel, VerifyReport
    from kymflow_zarr.schema.image import SourceFileDocument


class IngestRoom(Protocol):
    """What `kymflow_zarr.ingest` offers."""

    def ingest_tiff(
        self,
        dataset: OpenDataset,
        path: StrPath,
        *,
        series: int,
        include_sidecars: bool,
        image_id: str | None,
        verify: bool,
    ) -> StoredImage:
        """Add the image of a TIFF file."""

    def ingest_folder(
        self,
        dataset: OpenDataset,
        folder: StrPath,
        *,
        pattern: str,
        include_sidecars: bool,
        verify: bool,
        progress: Progress | None,
        executor: Executor | None,
    ) -> IngestReport:
        """Add the images of a folder."""

    def refresh_folder(
        self,
        dataset: OpenDataset,
        folder: StrPath,
        *,
        pattern: str,
        mode: RefreshMode,
        include_sidecars: bool,
        dry_run: bool,
        overwrite_edits: bool,
        progress: Progress | None,
        executor: Executor | None,
    ) -> RefreshResult:
        """Bring the images of a folder up to date."""

    def ingest_object(
        self, dataset: OpenDataset, source: object, *, image_id: str | None
    ) -> StoredImage:
        """Add the image that another program's object holds."""

    def rebuild_image(self, draft: RecordDraft, files: Sequence[SourceFileDocument]) -> None:
        """Write what an image was made of, from its source files, into a draft once more."""


class ExportRoom(Protocol):
    """What `kymflow_zarr.export` offers."""

    def export_folder(
        self,
        dataset: OpenDataset,
        folder: StrPath,
        *,
        include_tiff: bool,
        include_tables: bool,
        layout: ExportLayout,
        progress: Progress | None,
        executor: Executor | None,
    ) -> ExportReport:
        """Write the dataset as a folder of ordinary files."""

    def export_tiff(self, record: StoredImage, path: StrPath) -> None:
        """Write one image as a TIFF file."""


class CheckRoom(Protocol):
    """What `kymflow_zarr.check` offers."""

    def validate_dataset(
        self, dataset: OpenDataset, *, progress: Progress | None, executor: Executor | None
    ) -> ValidationReport:
        """Hold every document against the format."""

    def validate_image(self, dataset: OpenDataset, image_id: str) -> tuple[Problem, ...]:
        """Hold the documents of one image against the format."""

    def verify_dataset(
        self,
        dataset: OpenDataset,
        *,
        level: VerifyLevel,
        progress: Progress | None,
        executor: Executor | None,
    ) -> VerifyReport:
        """Hold every file against its checksum."""

    def verify_image(
        self, root: Path, image_id: str, *, level: VerifyLevel, executor: Executor | None
    ) -> VerifyReport:
        """Hold the files of one image against their checksums."""

    def repair_dataset(
        self,
        dataset: OpenDataset,
        *,
        dry_run: bool,
        progress: Progress | None,
        executor: Executor | None,
    ) -> RepairReport:
        """Mend what can be mended, and put aside what cannot."""


class AdapterRoom(Protocol):
    """What `kymflow_zarr.adapters` offers."""

    def load_metadata_objects(self, record: StoredImage) -> tuple[Any, Any, Any]:
        """Return header, experiment metadata and ROIs as objects of `kymflow`."""


class Viewer(Protocol):
    """A page that is being served; leaving a ``with`` block ends it."""

    @property
    def url(self) -> str:
        """Address of the page, with the token where one is needed."""

    def address_of(self, image_id: str) -> str:
        """Return the address of the page of an image."""

    def ome_zarr_url(self, image_id: str) -> str:
        """Return the address at which other viewers open an image as OME-Zarr."""

    def wait(self) -> None:
        """Return when the server has ended."""

    def close(self) -> None:
        """End the server, and what is asked of it first; a second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class ViewerRoom(Protocol):
    """What `kymflow_zarr.viewer` offers."""

    def dataset_html(self, dataset: OpenDataset, count_rows: Callable[[str], int]) -> str:
        """Return a dataset as HTML."""

    def record_html(self, record: StoredImage) -> str:
        """Return an image as HTML."""

    def report_html(self, report: IngestReport) -> str:
        """Return a report as HTML."""

    def plot(
        self,
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
        """Draw one plane of an image."""

    def plot_events(
        self,
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
        """Draw a kymograph with its velocity and events."""

    def to_xarray(self, record: StoredImage) -> xr.DataArray:
        """Return an image as an xarray.DataArray."""

    def thumbnail_png(self, record: StoredImage, size: int) -> bytes:
        """Return a small picture of an image as PNG."""

    def view(
        self,
        dataset: OpenDataset,
        *,
        host: str,
        port: int,
        edit: bool,
        who: str | None,
        token: str | None,
        open_browser: bool,
    ) -> Viewer:
        """Serve a page that shows a dataset."""


def ingest() -> IngestRoom:
    """Return the ingest room."""
    return cast(IngestRoom, import_module("kymflow_zarr.ingest"))


def export() -> ExportRoom:
    """Return the export room."""
    return cast(ExportRoom, import_module("kymflow_zarr.export"))


def check() -> CheckRoom:
    """Return the check room."""
    return cast(CheckRoom, import_module("kymflow_zarr.check"))


def adapters() -> AdapterRoom:
    """Return the adapter room."""
    return cast(AdapterRoom, import_module("kymflow_zarr.adapters"))


def viewer() -> ViewerRoom:
    """Return the viewer room."""
    return cast(ViewerRoom, import_module("kymflow_zarr.viewer"))
