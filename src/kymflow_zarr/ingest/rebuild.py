"""Make an image of its source files once more, uncommitted, to take lost files from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from kymflow_zarr.engine.images.draft import RecordDraft
from kymflow_zarr.errors import SourceNotFoundError
from kymflow_zarr.ingest.folder.convention import plan_folder
from kymflow_zarr.ingest.folder.scan import Found, sha256_of_file
from kymflow_zarr.ingest.recipe import open_acquisition, save_artifact
from kymflow_zarr.schema.image import SourceFileDocument


def rebuild_image(draft: RecordDraft, files: Sequence[SourceFileDocument]) -> None:
    """Write pixels, artifacts and source files into a draft, as ingest of the files would.

    Parameters
    ----------
    draft : RecordDraft
        Stays uncommitted.
    files : sequence of SourceFileDocument
        Of the image. Those that are gone or have changed are left out.

    Raises
    ------
    SourceNotFoundError
        If one of the TIFFs is gone or has changed.
    KymflowZarrError
        If they cannot be read.
    """
    images = [file for file in files if file.role in ("image", "member")]
    there = list(_unchanged(files))
    wanted = {file.rel_path for file in images}
    if not images or not wanted <= {found.rel_path for found in there}:
        raise SourceNotFoundError("the source files are not there as they were")
    plan = plan_folder(there, lambda found: found.rel_path in wanted, include_sidecars=True)
    with open_acquisition(plan.acquisitions[0], images[0].series) as source:
        source.stage_pixels(draft)
        source.stage_artifacts(draft, partial(save_artifact, draft))


def _unchanged(files: Sequence[SourceFileDocument]) -> Iterator[Found]:
    for file in sorted(files, key=lambda f: f.rel_path):
        path = Path(file.path)
        try:
            # The size first: a document may name a device that never ends.
            same = path.is_file() and path.stat().st_size == file.size_bytes
            if same and sha256_of_file(path) == file.sha256:
                # The time as the artifacts have it.
                yield Found(str(path), file.rel_path, file.size_bytes, file.mtime_ns)
        except OSError:
            continue
