"""Bring an image up to what its files are now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.images.update import RecordUpdate
from kymflow_zarr.errors import KymflowZarrError, StorageError
from kymflow_zarr.ingest.folder.convention import Acquisition
from kymflow_zarr.ingest.folder.scan import Found
from kymflow_zarr.ingest.folder.source_index import KnownImage
from kymflow_zarr.ingest.image import (
    attached_files,
    axes_of,
    channel_names_of,
    image_file,
    image_parts,
    memory_of,
    require_settled,
    save_part,
)
from kymflow_zarr.ingest.sidecars.artifacts import (
    HEADER_ARTIFACT,
    METADATA_ARTIFACT,
    TIFF_ARTIFACT,
    Contents,
    Part,
    digest_of_part,
    distinct,
    feeds_of,
    files_of,
    key_of,
    read_contents,
)
from kymflow_zarr.ingest.sources.channels import ChannelStack
from kymflow_zarr.layout import array_artifact_prefix, artifact_key
from kymflow_zarr.runtime.memory_budget import pixels_memory
from kymflow_zarr.schema.image import SourceFileDocument

# What files say, not what was made from pixels.
_OF_THE_FILE = frozenset(
    artifact_key("json", name)
    for name in ("metadata", "provenance", TIFF_ARTIFACT, HEADER_ARTIFACT, METADATA_ARTIFACT)
)


def update_image(
    dataset: OpenDataset,
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
    dataset : OpenDataset
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
    series = known.file.series
    founds = _founds(acquisition)
    with (
        ChannelStack(acquisition.images, series) as stack,
        pixels_memory.holding(memory_of(stack, acquisition)),
        dataset.update_record(known.image_id) as update,
    ):
        contents = read_contents(acquisition)
        axes = axes_of(stack, contents)
        images = [image_file(found, series) for found in acquisition.images]
        # All is read now. What is written from here on is of files that stand still.
        require_settled(founds)
        parts = distinct([*image_parts(stack, contents, axes, images), *contents.parts], contents)
        artifacts = _Artifacts(update, contents, founds)
        saved = [(part, *artifacts.bring_up(part, set(changed), overwrite_edits)) for part in parts]
        feeds = feeds_of(saved)
        for image in images:
            image.feeds = feeds.get(image.rel_path, {})
        files = [*images, *attached_files(acquisition, contents, feeds, update)]
        stack.keep_skeletons(update, images)
        files += _gone(update, files, contents, artifacts.anew)
        require_settled(founds)
        if pixels:
            update.commit_pixels(
                stack,
                files,
                axes=axes,
                channel_names=channel_names_of(stack, contents),
                of_earlier_pixels=_earlier(dataset, update, known.image_id, artifacts.anew),
            )
        else:
            update.commit(files)
    return tuple(contents.notes)


class _Artifacts:
    """The artifacts of an image as its files make them, some of which a user has edited.

    Parameters
    ----------
    update : RecordUpdate
    contents : Contents
        Takes the notes.
    founds : list of Found
        The files that are there.
    """

    def __init__(self, update: RecordUpdate, contents: Contents, founds: list[Found]) -> None:
        self._update = update
        self._notes = contents.notes
        self._here = {str(found.path): found.rel_path for found in founds}
        self._made: dict[str, str] = {}
        self._feeders: dict[str, set[str]] = defaultdict(set)
        for file in update.document.source_files:
            self._made |= file.feeds
            # The folder that was scanned last time may have been one above or below.
            rel_path = self._here.get(file.path, file.rel_path)
            for key in file.feeds:
                self._feeders[key].add(rel_path)
        self.anew: set[str] = set()

    def bring_up(self, part: Part, changed: set[str], overwrite_edits: bool) -> tuple[str, str]:
        """Save a part if it is not what its artifact was made of; return key and digest."""
        key = key_of(part)
        if self._is_current(part, key, changed):
            return key, self._made[key]
        if not overwrite_edits and self._is_edited(part, key):
            said = "was edited in the dataset" if key in self._made else "is there already"
            self._notes.append(f"{part.name} {said} and left as it is")
            return key, self._made.get(key, "")
        try:
            saved = save_part(self._update, part)
        except StorageError:
            raise
        except KymflowZarrError as error:
            self._notes.append(f"{files_of(part)} was kept as it is: {error.what}")
            return key, self._made.get(key, "")
        self.anew.add(key)
        return saved

    def _is_current(self, part: Part, key: str, changed: set[str]) -> bool:
        feeders = self._feeders[key]
        # Where it was made of other files, those no longer claim it.
        if not self._made.get(key) or not feeders & set(part.made_of):
            return False
        # Made of a file that is not here now, it would be made anew without it.
        return not set(part.made_of) & changed or not feeders <= set(self._here.values())

    def _is_edited(self, part: Part, key: str) -> bool:
        """Tell whether an artifact is a user's: changed, deleted or made since the ingest."""
        if not self._update.is_edited(key, self._made):
            return False
        # A user, or a migration, may have put there just what the files say.
        now = self._update.digest_of(key)
        return now is None or now != digest_of_part(part)


def move_image(dataset: OpenDataset, acquisition: Acquisition, known: KnownImage) -> KnownImage:
    """Let an image know where its files are now; return what is known of it then."""
    with dataset.update_record(known.image_id) as update:
        by_name = {_relative(acquisition, f.rel_path): f for f in _founds(acquisition)}
        old = str(PurePosixPath(known.file.rel_path).parent)
        prefix = "" if old == "." else f"{old}/"
        names = {file.rel_path.removeprefix(prefix) for file in update.document.source_files}
        renamed = [found for name, found in by_name.items() if name not in names]
        files = []
        for file in update.document.source_files:
            found = by_name.get(file.rel_path.removeprefix(prefix))
            if found is None:
                found = next((f for f in renamed if _holds(f, file)), None)
            if found is None and file.path == known.file.path:
                found = acquisition.primary
            if found is not None:
                file.path, file.rel_path = str(found.path), found.rel_path
                if not file.sha256:
                    file.size_bytes, file.sha256 = found.size_bytes, found.sha256()
                # What has changed on the way keeps its old time, so that this is seen.
                if file.mtime_ns != found.mtime_ns and _holds(found, file):
                    file.mtime_ns = found.mtime_ns
            files.append(file)
        update.commit(files)
    return KnownImage(known.image_id, tuple(files))


def _holds(found: Found, file: SourceFileDocument) -> bool:
    """Tell whether a file has the content that a document tells of."""
    return found.size_bytes == file.size_bytes and found.sha256() == file.sha256


def note_times(dataset: OpenDataset, acquisition: Acquisition, known: KnownImage) -> None:
    """Remember the new times of files whose content is the same, so that nobody asks again."""
    here = {str(found.path): found for found in _founds(acquisition)}
    with dataset.update_record(known.image_id) as update:
        for file in update.document.source_files:
            found = here.get(file.path)
            if found is None:
                continue
            file.mtime_ns, file.gone = found.mtime_ns, False
            if not file.sha256:
                file.size_bytes, file.sha256 = found.size_bytes, found.sha256()
        update.commit(update.document.source_files)


def _founds(acquisition: Acquisition) -> list[Found]:
    return [*acquisition.images, *(attached.found for attached in acquisition.attached)]


def _relative(acquisition: Acquisition, rel_path: str) -> str:
    folder = str(PurePosixPath(acquisition.primary.rel_path).parent)
    return rel_path if folder == "." else rel_path.removeprefix(f"{folder}/")


def _gone(
    update: RecordUpdate, files: list[SourceFileDocument], contents: Contents, anew: set[str]
) -> list[SourceFileDocument]:
    """Return the documents of files that are not there any more: what they fed stays.

    Unless another file has it now: then it is among `anew`.
    """
    here = {file.path for file in files}
    others = []
    for file in update.document.source_files:
        if file.path in here or file.role == "image":
            continue
        taken = anew & set(file.feeds)
        if not file.gone and not Path(file.path).exists():
            file.gone = True
            rest = "another file is taken instead" if taken else "what was made of it stays"
            contents.notes.append(f"{file.rel_path} is gone; {rest}")
        file.feeds = {key: sha256 for key, sha256 in file.feeds.items() if key not in taken}
        others.append(file)
    return others


def _earlier(
    dataset: OpenDataset, update: RecordUpdate, image_id: str, anew: set[str]
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
