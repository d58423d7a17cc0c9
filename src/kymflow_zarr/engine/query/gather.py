"""Gather one data-frame artifact of all images. Imports pandas and Arrow: import it late."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol, TypeVar

import pandas as pd

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import load_image, require_image_id
from kymflow_zarr.engine.hints import did_you_mean
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.engine.index.file import parsed, values
from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArtifactNotFoundError,
    KymflowZarrError,
    RecordNotFoundError,
)
from kymflow_zarr.formats.kinds import KINDS, dataframe_kinds
from kymflow_zarr.formats.rows.gather import (
    Part,
    lazy_part_of_bytes,
    lazy_part_of_dataframe,
    part_of_bytes,
    part_of_dataframe,
)
from kymflow_zarr.runtime.parallel import THREADS, in_order
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.versioned_cache import VersionedCache
from kymflow_zarr.types import ArtifactKind, Progress

# In order of preference: the kind that preserves most comes first.


P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)
G_contra = TypeVar("G_contra", contravariant=True)


class _Maker(Protocol[G_contra, P_co]):
    """Makes the rows of an image from its artifact."""

    def __call__(self, given: G_contra, image_id: str, /, *, where: str) -> P_co: ...


class Gatherer:
    """Reads one artifact of many images.

    Parameters
    ----------
    storage : Storage
    name : str
    kind : {"parquet", "csv_gz", "json"}, optional
        None takes the first of these that an image has.
    """

    def __init__(self, storage: Storage, name: str, kind: ArtifactKind | None) -> None:
        known = (*(each.name for each in dataframe_kinds()), "json")
        if kind is not None and kind not in known:
            raise ArgumentError(
                f"there is no kind {kind!r} of data frames",
                where="kind",
                hint=f"Use one of {', '.join(map(repr, known))}.",
            )
        self._storage = storage
        self.name = name
        self.where = storage.location
        self.kinds = known if kind is None else (kind,)
        self.keys = {k: layout.artifact_key(k, name) for k in self.kinds}

    def having(self, index: Index) -> tuple[list[str], dict[str, KymflowZarrError]]:
        """Return the ids of the images that have the artifact, and errors of damaged images."""
        table = index.columns(["artifacts"])
        wanted = set(self.keys.values())
        texts = values(table, "artifacts")
        has = {text: not wanted.isdisjoint(parsed([text])[0]) for text in dict.fromkeys(texts)}
        ids: list[str] = []
        damaged: dict[str, KymflowZarrError] = {}
        errors = values(table, "error")
        for image_id, text, error in zip(values(table, "image_id"), texts, errors, strict=True):
            if error is not None and self._is_damaged(image_id, damaged):
                continue
            if has[text] or (error is not None and self._exists(image_id)):
                ids.append(image_id)
        return ids, damaged

    def _is_damaged(self, image_id: str, damaged: dict[str, KymflowZarrError]) -> bool:
        """Return True and record the error if an image has the artifact but a damaged document."""
        try:
            if self._exists(image_id):
                require_image_id(load_image(self._storage, image_id), image_id)
            else:
                # It may have the artifact where its artifacts cannot be listed, or behind a link.
                prefix = layout.image_prefix(image_id)
                list(artifacts.listing(self._storage, prefix))
                for key in self.keys.values():
                    self._storage.read(f"{prefix}/{key}")
        except KymflowZarrError as error:
            if self._storage.is_folder(layout.image_prefix(image_id)):
                damaged[image_id] = error
            return True
        return False

    def _exists(self, image_id: str) -> bool:
        prefix = layout.image_prefix(image_id)
        return any(self._storage.stat(f"{prefix}/{key}") for key in self.keys.values())

    def parts(
        self,
        read: Callable[[str], P | None],
        ids: Sequence[str],
        *,
        cached: Mapping[str, P],
        raise_missing: bool,
        skip_deleted: bool,
        on_error: Callable[[str, Exception], None] | None,
        executor: Executor | None,
        progress: Progress | None,
    ) -> dict[str, P]:
        """Return the rows of each image that has the artifact, in the order of `ids`.

        Parameters
        ----------
        read : callable
            Returns the rows of one image.
        cached : mapping of str to rows
            The rows of the images that need not be read.
        skip_deleted : bool
            True leaves out images that are deleted meanwhile.
        on_error : callable, optional
            Called with id and error of an image that cannot be read. None raises the error.
        """
        parts: dict[str, P] = {}

        def rows_of(image_id: str) -> P | None:
            return cached[image_id] if image_id in cached else read(image_id)

        for image_id, part, error in in_order(
            rows_of if cached else read,
            ids,
            executor=executor,
            progress=progress,
            threads=THREADS,
            here=cached.__contains__,
        ):
            if skip_deleted and isinstance(error, RecordNotFoundError):
                continue
            if error is not None and on_error is not None and isinstance(error, KymflowZarrError):
                on_error(image_id, error)
            elif error is not None:
                error.add_note(f"image {image_id!r}")
                raise error
            elif part is not None:
                parts[image_id] = part
            elif raise_missing:
                raise ArtifactNotFoundError(
                    f"the image {image_id!r} has no data frame {self.name!r}",
                    where=layout.image_prefix(image_id),
                    hint='missing="skip" leaves such images out.',
                )
        return parts


PartCache = VersionedCache[Part]
"""The rows of the images that were gathered last."""


def read_part(
    storage: Storage,
    keys: Mapping[ArtifactKind, str],
    cache: PartCache | None,
    image_id: str,
) -> Part | None:
    """Return the rows of one image, None if it has no such artifact; cache what is read."""
    return _read(storage, keys, image_id, part_of_bytes, part_of_dataframe, cache)


def cached_parts(
    storage: Storage, keys: Mapping[ArtifactKind, str], cache: PartCache, ids: Iterable[str]
) -> dict[str, Part]:
    """Return the rows of those images whose artifact is cached and has not changed."""
    parts: dict[str, Part] = {}
    for image_id in ids if len(cache) else ():
        prefix = layout.image_prefix(image_id)
        for below in keys.values():
            key = f"{prefix}/{below}"
            stat = storage.stat(key)
            if stat is not None:
                part = cache.get(stat, key)
                if part is not None:
                    parts[image_id] = part
                break  # The image has no kind that comes first.
    return parts


def read_lazy_part(
    storage: Storage, keys: Mapping[ArtifactKind, str], image_id: str
) -> bytes | None:
    """Return the rows of one image as Parquet, None if it has no such artifact."""
    return _read(storage, keys, image_id, lazy_part_of_bytes, lazy_part_of_dataframe)


def _read(
    storage: Storage,
    keys: Mapping[ArtifactKind, str],
    image_id: str,
    of_bytes: _Maker[bytes, P],
    of_frame: _Maker[pd.DataFrame, P],
    cache: VersionedCache[Any] | None = None,
) -> P | None:
    prefix = layout.image_prefix(image_id)
    for kind, below in keys.items():
        key = f"{prefix}/{below}"
        version = None if cache is None else cache.version(key)
        data = storage.read(key)
        if data is None:
            continue
        if kind == "parquet":
            part = of_bytes(data, image_id, where=key)
        else:
            value = artifacts.decode(kind, data, where=key)
            part = of_frame(_frame(value, key), image_id, where=key)
        if cache is not None:
            cache.put(version, key, part)
        return part
    if not storage.is_folder(prefix):
        load_image(storage, image_id)  # Raises an error if the image does not exist.
    return None


def _frame(value: Any, where: str) -> pd.DataFrame:
    if isinstance(value, pd.DataFrame):
        return value
    if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
        return pd.DataFrame(value)
    raise ArgumentTypeError(
        "the JSON artifact is not a list of objects, and so no data frame", where=where
    )


def gather(
    index: Index,
    gatherer: Gatherer,
    read: Callable[[str], P | None],
    ids: Sequence[str] | None,
    *,
    missing: str,
    on_error: str,
    executor: Executor | None,
    progress: Progress | None,
    cached: Callable[[Sequence[str]], Mapping[str, P]] = lambda _: {},
) -> tuple[dict[str, P], dict[str, Exception]]:
    """Return the rows of each image, and the errors of those that cannot be read.

    Parameters
    ----------
    read : callable
        Returns the rows of one image.
    cached : callable
        Returns the rows of those images that need not be read.
    """
    for value, known, where in (
        (missing, ("skip", "raise"), "missing"),
        (on_error, ("raise", "report"), "on_error"),
    ):
        if value not in known:
            raise ArgumentError(f"{value!r} is not one of {known}", where=where)
    errors: dict[str, Exception] = {}
    chosen = ids
    if chosen is None:
        chosen, damaged = gatherer.having(index)
        for image_id, error in damaged.items():
            if on_error == "raise":
                error.add_note(f"image {image_id!r}")
                raise error
            errors[image_id] = error
        if missing == "raise":
            chosen = [image_id for image_id in index.image_ids() if image_id not in damaged]
    chosen = list(dict.fromkeys(chosen))
    parts = gatherer.parts(
        read,
        chosen,
        cached=cached(chosen),
        raise_missing=missing == "raise",
        skip_deleted=ids is None,
        on_error=errors.__setitem__ if on_error == "report" else None,
        executor=executor,
        progress=progress,
    )
    if not parts and not errors:
        names = frame_names(index)
        meant = "" if gatherer.name in names else did_you_mean(gatherer.name, names)
        raise ArtifactNotFoundError(
            f"no image has a data frame {gatherer.name!r}"
            if ids is None
            else f"none of the {len(ids)} images asked for has a data frame {gatherer.name!r}",
            where=gatherer.where,
            hint=f"{meant}images()['artifacts'] tells which there are.",
        )
    return parts, errors


def frame_names(index: Index) -> list[str]:
    """Return the names of all data-frame artifacts of the dataset, sorted."""
    texts = dict.fromkeys(values(index.columns(["artifacts"]), "artifacts"))
    keys = {layout.parse_artifact_key(key) for text in texts for key in parsed([text])[0]}
    return sorted({key[1] for key in keys if key is not None and KINDS[key[0]].is_dataframe})


def report_of(errors: Mapping[str, Exception]) -> dict[str, str] | None:
    """Return schema metadata that lists the images that could not be read."""
    if not errors:
        return None
    return {"errors": json.dumps({image_id: str(error) for image_id, error in errors.items()})}
