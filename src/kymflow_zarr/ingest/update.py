"""Update an image after its source files have changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from functools import partial
from pathlib import PurePosixPath

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.images.update import RecordUpdate
from kymflow_zarr.errors import KymflowZarrError, SourceFileError, StorageError
from kymflow_zarr.ingest.adopt import adopt
from kymflow_zarr.ingest.folder.changes import same_pixels
from kymflow_zarr.ingest.folder.convention import Acquisition
from kymflow_zarr.ingest.folder.scan import ScannedFile, is_gone
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
    read_metadata_sidecar,
)
from kymflow_zarr.layout import CURATION, LINEAGE, array_artifact_prefix, artifact_key
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.types import Axis

# Artifacts that repeat what source files state, in contrast to results computed from pixels.
_OF_THE_FILE = frozenset(
    artifact_key("json", name)
    for name in ("metadata", "provenance", TIFF_ARTIFACT, HEADER_ARTIFACT, METADATA_ARTIFACT)
)
# Documents about the image, which say themselves what is of earlier pixels.
_ABOUT = frozenset(artifact_key("json", name) for name in (CURATION, LINEAGE))


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
        ``rel_path`` of the files that have changed: only artifacts made of them are rebuilt.
    pixels : bool
        Whether the TIFF is among the changed files.
    overwrite_edits : bool
        Whether artifacts that were edited in the dataset are rebuilt too.

    Returns
    -------
    tuple of str
        Notes on conflicts with edits of a user and on unreadable files.
    """
    with (
        open_acquisition(acquisition, known.file.series) as source,
        dataset.image_lock(known.image_id),
        RecordUpdate(dataset.storage, known.image_id) as update,
    ):
        contents = source.contents
        source.keep_original = known.file.kept_as is not None
        _require_readable(update, source)
        earlier = read_metadata_sidecar(update.kept_files())
        earlier_axes = source.axes_with(earlier)
        source.inherit(earlier)
        # All sidecars have been read, and nothing is written yet.
        source.require_settled()
        artifacts = _Artifacts(update, contents, acquisition)
        save = partial(artifacts.update, changed=set(changed), overwrite_edits=overwrite_edits)
        files = source.stage_artifacts(update, save)
        files += _gone(update, files, contents, artifacts.rewritten)
        source.require_settled()
        if pixels and _is_of_other_images(acquisition, set(changed)):
            pixels = not same_pixels(source.stack, dataset.record(known.image_id))
        if pixels:
            update.set_pixels(
                source.stack,
                axes=source.axes,
                channel_names=source.channel_names,
                of_earlier_pixels=_earlier(dataset, update, known.image_id, artifacts.rewritten),
            )
        elif source.axes != earlier_axes:
            contents.notes += _recalibrate(
                update, source, earlier_axes, overwrite_edits=overwrite_edits
            )
        if artifacts.rewritten:
            update.document.source_files = files
            adopt(update, known.image_id, contents.events, rewritten=artifacts.rewritten)
        update.commit(files)
        return tuple(contents.notes)


def _is_of_other_images(acquisition: Acquisition, changed: set[str]) -> bool:
    """Return True if all changed files are members of a set, which may hold other images."""
    return changed <= {scanned.rel_path for scanned in acquisition.members}


def _require_readable(update: RecordUpdate, source: OpenAcquisition) -> None:
    """Raise SourceFileError if a sidecar that the image was made of is now unreadable.

    An update without it would delete the file's earlier content from the dataset.
    """
    known = {file.path for file in update.document.source_files}
    for attached in source.acquisition.attached:
        scanned = attached.scanned
        if scanned.rel_path in source.contents.unreadable and scanned.full_path in known:
            raise SourceFileError(
                "the file cannot be read now, so the image was left as it was",
                where=scanned.full_path,
                hint="Scan the folder again when it can be read.",
            )


def _recalibrate(
    update: RecordUpdate,
    source: OpenAcquisition,
    earlier: tuple[Axis, ...],
    *,
    overwrite_edits: bool,
) -> list[str]:
    """Set the axes that the sidecars now state; return notes for the report."""
    if tuple(update.document.pixels.shape) != source.stack.shape:
        return ["the pixels were replaced in the dataset, so their axes were left as they are"]
    now = update.document.axis_values()
    if now == source.axes:
        return []
    if now != earlier and not overwrite_edits:
        return ["the axes were changed in the dataset and left as they are"]
    if not update.set_axes(source.axes):
        return ["the axes were left as they are: the new ones need the pixels rewritten"]
    return ["the axes were updated"]


class _Artifacts:
    """Update the artifacts of an image from its files; keep those that a user has edited.

    Parameters
    ----------
    update : RecordUpdate
    contents : SidecarContents
        Collects the notes.
    acquisition : Acquisition
        The files that exist now.
    """

    def __init__(
        self, update: RecordUpdate, contents: SidecarContents, acquisition: Acquisition
    ) -> None:
        self._update = update
        self._notes = contents.notes
        founds = files_of_acquisition(acquisition)
        self._here = {scanned.full_path: scanned.rel_path for scanned in founds}
        self._made: dict[str, str] = {}
        self._feeders: dict[str, set[str]] = defaultdict(set)
        for file in update.document.source_files:
            self._made |= file.feeds
            # The last scan may have started at a parent folder or a subfolder.
            rel_path = self._here.get(file.path, file.rel_path)
            for key in file.feeds:
                self._feeders[key].add(rel_path)
        self.rewritten: set[str] = set()

    def update(
        self, artifact: SourceArtifact, *, changed: set[str], overwrite_edits: bool
    ) -> tuple[str, str]:
        """Save an artifact unless it is unchanged or edited; return its key and digest."""
        key = key_of(artifact)
        if self._is_current(artifact, key, changed):
            return key, self._made[key]
        if not overwrite_edits and self._is_edited(artifact, key):
            reason = "was edited in the dataset" if key in self._made else "is there already"
            self._notes.append(f"{artifact.name} {reason} and left as it is")
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
        # If it was made of other files before, save it again, so that those files lose it.
        if not self._made.get(key) or not feeders & set(artifact.made_of):
            return False
        # If one of its earlier source files is missing, a rebuild would lose that file's content.
        return not set(artifact.made_of) & changed or not feeders <= set(self._here.values())

    def _is_edited(self, artifact: SourceArtifact, key: str) -> bool:
        """Return True if a user has changed, deleted or created an artifact since the ingest."""
        if not self._update.is_edited(key, self._made):
            return False
        # A user or a migration may have written exactly the content of the files.
        now = self._update.digest_of(key)
        return now is None or now != digest_of_artifact(artifact)


def move_image(dataset: OpenDataset, acquisition: Acquisition, known: KnownImage) -> KnownImage:
    """Record the new paths of an image's files; return the updated image."""
    image_id = known.image_id
    with dataset.image_lock(image_id), RecordUpdate(dataset.storage, image_id) as update:
        by_name = {_relative(acquisition, f.rel_path): f for f in files_of_acquisition(acquisition)}
        old = str(PurePosixPath(known.file.rel_path).parent)
        prefix = "" if old == "." else f"{old}/"
        names = {file.rel_path.removeprefix(prefix) for file in update.document.source_files}
        renamed = [scanned for name, scanned in by_name.items() if name not in names]
        files = []
        for file in update.document.source_files:
            scanned = by_name.get(file.rel_path.removeprefix(prefix))
            if scanned is None:
                scanned = next((f for f in renamed if _holds(f, file)), None)
            if scanned is None and file.path == known.file.path:
                scanned = acquisition.primary
            if scanned is not None:
                file.path, file.rel_path = scanned.full_path, scanned.rel_path
                if not file.sha256:
                    file.size_bytes, file.sha256 = scanned.size_bytes, scanned.sha256()
                # A file that changed during the move keeps its old time, so that the change is
                # detected.
                if file.mtime_ns != scanned.mtime_ns and _holds(scanned, file):
                    file.mtime_ns = scanned.mtime_ns
            files.append(file)
        update.commit(files)
    return KnownImage(known.image_id, tuple(files))


def _holds(scanned: ScannedFile, file: SourceFileDocument) -> bool:
    """Return True if the content of a file matches its document."""
    return scanned.size_bytes == file.size_bytes and scanned.sha256() == file.sha256


def note_times(dataset: OpenDataset, acquisition: Acquisition, known: KnownImage) -> None:
    """Record the new times of unchanged files, so that they are not digested again."""
    here = {scanned.full_path: scanned for scanned in files_of_acquisition(acquisition)}
    image_id = known.image_id
    with dataset.image_lock(image_id), RecordUpdate(dataset.storage, image_id) as update:
        for file in update.document.source_files:
            scanned = here.get(file.path)
            if scanned is None:
                continue
            file.mtime_ns, file.gone = scanned.mtime_ns, False
            if not file.sha256:
                file.size_bytes, file.sha256 = scanned.size_bytes, scanned.sha256()
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
    """Return the documents of deleted files, whose artifacts stay.

    Artifacts in `rewritten` are left out: another file feeds them now.
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
    """Return the artifacts that were computed from the previous pixels."""
    record = dataset.record(image_id)
    keys = [key[key.index("analysis/") :] for key in record.list_analysis_keys()]
    keys += [array_artifact_prefix(name) for name in record.list_array_artifacts()]
    earlier = {}
    for key in keys:
        if key in _OF_THE_FILE | _ABOUT or key in rewritten:
            continue
        digest = update.digest_of(key)
        if digest is not None:
            earlier[key] = digest
    return earlier
