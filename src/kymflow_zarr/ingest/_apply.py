"""Bring an image up to what its files are now."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from kymflow_zarr._core import RecordUpdate, ZarrDataset
from kymflow_zarr._layout import array_artifact_prefix, artifact_key
from kymflow_zarr._schema import SourceFileDocument
from kymflow_zarr.ingest._channels import ChannelStack
from kymflow_zarr.ingest._convention import Acquisition
from kymflow_zarr.ingest._image import (
    attached_files,
    axes_of,
    channel_names_of,
    image_file,
    image_parts,
    key_of,
    require_settled,
    save_part,
)
from kymflow_zarr.ingest._known import KnownImage
from kymflow_zarr.ingest._parts import (
    HEADER_ARTIFACT,
    METADATA_ARTIFACT,
    TIFF_ARTIFACT,
    Contents,
    feeds_of,
    read_contents,
)

# What files say, not what was made from pixels.
_OF_THE_FILE = frozenset(
    artifact_key("json", name)
    for name in ("metadata", "provenance", TIFF_ARTIFACT, HEADER_ARTIFACT, METADATA_ARTIFACT)
)


def update_image(
    dataset: ZarrDataset,
    acquisition: Acquisition,
    known: KnownImage,
    *,
    changed: Collection[str],
    pixels: bool,
    overwrite_edits: bool,
) -> tuple[str, ...]:
    """Update an image from its files, in place.

    Parameters
    ----------
    dataset : ZarrDataset
    acquisition : Acquisition
    known : KnownImage
    changed : collection of str
        ``rel_path`` of the files that have changed: only what they feed is made anew.
    pixels : bool
        Whether the TIFF is among them.
    overwrite_edits : bool
        Whether artifacts that were edited in the dataset are made anew all the same.

    Returns
    -------
    tuple of str
        Conflicts with what a user has edited, and what could not be read.
    """
    contents = read_contents(acquisition)
    series = known.file.series
    with (
        ChannelStack(acquisition.images, series) as stack,
        dataset.update_record(known.image_id) as update,
    ):
        made = _made(update)
        axes = axes_of(stack, contents)
        images = [image_file(found, series) for found in acquisition.images]
        parts = [*contents.parts, *image_parts(stack, contents, axes, images)]
        saved = []
        anew = set()
        here = {found.rel_path for found in _founds(acquisition)}

        def feeders(key: str) -> set[str]:
            # Made of a file that is not here now, it would be made anew without it.
            files = update.document.source_files
            return {file.rel_path for file in files if key in file.feeds}

        for part in parts:
            key = key_of(part)
            untouched = not set(part.made_of) & set(changed) or not feeders(key) <= here
            if made.get(key) and untouched:
                saved.append((part, key, made[key]))
            elif not overwrite_edits and _is_edited(update, key, made):
                contents.notes.append(f"{part.name} was edited in the dataset and left as it is")
                saved.append((part, key, made.get(key, "")))
            else:
                saved.append((part, *save_part(update, part)))
                anew.add(key)
        feeds = feeds_of(saved)
        for image in images:
            image.feeds = feeds.get(image.rel_path, {})
        files = [*images, *attached_files(acquisition, contents, feeds, update)]
        files += _gone(update, files, contents)
        require_settled([*acquisition.images, *(a.found for a in acquisition.attached)])
        if pixels:
            update.commit_pixels(
                stack,
                files,
                axes=axes,
                channel_names=channel_names_of(stack, contents),
                of_earlier_pixels=_earlier(dataset, update, known.image_id, anew),
            )
        else:
            update.commit(files)
    return tuple(contents.notes)


def move_image(dataset: ZarrDataset, acquisition: Acquisition, known: KnownImage) -> None:
    """Let an image know where its files are now."""
    with dataset.update_record(known.image_id) as update:
        by_name = {_relative(acquisition, f.rel_path): f for f in _founds(acquisition)}
        old = str(PurePosixPath(known.file.rel_path).parent)
        prefix = "" if old == "." else f"{old}/"
        files = []
        for file in update.document.source_files:
            found = by_name.get(file.rel_path.removeprefix(prefix))
            if file.role == "image" and found is None:
                found = acquisition.primary  # Renamed.
            if found is not None:
                file.path, file.rel_path = str(found.path), found.rel_path
                file.mtime_ns = found.mtime_ns
            files.append(file)
        update.commit(files)


def note_times(dataset: ZarrDataset, acquisition: Acquisition, known: KnownImage) -> None:
    """Remember the new times of files whose content is the same, so that nobody asks again."""
    times = {str(found.path): found.mtime_ns for found in _founds(acquisition)}
    with dataset.update_record(known.image_id) as update:
        for file in update.document.source_files:
            file.mtime_ns = times.get(file.path, file.mtime_ns)
            file.gone = file.gone and file.path not in times
        update.commit(update.document.source_files)


def _founds(acquisition: Acquisition) -> list[Any]:
    return [*acquisition.images, *(attached.found for attached in acquisition.attached)]


def _relative(acquisition: Acquisition, rel_path: str) -> str:
    folder = str(PurePosixPath(acquisition.primary.rel_path).parent)
    return rel_path if folder == "." else rel_path.removeprefix(f"{folder}/")


def _made(update: RecordUpdate) -> dict[str, str]:
    made: dict[str, str] = {}
    for file in update.document.source_files:
        made |= file.feeds
    return made


def _is_edited(update: RecordUpdate, key: str, made: dict[str, str]) -> bool:
    """Tell whether an artifact is a user's: changed, deleted or made since the ingest."""
    return (key in made or update.digest_of(key) is not None) and update.is_edited(key, made)


def _gone(
    update: RecordUpdate, files: list[SourceFileDocument], contents: Contents
) -> list[SourceFileDocument]:
    """Return the documents of files that are not there any more: what they fed stays."""
    here = {file.path for file in files}
    others = []
    for file in update.document.source_files:
        if file.path in here or file.role == "image":
            continue
        if not file.gone and not Path(file.path).exists():
            file.gone = True
            contents.notes.append(f"{file.rel_path} is gone; what was made of it stays")
        others.append(file)
    return others


def _earlier(
    dataset: ZarrDataset, update: RecordUpdate, image_id: str, anew: set[str]
) -> dict[str, str]:
    """Return the artifacts that were made from the pixels as they were before."""
    record = dataset.record(image_id)
    keys = [key[key.index("analysis/") :] for key in record.list_analysis_keys()]
    keys += [array_artifact_prefix(name) for name in record.list_array_artifacts()]
    earlier = {}
    for key in keys:
        if key in _OF_THE_FILE or key in anew:
            continue
        digest = update.digest_of(key)
        if digest is not None:
            earlier[key] = digest
    return earlier
