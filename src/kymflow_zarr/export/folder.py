"""Export a dataset to a folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from kymflow_zarr.engine.addresses import is_address
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import utc_now
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.export.dataset_layout.places import MANIFEST, WORK
from kymflow_zarr.export.dataset_layout.plan import ExportPlan
from kymflow_zarr.export.manifest import manifest_bytes
from kymflow_zarr.export.report import ExportReport
from kymflow_zarr.export.target import ManifestTarget
from kymflow_zarr.types import ExportLayout, Progress, StrPath

__all__ = ["export_folder"]


def export_folder(
    dataset: OpenDataset,
    folder: StrPath,
    *,
    include_tiff: bool = True,
    include_tables: bool = True,
    layout: ExportLayout = "dataset",
    image_ids: Collection[str] | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> ExportReport:
    """Write a dataset as a folder of ordinary files.

    With the layout ``"dataset"``:

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
    ``images/<id>/source_files/<rel_path>``    a file the image was made of, byte by byte, where
                                               the dataset keeps it
    ``tables/<name>.csv``, ``.parquet``        a table, as a data frame
    ``source_files/<rel_path>``                a kept file that belongs to no single image
    ``kymflow_zarr_export.json``               everything else that is known, and which file
                                               is what: the dataset can be rebuilt from it
    ========================================== =============================================

    Names are spelled as in the dataset; one that nests with ``/`` is a folder. Where a Parquet
    and a gzip CSV artifact have the same name, ``<name>.csv`` is the first and
    ``<name>.csv.gz`` the second.

    Each file is published atomically. After a crash, a cancellation or an error a second call
    resumes the export; unchanged files are not written again. Unreadable parts do not stop the
    rest: the report names them, and their files of an earlier export stay.

    The layout ``"kymflow"`` restores the folders that the dataset was ingested from: the same files
    at the same paths, byte for byte unless they were edited since; ``differences`` of the report
    lists all other files. Nothing in the target is overwritten or removed, and nothing else is
    written to it. The layout ``"acqstore"`` does the same, and writes the sidecar
    ``<file>.<ext>.json`` of acqstore beside each image that has none.

    Parameters
    ----------
    dataset : OpenDataset
        May be read-only.
    folder : str or Path
        It is created if missing. Files of an earlier export of this dataset are replaced; stale
        ones, and the folders they leave empty, are removed unless they were changed since.
        Everything else in it is left unchanged.
    include_tiff, include_tables : bool
        Excluded files are not part of the export: TIFFs or tables of an earlier export to the same
        folder are stale and are removed.
    layout : {"dataset", "kymflow", "acqstore"}
    image_ids : collection of str, optional
        These images only, and tables whole. Files of other images from an earlier export to the
        same folder are stale and are removed.
    progress : callable, optional
        Called as ``progress(done, total, label)`` after each image, table and source file.
    executor : concurrent.futures.Executor, optional
        Writes the files; threads if left out.

    Returns
    -------
    ExportReport

    Raises
    ------
    TargetExistsError
        If a foreign file, folder or link, or an exported file that was changed since, is in the way
        (a FileExistsError); nothing is written.
    ArgumentError
        If the folder lies in the dataset, or the dataset where files would go, or the layout is
        unknown.
    RecordNotFoundError
        If there is no image of one of the ids; nothing is written.
    DatasetNotFoundError
        If the dataset's folder does not exist (a FileNotFoundError), or disappears during the
        export; nothing is removed.
    StorageError
        If the folder cannot be written to (an OSError). Files already written stay.
    LockTimeoutError
        If another export is writing to the folder.
    """
    root = Path(folder).resolve()
    home = None if is_address(dataset.location) else dataset.path.resolve()
    if home is not None and root.is_relative_to(home):
        raise ArgumentError(
            "a dataset cannot be exported into itself",
            where=str(root),
            hint="Choose a folder outside of it.",
        )
    if layout not in get_args(ExportLayout):
        known = ", ".join(map(repr, get_args(ExportLayout)))
        raise ArgumentError(f"the layout {layout!r} is not one of {known}", where="layout")
    records = [
        record
        for record in dataset.iter_records()
        if image_ids is None or record.image_id in image_ids
    ]
    for image_id in {*(image_ids or ())} - {record.image_id for record in records}:
        dataset.record(image_id)  # Its error names similar ids.
    if layout != "dataset":
        from kymflow_zarr.export.lab_layout.tree import export_tree

        return export_tree(
            dataset,
            records,
            root,
            lambda paths: _keep_off(home, root, [*paths, WORK]),
            acqstore=layout == "acqstore",
            include_tiff=include_tiff,
            include_tables=include_tables,
            progress=progress,
            executor=executor,
        )
    plan = ExportPlan(dataset, records, include_tiff=include_tiff, include_tables=include_tables)
    _keep_off(home, root, [*plan.paths, WORK])
    target = ManifestTarget(root, dataset.dataset_id, untouchable=home)
    target.check(plan.paths)
    with target:
        plan.write(target, progress, executor)
        # Check that the dataset exists before deleting stale files: an unmounted one looks empty.
        plan.require_dataset()
        removed, left_alone = target.remove_stale()
        failed = [asdict(failure) for failure in plan.failed]
        target.finish(
            manifest_bytes(
                target.earlier,
                dataset_id=dataset.dataset_id,
                exported_utc=utc_now(),
                files=target.files,
                failed=failed,
                **plan.described,
            )
        )
    return ExportReport(
        str(root),
        tuple(sorted([*target.files, MANIFEST])),
        tuple(removed),
        tuple(left_alone),
        tuple(sorted(target.written)),
        tuple(plan.failed),
    )


def _keep_off(home: Path | None, root: Path, paths: Iterable[str]) -> None:
    if home is None or not home.is_relative_to(root):
        return
    below = home.relative_to(root).as_posix()
    for path in paths:
        if f"{path}/".startswith(f"{below}/") or f"{below}/".startswith(f"{path}/"):
            raise ArgumentError(
                f"the dataset lies where its export would write {path}",
                where=str(home),
                hint="Choose another folder.",
            )
