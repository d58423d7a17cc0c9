"""A dataset as a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kymflow_zarr._core import ExportReport, ZarrDataset
from kymflow_zarr._core._documents import utc_now
from kymflow_zarr._storage import LocalStorage
from kymflow_zarr._types import Progress, StrPath
from kymflow_zarr.errors import ArgumentError, KymflowZarrError
from kymflow_zarr.export._image import ImagePlan, TablePlan
from kymflow_zarr.export._manifest import manifest_bytes
from kymflow_zarr.export._places import MANIFEST, WORK
from kymflow_zarr.export._target import ExportTarget

__all__ = ["export_folder"]


def export_folder(
    dataset: ZarrDataset,
    folder: StrPath,
    *,
    include_tiff: bool = True,
    include_tables: bool = True,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a dataset as a folder of ordinary files.

    ========================================== =============================================
    file                                       holds
    ========================================== =============================================
    ``images/<id>/image.tif``                  pixels: ImageJ TIFF where ImageJ has such
                                               pixels (uint8, uint16, int16, float32, below
                                               4 GB); else OME-TIFF; else a plain TIFF with
                                               ImageJ's description. Equal in value and dtype
                                               through ``tifffile.imread``, dimensions in the
                                               order ``TZCYX``, those of length 1 left out.
                                               ``image.npy`` for an image of no pixels
    ``images/<id>/metadata.json``              the metadata payload
    ``images/<id>/<name>.json``                a JSON artifact, byte by byte
    ``images/<id>/<name>.csv``                 a data frame
    ``images/<id>/<name>.parquet``, ``.csv.gz`` beside the CSV, byte by byte as in the
                                               dataset, where ``pandas.read_csv`` of the CSV
                                               would not give back an equal frame
    ``images/<id>/array_artifacts/<name>.npy`` an array artifact
    ``tables/<name>.csv``, ``.parquet``        a table, as a data frame
    ``kymflow_zarr_export.json``               everything else that is known, and which file
                                               is what: the dataset can be rebuilt from it
    ========================================== =============================================

    Names are spelled as in the dataset; one that nests with ``/`` is a folder. Where a Parquet
    and a gzip CSV artifact have the same name, ``<name>.csv`` is the first and
    ``<name>.csv.gz`` the second.

    Files take their places one by one, complete. After a crash, a cancellation or an error a
    second call goes on where the first stopped; files that would not change are not written.

    Parameters
    ----------
    dataset : ZarrDataset
        May be read-only.
    folder : str or Path
        It is created if it is not there. Files of an earlier export of this dataset are
        replaced; stale ones, and the folders they leave empty, are removed, unless somebody
        has changed them since. Everything else in it stays as it is.
    include_tiff, include_tables : bool
        What is left out is not part of the export: TIFFs or tables of an earlier export to
        the same folder are stale and go.
    progress : callable, optional
        Called as ``progress(done, total, label)`` after each image and table.

    Returns
    -------
    ExportReport

    Raises
    ------
    TargetExistsError
        If a file, folder or link of somebody else is in the way, an exported file that was
        changed since included (a FileExistsError); nothing is written.
    ArgumentError
        If the folder lies in the dataset, or the dataset where files would go.
    CorruptDataError
        If something in the dataset cannot be read; names the image or table. What was
        written before stays.
    LockTimeoutError
        If another export is writing to the folder.
    """
    root, home = Path(folder).resolve(), dataset.path.resolve()
    if root.is_relative_to(home):
        raise ArgumentError(
            "a dataset cannot be exported into itself",
            where=str(root),
            hint="Choose a folder outside of it.",
        )
    storage = LocalStorage(dataset.path, writable=False)
    images = [ImagePlan(storage, record, include_tiff) for record in dataset.iter_records()]
    names = dataset.list_table_names() if include_tables else []
    tables = [TablePlan(storage, name) for name in names]
    plans: list[ImagePlan | TablePlan] = [*images, *tables]
    paths = [path for plan in plans for path in plan.paths]
    _keep_off(home, root, [*paths, WORK])

    target = ExportTarget(root, dataset.dataset_id, untouchable=home)
    target.check(paths)
    described_images: dict[str, Any] = {}
    described_tables: list[dict[str, Any]] = []
    with target:
        for done, plan in enumerate(plans, start=1):
            try:
                described = plan.write(target)
            except KymflowZarrError as error:
                # The operating system's own error stays the cause.
                raise _naming(plan.what, error) from error.__cause__ or error
            if isinstance(plan, ImagePlan):
                described_images[plan.record.image_id] = described
            else:
                described_tables.append(described)
            if progress is not None:
                progress(done, len(plans), plan.label)
        removed, kept = target.remove_stale()
        target.finish(
            manifest_bytes(
                dataset_id=dataset.dataset_id,
                exported_utc=utc_now(),
                files=target.written,
                images=described_images,
                tables=described_tables,
            )
        )
    files = sorted([*target.written, MANIFEST])
    return ExportReport(str(root), tuple(files), tuple(removed), tuple(kept))


def _keep_off(home: Path, root: Path, paths: Iterable[str]) -> None:
    if not home.is_relative_to(root):
        return
    below = home.relative_to(root).as_posix()
    for path in paths:
        if f"{path}/".startswith(f"{below}/") or f"{below}/".startswith(f"{path}/"):
            raise ArgumentError(
                f"the dataset lies where its export would write {path}",
                where=str(home),
                hint="Choose another folder.",
            )


def _naming(what: str, error: KymflowZarrError) -> KymflowZarrError:
    return type(error)(
        f"{what} cannot be exported: {error.what}", where=error.where, hint=error.hint
    )
