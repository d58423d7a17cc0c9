"""Plan the original files of one image, updated with edits made in the dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from kymflow_zarr import layout
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
from kymflow_zarr.engine.images.artifacts import decode
from kymflow_zarr.engine.source_files import read_source_file
from kymflow_zarr.errors import (
    ArtifactNotFoundError,
    CorruptDataError,
    KymflowZarrError,
    SchemaValidationError,
)
from kymflow_zarr.export.dataset_layout.files import source_file_bytes
from kymflow_zarr.export.foreign import OwnFiles, left_out
from kymflow_zarr.export.lab_layout.analysis import (
    analysis_json,
    edited_csv,
    payload_json,
    plain_json,
    top_keys,
)
from kymflow_zarr.export.lab_layout.plan import TreePlan
from kymflow_zarr.export.staging_area import numpy_writer, target_errors
from kymflow_zarr.formats import acqstore
from kymflow_zarr.schema.artifacts.lineage import repeats_source_files
from kymflow_zarr.schema.image import ImageDocument, SourceFileDocument
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.files import digest_of_bytes
from kymflow_zarr.types import ARTIFACT_SUFFIXES, ROI_SUFFIXES, ArtifactKind

__all__ = ["ImageTree"]

_LINEAGE: Final = layout.artifact_key("json", layout.LINEAGE)
_PAYLOAD: Final = layout.artifact_key("json", layout.METADATA)
# Artifacts that ingest creates itself: a sidecar of such a name would not become one.
_DERIVED: Final = frozenset({layout.PROVENANCE, "tiff", "instrument_header", "source_metadata"})
_EDITED: Final = "edited in the dataset"
_NEW: Final = "made in the dataset; there was no such file"
_LOSSY: Final = "; ingest of the folder does not give it back equal"


@dataclass
class ImageTree:
    """The files of one image in the original folders.

    Parameters
    ----------
    plan : TreePlan
    storage : Storage
    record : StoredImage
    document : ImageDocument
    """

    plan: TreePlan
    storage: Storage
    record: StoredImage
    document: ImageDocument
    _now: dict[str, str] = field(default_factory=dict)
    _made: dict[str, str] = field(default_factory=dict)
    _carried: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        own = OwnFiles(self.storage, self._prefix)
        for info in self.record.list_artifacts():
            key = info.key.removeprefix(f"{self._prefix}/")
            data = self._read(key)
            try:
                if own.lack(info.key):
                    decode(info.kind, data, where=info.key)
            except KymflowZarrError as error:
                self.plan.fail("image", self.record.image_id, left_out(error))
                continue
            self._now[key] = digest_of_bytes(data)
        arrays = ArrayArtifacts(self.storage, self._prefix)
        for name in self.record.list_array_artifacts():
            try:
                digest = arrays.document(name).pixels.sha256
            except SchemaValidationError as error:
                self.plan.fail("image", self.record.image_id, str(error))
            else:
                self._now[layout.array_artifact_prefix(name)] = digest
        for file in self.document.source_files:
            # Ingest records no digest if a user's artifact took precedence over the file.
            self._made |= {key: digest for key, digest in file.feeds.items() if digest}

    @property
    def _prefix(self) -> str:
        return layout.image_prefix(self.record.image_id)

    def _read(self, key: str) -> bytes:
        data = self.storage.read(f"{self._prefix}/{key}")
        if data is None:
            raise ArtifactNotFoundError("the artifact was deleted meanwhile", where=key)
        return data

    def _changed(self, file: SourceFileDocument) -> set[str]:
        fed = {key for key, digest in file.feeds.items() if digest}
        return {key for key in fed if self._now.get(key) != self._made[key]}

    # Files of the folder ---------------------------------------------------------------

    def original_files(self, *, shared: set[str]) -> None:
        """Plan the sidecars of the TIFF.

        Parameters
        ----------
        shared : set of str
            Paths of files that belong to other images too; they are never rewritten.
        """
        payload_file = self._payload_file(shared)
        for file in self.document.source_files:
            place = self.plan.place(file)
            if file.role == "image" or file.kept_as is None or place is None:
                continue
            if place in shared or not self._rewritten(file, place, file is payload_file):
                self._verbatim(file, place)

    def _payload_file(self, shared: set[str]) -> SourceFileDocument | None:
        """Return the metadata file for an edited payload: the one that takes precedence."""
        fitting = [
            file
            for file in self.document.source_files
            if file.role == "metadata"
            and file.feeds.get(_PAYLOAD)
            and self.plan.place(file) not in shared
        ]
        own = [file for file in fitting if file.rel_path.casefold().endswith(".metadata.json")]
        chosen = own or fitting
        return chosen[-1] if chosen else None

    def _verbatim(self, file: SourceFileDocument, place: str) -> None:
        key = f"{self._prefix}/{file.kept_as}"
        self.plan.verbatim(
            self.record.image_id, file, place, partial(source_file_bytes, self.storage, key, file)
        )

    def _kept(self, file: SourceFileDocument) -> bytes:
        return read_source_file(self.storage, f"{self._prefix}/{file.kept_as}")

    def _rewritten(self, file: SourceFileDocument, place: str, is_payload: bool) -> bool:
        """Plan a rewritten file if its artifacts were edited; return False if they were not."""
        if place.casefold().endswith(ROI_SUFFIXES):
            # Edited regions go into the metadata beside it, which go first when it is read again.
            return False
        changed = self._changed(file)
        if file.role == "metadata":
            changed &= {_PAYLOAD} if is_payload else set()
        if file.role not in ("metadata", "analysis", "sidecar") or not changed:
            return False
        left = {key for key in file.feeds if key in self._now}
        if not left or (is_payload and _PAYLOAD not in left):
            self.plan.note(place, "not written: what was made of it was deleted in the dataset")
            return True
        try:
            if place.casefold().endswith(".npy"):
                self._array(place, _name(next(iter(left))), _EDITED)
            else:
                build = self._builder(file, place, left)
                self.plan.built(self.record.image_id, place, build)
        except (ValueError, TypeError, KeyError, AttributeError, KymflowZarrError):
            # The user's value does not fit the file's format: write it to a sidecar of its own.
            return False
        self._carried |= changed
        return True

    def _builder(
        self, file: SourceFileDocument, place: str, left: set[str]
    ) -> Callable[[], tuple[bytes, str]]:
        lower = place.casefold()
        if file.role == "metadata":
            sidecar = _acqstore_sidecar(self._kept(file))
            if sidecar is not None:
                return lambda: self._acqstore(sidecar, file.rel_path, _EDITED)
            return lambda: self._said(payload_json(*self._json(_PAYLOAD)), _EDITED)
        if file.role == "analysis" and lower.endswith(".json"):
            kind = f"{lower.removesuffix('.json').rpartition('_')[2]}_json"
            return partial(self._analysis, file, kind, left)
        key = next(iter(left))
        if lower.endswith(".csv") and _name(key).startswith(f"{acqstore.PROGRAM}/"):
            return lambda: self._said(
                edited_csv(
                    acqstore.table_as_written(self._frame(key)), self._kept(file), velocity=False
                ),
                _EDITED,
            )
        if lower.endswith(".csv"):
            velocity = file.role == "analysis"
            return lambda: self._said(
                edited_csv(self._frame(key), self._kept(file), velocity=velocity), _EDITED
            )
        if lower.endswith(".json"):
            return lambda: self._said(plain_json(*self._json(key)), _EDITED)
        return lambda: (self._readable(key), _EDITED)

    def _acqstore(
        self, original_sidecar: Mapping[str, Any] | None, rel_path: str, reason: str
    ) -> tuple[bytes, str]:
        """Return the payload as a sidecar of acqstore."""
        pixels = self.document.pixels
        sidecar, lost = acqstore.sidecar_of_payload(
            self.record.load_json(layout.METADATA),
            original_sidecar,
            suffix=PurePosixPath(rel_path.removesuffix(".json")).suffix.casefold(),
            shape=pixels.shape,
            dims=[axis.name.upper() for axis in self.document.axes],
            dtype=self.record.dtype.name,
        )
        data = acqstore.sidecar_bytes(sidecar)
        return data, f"{reason}; left out: {', '.join(lost)}" if lost else reason

    @staticmethod
    def _said(built: tuple[bytes, bool], reason: str) -> tuple[bytes, str]:
        data, same = built
        return data, reason if same else f"{reason}{_LOSSY}"

    def _json(self, key: str) -> tuple[Any, bytes]:
        return self.record.load_json(_name(key)), self._read(key)

    def _readable(self, key: str) -> bytes:
        """Return a stored artifact, decoded to make sure that it is readable."""
        data = self._read(key)
        decode(_kind(key), data, where=key)
        return data

    def _frame(self, key: str) -> Any:
        return self.record.load_df_parquet(_name(key))

    def _analysis(self, file: SourceFileDocument, kind: str, left: set[str]) -> tuple[bytes, str]:
        events = next((key for key in left if key.endswith(".parquet")), None)
        analysis_key = next((key for key in left if key.endswith(".json")), None)
        others = [
            each
            for each in self.document.source_files
            if each is not file
            and each.kept_as
            and analysis_key is not None
            and analysis_key in each.feeds
        ]
        elsewhere: set[str] = set().union(*(top_keys(self._kept(each)) for each in others))
        data, in_order = analysis_json(
            self._kept(file),
            kind,
            events=None if events is None else self._frame(events),
            stored=None if analysis_key is None else self.record.load_json(_name(analysis_key)),
            elsewhere=elsewhere,
        )
        return data, _EDITED if in_order else f"{_EDITED}; its events stand there by region"

    # Artifacts without a source file --------------------------------------------------

    def extra_files(
        self, stem: str, *, alone: bool, whole: bool = False, acqstore: bool = False
    ) -> None:
        """Plan sidecars for artifacts that were created in the dataset.

        Parameters
        ----------
        stem : str
            Path of the TIFF without its suffix.
        alone : bool
            Whether no other TIFF claims the sidecars of that stem.
        whole : bool
            Whether to write all artifacts, including those made of source files.
        acqstore : bool
            Whether to write the payload as a sidecar of acqstore, if the image has none.
        """
        if acqstore:
            self._extra_acqstore(stem)
        for key, digest in sorted(self._now.items()):
            if key in self._carried or (not whole and self._made.get(key) == digest):
                continue
            if key == _LINEAGE and not whole and repeats_source_files(self._json(key)[0]):
                continue
            if whole and _name(key) in _DERIVED and self._made.get(key) == digest:
                continue
            reason = _EDITED if key in self._made and not whole else _NEW
            if not alone:
                reason += "; ingest gives it to another image too, whose TIFF has that name"
            try:
                if key == _PAYLOAD and acqstore:
                    continue
                if key == _PAYLOAD:
                    self._extra_payload(stem, reason)
                else:
                    self._sidecar(stem, key, reason)
            except (CorruptDataError, SchemaValidationError) as error:
                self.plan.fail("image", self.record.image_id, str(error))

    def _extra_acqstore(self, stem: str) -> None:
        images = [file.rel_path for file in self.document.source_files if file.role == "image"]
        suffix = PurePosixPath(images[0]).suffix if images else ".tif"
        place = f"{stem}{suffix}.json"
        if _PAYLOAD in self._now and not self.plan.names.has(place):
            self.plan.names.claim(place)
            build = partial(self._acqstore, None, place, _NEW)
            self.plan.built(self.record.image_id, place, build)

    def _extra_payload(self, stem: str, reason: str) -> None:
        names, place = self.plan.names, f"{stem}.json"
        if names.has(place):
            # This one takes precedence.
            place = names.take(f"{stem}.metadata", suffix=".json")
        else:
            names.claim(place)
        build = partial(self._built_payload, reason)
        self.plan.built(self.record.image_id, place, build)

    def _built_payload(self, reason: str) -> tuple[bytes, str]:
        return self._said(payload_json(*self._json(_PAYLOAD)), reason)

    def _sidecar(self, stem: str, key: str, reason: str) -> None:
        image_id, name = self.record.image_id, _name(key)
        array = key.startswith(f"{layout.ANALYSIS_ARRAYS}/")
        suffix = ".npy" if array else _suffix(key)
        wanted = f"{stem}.{layout.sidecar_name(name)}"
        place = self.plan.names.take(wanted, suffix=suffix)
        if not array and name in _DERIVED:
            reason += "; ingest of the folder keeps the file and makes no artifact of it"
        elif place != f"{wanted}{suffix}":
            back = layout.parse_sidecar_name(place.removeprefix(f"{stem}.").removesuffix(suffix))
            reason += f"; ingest of the folder calls it {back!r}, not {name!r}"
        elif self.plan.belongs_elsewhere(wanted, stem):
            reason += "; ingest of the folder gives it to another image, whose TIFF has that name"
        if array:
            self._array(place, name, reason)
        elif suffix == ".json":
            build = lambda: self._said(plain_json(*self._json(key)), reason)  # noqa: E731
            self.plan.built(image_id, place, build)
        else:
            self.plan.built(image_id, place, lambda: (self._readable(key), reason))

    def _array(self, place: str, name: str, reason: str) -> None:
        arrays = ArrayArtifacts(self.storage, self._prefix)
        if arrays.document(name).axes is not None:
            reason += "; a .npy does not say how its axes are called"

        def write(path: Path) -> str:
            array = arrays.load(name)
            with target_errors("write", place):
                numpy_writer(array)(path)
            return reason

        self.plan.made(self.record.image_id, place, write)


def _acqstore_sidecar(data: bytes) -> dict[str, Any] | None:
    """Return a metadata file that is a sidecar of acqstore, None if it is another one."""
    value = json.loads(data.decode("utf-8-sig"))
    return value if acqstore.is_sidecar(value) else None


def _kind(key: str) -> ArtifactKind:
    return next(kind for kind, suffix in ARTIFACT_SUFFIXES.items() if key.endswith(suffix))


def _suffix(key: str) -> str:
    return ARTIFACT_SUFFIXES[_kind(key)]


def _name(key: str) -> str:
    if key.startswith(f"{layout.ANALYSIS_ARRAYS}/"):
        name = layout.decode_name(key.removeprefix(f"{layout.ANALYSIS_ARRAYS}/"))
    else:
        parsed = layout.parse_artifact_key(key)
        name = None if parsed is None else parsed[1]
    if name is None:
        raise ArtifactNotFoundError(f"{key!r} is no artifact")
    return name
