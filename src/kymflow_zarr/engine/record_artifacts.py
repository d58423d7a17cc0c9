"""The artifacts of one image: JSON, data frames, arrays, and the metadata payload."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.errors import (
    ArgumentTypeError,
    MetadataNotFoundError,
    RecordNotFoundError,
    SchemaValidationError,
)
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.types import ArtifactInfo, ArtifactKind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import zarr

    from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts


class RecordArtifacts:
    """What was saved beside the pixels of an image; the base of :class:`StoredImage`.

    Attributes
    ----------
    image_id : str
    """

    def __init__(self, storage: LocalStorage, image_id: str) -> None:
        self._prefix = layout.image_prefix(image_id)  # It checks the id.
        self.image_id = str.__str__(image_id)
        self._storage = storage

    @property
    def _arrays(self) -> ArrayArtifacts:
        from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts

        # Not made beforehand: a hundred thousand records are listed and not asked for one.
        return ArrayArtifacts(self._storage, self._prefix)

    # JSON and data frames --------------------------------------------------------------

    def save_json(self, name: str, obj: Any) -> str:
        """Save a JSON artifact.

        Parameters
        ----------
        name : str
            Any Unicode; ``/`` nests.
        obj : object
            Nested dicts and lists of None, bool, int, float (NaN and infinities too), str,
            bytes, dates, times, paths, dataclasses, NumPy scalars and arrays. Tuples come
            back as lists, dataclasses as dicts and enums as their values, everything else
            comes back equal.

        Returns
        -------
        str
            Key of the artifact, relative to the dataset, ending in ``.json``.

        Raises
        ------
        UnsupportedDataError
            If something in `obj` cannot be kept; names the place. Nothing is written.
        InvalidNameError
            If no file system could keep the name.
        """
        return self._save("json", name, obj)

    def load_json(self, name: str) -> Any:
        """Return a JSON artifact.

        Raises
        ------
        ArtifactNotFoundError
            If there is none of that name (a KeyError).
        CorruptDataError
            If its file is damaged.
        """
        return self._load("json", name)

    def save_df_parquet(self, name: str, df: pd.DataFrame) -> str:
        """Save a data frame as Parquet and return its key, ending in ``.parquet``.

        Index, dtypes, column order and missing values come back equal.

        Raises
        ------
        UnsupportedDataError
            If a column holds what Parquet cannot (complex, mixed objects); names it.
            Nothing is written.
        InvalidNameError
            If no file system could keep the name.
        """
        return self._save("parquet", name, df)

    def load_df_parquet(self, name: str) -> pd.DataFrame:
        """Return a data frame saved with :meth:`save_df_parquet`; errors as `load_json`."""
        frame: pd.DataFrame = self._load("parquet", name)
        return frame

    def save_df_csv_gz(self, name: str, df: pd.DataFrame) -> str:
        """Save a data frame as gzipped CSV and return its key, ending in ``.csv.gz``.

        For programs that read nothing else; dtypes are noted in the gzip header. Errors as
        for :meth:`save_df_parquet`, which holds more types and is smaller.
        """
        return self._save("csv_gz", name, df)

    def load_df_csv_gz(self, name: str) -> pd.DataFrame:
        """Return a data frame saved with :meth:`save_df_csv_gz`; errors as `load_json`."""
        frame: pd.DataFrame = self._load("csv_gz", name)
        return frame

    def _save(self, kind: ArtifactKind, name: str, value: Any) -> str:
        self._storage.require_writable()
        key, data = self._encoded(kind, name, value)
        with self._changing() as change:
            change.write(key, data)
        return f"{self._prefix}/{key}"

    def _encoded(self, kind: ArtifactKind, name: str, value: Any) -> tuple[str, bytes]:
        key = layout.artifact_key(kind, name)
        return key, artifacts.encode(kind, value, where=f"{self._prefix}/{key}")

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Change]:
        """Hold the lock of the image; what the block has put into the change is then done."""
        self._storage.require_writable()
        with self._storage.lock(f"image:{self.image_id}"):
            self._require_present()
            with Change(self._storage, self._prefix) as change:
                yield change

    def _load(self, kind: ArtifactKind, name: str) -> Any:
        try:
            return artifacts.load(self._storage, self._prefix, kind, name)
        except KeyError:
            self._require_present()
            raise

    def _require_present(self) -> None:
        if self._storage.stat(f"{self._prefix}/{layout.GROUP}") is None:
            raise RecordNotFoundError(
                f"there is no image {self.image_id!r} in the dataset any more",
                where=str(self._storage.root),
            )

    def list_artifacts(self) -> list[ArtifactInfo]:
        """Return name, kind, key and size of each JSON and data-frame artifact."""
        return list(artifacts.listing(self._storage, self._prefix))

    def list_analysis_keys(self) -> list[str]:
        """Return the keys of the JSON and data-frame artifacts, relative to the dataset."""
        return [info.key for info in self.list_artifacts()]

    def delete_analysis(self, suffixes: str | Iterable[str] | None = None) -> int:
        """Delete JSON and data-frame artifacts and return how many there were.

        Parameters
        ----------
        suffixes : str or iterable of str, optional
            Ends of keys or names (``".parquet"``, ``"velocity_events/events"``). None
            deletes all but the metadata payload, the provenance and the curation, which go
            only when they are named (``"metadata.json"``, ``"provenance"``).
        """
        self._storage.require_writable()
        self._require_present()
        named = [suffixes] if isinstance(suffixes, str) else suffixes
        wanted = None if named is None else [suffix for suffix in named if suffix]
        kept = (layout.METADATA, layout.PROVENANCE, layout.CURATION)
        count = 0
        with self._changing() as change:
            for info in self.list_artifacts():
                if wanted is None:
                    doomed = info.name not in kept
                else:
                    doomed = any(artifacts.is_named(info, suffix) for suffix in wanted)
                if doomed:
                    change.remove(info.key.removeprefix(f"{self._prefix}/"))
                    count += 1
        return count

    # Arrays ----------------------------------------------------------------------------

    def save_array_artifact(
        self,
        name: str,
        arr: object,
        *,
        axes: Sequence[str] | None = None,
        chunks: int | Sequence[int] | None = None,
    ) -> str:
        """Save an N-D array, such as a mask, beside the image; replace one of that name.

        Parameters
        ----------
        name : str
            Any Unicode, ``/`` too.
        arr : array_like
            Any shape; dtypes as for :meth:`OpenDataset.add_image`.
        axes : sequence of str, optional
            A name for each dimension.
        chunks : int or sequence of int, optional
            Shape of a chunk.

        Returns
        -------
        str
            Key of the array artifact's group, relative to the dataset.

        Raises
        ------
        UnsupportedDataError
            If Zarr has no such dtype.
        ArgumentError
            If axes or chunks do not fit; nothing is written.
        """
        self._storage.require_writable()
        array, names = self._arrays.check(name, arr, axes=axes)
        with self._changing() as change:
            self._arrays.save(change, name, array, axes=names, chunks=chunks)
        return f"{self._prefix}/{layout.array_artifact_prefix(name)}"

    def load_array_artifact(self, name: str) -> np.ndarray[Any, Any]:
        """Return an array artifact; errors as `load_json` and `load_array`."""
        try:
            return self._arrays.load(name)
        except KeyError:
            self._require_present()
            raise

    def open_array_artifact(self, name: str) -> zarr.Array[Any]:
        """Return an array artifact as a lazy, read-only :class:`zarr.Array`.

        It reads only what is indexed; errors as `load_array_artifact`.
        """
        try:
            return self._arrays.open(name)
        except KeyError:
            self._require_present()
            raise

    def list_array_artifacts(self) -> list[str]:
        """Return the names of the array artifacts, sorted."""
        return self._arrays.names()

    def delete_array_artifact(self, name: str) -> None:
        """Delete an array artifact; KeyError if there is none of that name."""
        with self._changing() as change:
            self._arrays.delete(change, name)

    # Metadata --------------------------------------------------------------------------

    def save_metadata_payload(self, payload: Mapping[str, Any]) -> str:
        """Save the canonical metadata payload and return its key.

        Parameters
        ----------
        payload : mapping
            ``version``, ``header``, ``experiment_metadata``, ``rois``; other keys are kept.

        Raises
        ------
        ArgumentTypeError
            If it is not a mapping.
        UnsupportedDataError
            As for :meth:`save_json`.
        """
        if not isinstance(payload, Mapping):
            raise ArgumentTypeError(
                f"a metadata payload is a mapping, not {type(payload).__qualname__}"
            )
        return self._save("json", layout.METADATA, payload)

    def load_metadata_payload(self) -> dict[str, Any]:
        """Return the canonical metadata payload.

        Raises
        ------
        MetadataNotFoundError
            If the image has none (a FileNotFoundError).
        """
        try:
            payload = self._load("json", layout.METADATA)
        except RecordNotFoundError:
            raise
        except KeyError:
            raise MetadataNotFoundError(
                f"the image {self.image_id!r} has no metadata payload",
                where=f"{self._prefix}/{layout.artifact_key('json', layout.METADATA)}",
                hint="save_metadata_payload() gives it one.",
            ) from None
        if not isinstance(payload, dict):
            raise SchemaValidationError(
                f"the metadata payload is of type {type(payload).__name__}, not a mapping",
                where=f"{self._prefix}/{layout.artifact_key('json', layout.METADATA)}",
                hint="save_metadata_payload() replaces it.",
            )
        return payload
