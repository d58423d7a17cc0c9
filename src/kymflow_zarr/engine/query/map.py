"""Call a function for many images, and collect results and errors."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.runtime.parallel import in_order
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import Progress

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset

R = TypeVar("R")


class MapResult(Mapping[str, R], Generic[R]):
    """The results of a function, by image id, in the order requested.

    Images that failed are not among the items but in `errors`.

    Attributes
    ----------
    errors : dict of str to Exception
        The exception of each image that failed, by image id, in the same order.
    """

    def __init__(self, values: Mapping[str, R], errors: Mapping[str, Exception]) -> None:
        self._values = dict(values)
        self.errors = dict(errors)

    def __getitem__(self, image_id: str) -> R:
        if image_id in self.errors:
            raise self.errors[image_id]
        return self._values[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def ok(self) -> bool:
        """True if no image failed."""
        return not self.errors

    def raise_errors(self) -> None:
        """Raise the errors of all images that failed as an ExceptionGroup, if there are any."""
        if self.errors:
            failed = [*self.errors.values()]
            for image_id, error in self.errors.items():
                error.add_note(f"image {image_id!r}")
            raise ExceptionGroup(f"{len(failed)} images failed", failed)

    def __repr__(self) -> str:
        return f"<MapResult: {len(self)} images done, {len(self.errors)} failed>"


def map_images(
    dataset: OpenDataset,
    fn: Callable[[StoredImage], R],
    ids: Sequence[str],
    *,
    executor: Executor | None,
    progress: Progress | None,
) -> MapResult[R]:
    """Call `fn` for the record of each image; see :meth:`kymflow_zarr.OpenDataset.map`."""
    values: dict[str, R] = {}
    errors: dict[str, Exception] = {}
    call = functools.partial(_call, fn, dataset)
    # The function may change the images, and so must end with the call.
    leased = dataset.storage.lease
    with closing(
        in_order(call, ids, executor=executor, progress=progress, leased=leased)
    ) as results:
        for image_id, value, error in results:
            if error is None:
                values[image_id] = value  # type: ignore[assignment]
            else:
                errors[image_id] = error
    return MapResult(values, errors)


def _call(fn: Callable[[StoredImage], R], dataset: OpenDataset, image_id: str) -> R:
    return fn(dataset.record(image_id))


class Reading:
    """A read-only storage that worker processes open once per call.

    Parameters
    ----------
    storage : Storage
    call : str, optional
        Id of the call. Each call reopens the storage, to recover journals of writers that died
        since the last one.
    """

    def __init__(self, storage: Storage, call: str | None = None) -> None:
        self.storage = storage
        self._call = uuid.uuid4().hex if call is None else call

    def __reduce__(self) -> tuple[Any, ...]:
        return _reading, (self.storage, self._call)


_readings: dict[str, Reading] = {}


def _reading(storage: Storage, call: str) -> Reading:
    reading = _readings.get(call)
    if reading is None:
        reading = Reading(storage.reader(), call)
        reading.storage.recover()
        for old in list(_readings)[:-7]:
            _readings.pop(old, None)
        _readings[call] = reading
    return reading
