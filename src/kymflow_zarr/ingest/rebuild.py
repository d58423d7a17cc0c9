"""Make an image of its source files once more, out of sight, to take lost files from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kymflow_zarr.engine.images.draft import RecordDraft
from kymflow_zarr.errors import SourceNotFoundError
from kymflow_zarr.ingest.digest import sha256_of_file
from kymflow_zarr.ingest.folder.convention import plan_folder
from kymflow_zarr.ingest.folder.scan import Found
from kymflow_zarr.ingest.image import (
    attached_files,
    axes_of,
    channel_names_of,
    image_file,
    image_parts,
    save_part,
    save_parts,
)
from kymflow_zarr.ingest.sidecars.artifacts import feeds_of, read_contents
from kymflow_zarr.ingest.sources.channels import ChannelStack
from kymflow_zarr.schema.image import SourceFileDocument

__all__ = ["restage"]


def restage(draft: RecordDraft, files: Sequence[SourceFileDocument]) -> None:
    """Write pixels, artifacts and kept files into a draft, as ingest of the files would.

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
    images = [file for file in files if file.role == "image"]
    there = list(_unchanged(files))
    wanted = {file.rel_path for file in images}
    if not images or not wanted <= {found.rel_path for found in there}:
        raise SourceNotFoundError("the source files are not there as they were")
    plan = plan_folder(there, lambda found: found.rel_path in wanted, include_sidecars=True)
    acquisition = plan.acquisitions[0]
    contents = read_contents(acquisition)
    series = images[0].series
    with ChannelStack(acquisition.images, series) as stack:
        axes = axes_of(stack, contents)
        draft.set_pixels(stack, axes=axes, channel_names=channel_names_of(stack, contents))
        documents = [image_file(found, series) for found in acquisition.images]
        stack.keep_skeletons(draft, documents)
        saved = [
            (part, *save_part(draft, part))
            for part in image_parts(stack, contents, axes, documents)
        ]
        saved += save_parts(draft, contents, {key for _, key, _ in saved})
        attached_files(acquisition, contents, feeds_of(saved), draft)


def _unchanged(files: Iterable[SourceFileDocument]) -> Iterable[Found]:
    for file in sorted(files, key=lambda f: f.rel_path):
        path = Path(file.path)
        try:
            # The size first: a document may name a device that never ends.
            same = path.is_file() and path.stat().st_size == file.size_bytes
            if same and sha256_of_file(path) == file.sha256:
                # Of then, as the artifacts have it.
                yield Found(path, file.rel_path, file.size_bytes, file.mtime_ns)
        except OSError:
            continue
