"""Bring an image up to what its files are now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from functools import partial
from pathlib import PurePosixPath

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.images.update import RecordUpdate
from kymflow_zarr.errors import KymflowZarrError, SourceFileError, StorageError
from kymflow_zarr.ingest.folder.changes import same_pixels
from kymflow_zarr.ingest.folder.convention import Acquisition
from kymflow_zarr.ingest.folder.scan import Found, is_gone
from kymflow_zarr.ingest.folder.source_index import KnownImage
from kymflow_zarr.ingest.recipe import (
    OpenAcquisition,
    files_of_acquisition,
    open_acquisition,
    save_artifact,
)
from kymflow_zarr.ingest.sidecars.artifacts import (
    HEADER_ARTIFACT,
    METADATA_ARTIFACT,
    TIFF_ARTIFACT,
    SidecarContents,
    SourceArtifact,
    digest_of_artifact,
    files_of,
    key_of,
    read_kept_metadata,
)
from kymflow_zarr.layout import array_artifact_prefix, artifact_key
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.types import Axis

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
    with (
        open_acquisition(acquisition, known.file.series) as source,
        dataset.update_record(known.image_id) as update,
    ):
        contents = source.contents
        _require_readable(update, source)
        earlier = read_kept_metadata(update.kept_files())
        earlier_axes = source.axes_with(earlier)
        source.inherit(earlier)
        # All sidecars are read now, and nothing is written yet.
        source.require_settled()
        artifacts = _Artifacts(update, contents, acquisition)
        save = partial(artifacts.update, changed=set(changed), overwrite_edits=overwrite_edits)
        files = source.stage_artifacts(update, save)
        files += _gone(update, files, contents, artifacts.rewritten)
        source.require_settled()
        if pixels and _is_of_other_images(acquisition, set(changed)):
            pixels = not same_pixels(source.stack, dataset.record(known.image_id))
        if pixels:
            update.commit_pixels(
                source.stack,
                files,
                axes=source.axes,
                channel_names=source.channel_names,
                of_earlier_pixels=_earlier(dataset, update, known.image_id, artifacts.rewritten),
            )
        else:
            if source.axes != earlier_axes:
                contents.notes += _recalibrate(
                    update, source, earlier_axes, overwrite_edits=overwrite_edits
                )
            update.commit(files)
        return tuple(contents.notes)


def _is_of_other_images(acquisition: Acquisition, changed: set[str]) -> bool:
    """Return True if all changed files are members of a set, which may hold other images."""
    return changed <= {found.rel_path for found in acquisition.members}


def _require_readable(update: RecordUpdate, source: OpenAcquisition) -> None:
    """Raise SourceFileError if a sidecar that the image was made of cannot be read now.

    Without it the update would take away what the file said before.
    """
    known = {file.path for file in update.document.source_files}
    for attached in source.acquisition.attached:
        found = attached.found
        if found.rel_path in source.contents.unreadable and found.full_path in known:
            raise SourceFileError(
                "the file cannot be read now, so the image was left as it was",
                where=found.full_path,
                hint="Scan the folder again when it can be read.",
            )


def _recalibrate(
    update: RecordUpdate,
    source: OpenAcquisition,
    earlier: tuple[Axis, ...],
    *,
    overwrite_edits: bool,
) -> list[str]:
    """Give the image the axes that its sidecars state now; return what the report says."""
    if tuple(update.document.pixels.shape) != source.stack.shape:
        return ["the pixels were replaced in the dataset, so their axes were left as they are"]
    now = update.document.axis_values()
    if now == source.axes:
        return []
    if now != earlier and not overwrite_edits:
        return ["the axes were changed in the dataset and left as they are"]
    if not update.set_axes(source.axes):
        return ["the axes were left as they are: the new ones need the pixels written anew"]
    return ["the axes were updated"]


class _Artifacts:
    """The artifacts of an image as its files make them, some of which a user has edited.

    Parameters
    ----------
    update : RecordUpdate
    contents : SidecarContents
        Takes the notes.
    acquisition : Acquisition
        The files that are there.
    """

    def __init__(
        self, update: RecordUpdate, contents: SidecarContents, acquisition: Acquisition
    ) -> None:
        self._update = update
        self._notes = contents.notes
        founds = files_of_acquisition(acquisition)
        self._here = {found.full_path: found.rel_path for found in founds}
        self._made: dict[str, str] = {}
        self._feeders: dict[str, set[str]] = defaultdict(set)
        for file in update.document.source_files:
            self._made |= file.feeds
            # The folder that was scanned last time may have been one above or below.
            rel_path = self._here.get(file.path, file.rel_path)
            for key in file.feeds:
                self._feeders[key].add(rel_path)
        self.rewritten: set[str] = set()

    def update(
        self, artifact: SourceArtifact, *, changed: set[str], overwrite_edits: bool
    ) -> tuple[str, str]:
        """Save a artifact if it is not what its artifact was made of; return key and digest."""
        key = key_of(artifact)
        if self._is_current(artifact, key, changed):
            return key, self._made[key]
        if not overwrite_edits and self._is_edited(artifact, key):
            said = "was edited in the dataset" if key in self._made else "is there already"
            self._notes.append(f"{artifact.name} {said} and left as it is")
            return key, self._made.get(key, "")
        try:
            saved = save_artifact(self._update, artifact)
        except StorageError:
            raise
        except KymflowZarrError as error:
            self._notes.append(f"{files_of(artifact)} was kept as it is: {error.what}")
            return key, self._made.get(key, "")
        self.rewritten.add(key)
        return saved

    def _is_current(self, artifact: SourceArtifact, key: str, changed: set[str]) -> bool:
        feeders = self._feeders[key]
        # Where it was made of other files, those no longer claim it.
        if not self._made.get(key) or not feeders & set(artifact.made_of):
            return False
        # Made of a file that is not here now, it would be made anew without it.
        return not set(artifact.made_of) & changed or not feeders <= set(self._here.values())

    def _is_edited(self, artifact: SourceArtifact, key: str) -> bool:
        """Return True if an artifact is a user's: changed, deleted or made since the ingest."""
        if not self._update.is_edited(key, self._made):
            return False
        # A user, or a migration, may have put there just what the files say.
        now = self._update.digest_of(key)
        return now is None or now != digest_of_artifact(artifact)


def move_image(dataset: OpenDataset, acquisition: Acquisition, known: KnownImage) -> KnownImage:
    """Let an image know where its files are now; return what is known of it then."""
    with dataset.update_record(known.image_id) as update:
        by_name = {_relative(acquisition, f.rel_path): f for f in files_of_acquisition(acquisition)}
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
                file.path, file.rel_path = found.full_path, found.rel_path
                if not file.sha256:
                    file.size_bytes, file.sha256 = found.size_bytes, found.sha256()
                # What has changed on the way keeps its old time, so that this is seen.
                if file.mtime_ns != found.mtime_ns and _holds(found, file):
                    file.mtime_ns = found.mtime_ns
            files.append(file)
        update.commit(files)
    return KnownImage(known.image_id, tuple(files))


def _holds(found: Found, file: SourceFileDocument) -> bool:
    """Return True if a file has the content that a document tells of."""
    return found.size_bytes == file.size_bytes and found.sha256() == file.sha256


def note_times(dataset: OpenDataset, acquisition: Acquisition, known: KnownImage) -> None:
    """Remember the new times of files whose content is the same, so that nobody asks again."""
    here = {found.full_path: found for found in files_of_acquisition(acquisition)}
    with dataset.update_record(known.image_id) as update:
        for file in update.document.source_files:
            found = here.get(file.path)
            if found is None:
                continue
            file.mtime_ns, file.gone = found.mtime_ns, False
            if not file.sha256:
                file.size_bytes, file.sha256 = found.size_bytes, found.sha256()
        update.commit(update.document.source_files)


def _relative(acquisition: Acquisition, rel_path: str) -> str:
    folder = str(PurePosixPath(acquisition.primary.rel_path).parent)
    return rel_path if folder == "." else rel_path.removeprefix(f"{folder}/")


def _gone(
    update: RecordUpdate,
    files: list[SourceFileDocument],
    contents: SidecarContents,
    rewritten: set[str],
) -> list[SourceFileDocument]:
    """Return the documents of files that are not there any more: what they fed stays.

    Unless another file has it now: then it is among `rewritten`.
    """
    here = {file.path for file in files}
    others = []
    for file in update.document.source_files:
        if file.path in here or file.role in ("image", "member"):
            continue
        taken = rewritten & set(file.feeds)
        if not file.gone and is_gone(file.path):
            file.gone = True
            rest = "another file is taken instead" if taken else "what was made of it stays"
            contents.notes.append(f"{file.rel_path} is gone; {rest}")
        file.feeds = {key: sha256 for key, sha256 in file.feeds.items() if key not in taken}
        others.append(file)
    return others


def _earlier(
    dataset: OpenDataset, update: RecordUpdate, image_id: str, rewritten: set[str]
) -> dict[str, str]:
    """Return the artifacts that were made from the pixels as they were before."""
    record = dataset.record(image_id)
    keys = [key[key.index("analysis/") :] for key in record.list_analysis_keys()]
    keys += [array_artifact_prefix(name) for name in record.list_array_artifacts()]
    earlier = {}
    for key in keys:
        if key in _OF_THE_FILE or key in rewritten:
            continue
        digest = update.digest_of(key)
        if digest is not None:
            earlier[key] = digest
    return earlier
