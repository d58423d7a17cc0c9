"""Write the further levels of an array: smaller versions of it, for views of all of a large plane.

Each level is reduced from the one before, as it is stored, so that a reader can check it alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kymflow_zarr import layout as keys
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import dump, load
from kymflow_zarr.engine.images.pixels import (
    LARGE_PLANE,
    Below,
    Target,
    Tree,
    set_pyramid,
    write_array,
)
from kymflow_zarr.formats.array.read import OpenFile, Parts, files_of, read_array
from kymflow_zarr.formats.array.reduce import METHODS, ReducedArray
from kymflow_zarr.formats.array.write import array_layout
from kymflow_zarr.schema.array import ArrayDocument, read_array_document
from kymflow_zarr.schema.axes import array_dimension_names
from kymflow_zarr.schema.base import plain_group_document
from kymflow_zarr.schema.image import (
    ImageDocument,
    LevelDocument,
    PixelsDocument,
    PyramidDocument,
    ome_attributes,
)
from kymflow_zarr.storage.interface import InMemory, Storage
from kymflow_zarr.storage.zarr_arrays import open_zarr_array
from kymflow_zarr.types import ArrayLike, Axis, Progress

if TYPE_CHECKING:
    import numpy as np

    from kymflow_zarr.engine.dataset import OpenDataset


_SMALL_PLANE: Final = 1 << 21
# A shorter side is left alone while the longer one is reduced.
_SHORT_SIDE: Final = 1024
# A level up to this size stays in memory to make the next one of it.
_KEPT_BYTES: Final = 64 << 20


def plan_levels(shape: Sequence[int], axes: Sequence[Axis] | None) -> list[tuple[int, ...]]:
    """Return the factors of each level against the level before it, one for each dimension.

    The two axes of the plane are those that pictures show: the last two that are no channels. Each
    level has a quarter of the pixels: both sides of a plane are halved, or the longer one is
    quartered if the other has at most 1,024 samples, as the width of a kymograph.

    Parameters
    ----------
    shape : sequence of int
    axes : sequence of Axis, optional
        The last two if left out.
    """
    if len(shape) < 2 or 0 in shape:
        return []
    plane = [i for i in range(len(shape)) if axes is None or axes[i].quantity != "channel"][-2:]
    if len(plane) < 2:
        return []
    lengths = {i: shape[i] for i in plane}
    plan: list[tuple[int, ...]] = []
    while math.prod(lengths.values()) > (_SMALL_PLANE if plan else LARGE_PLANE):
        longer = max(plane, key=lambda i: lengths[i])
        short = min(lengths.values()) <= _SHORT_SIDE
        factors = {longer: 4} if short else dict.fromkeys(plane, 2)
        lengths = {i: -(-n // factors.get(i, 1)) for i, n in lengths.items()}
        plan.append(tuple(factors.get(i, 1) for i in range(len(shape))))
    return plan


class StoredArray:
    """An array of ours, staged or stored, that is read in parts.

    Parameters
    ----------
    layout : ArrayDocument
    open_file : callable
        Opens a file of the array by its key below it.
    where : str
        Key of the array, for errors.
    """

    def __init__(self, layout: ArrayDocument, open_file: OpenFile, *, where: str) -> None:
        import numpy as np

        self._layout = layout
        self._open = open_file
        self._where = where
        self.shape = layout.shape
        self.dtype = np.dtype(layout.data_type)

    def __getitem__(self, region: object) -> np.ndarray[Any, Any]:
        """Return a region, which slices give."""
        return read_array(self._layout, self._open, where=self._where, selection=region)


def stored_array(storage: Storage, key: str) -> tuple[ArrayLike, Sequence[int]]:
    """Return the array at a key, and the shape of its chunks."""
    where = f"{key}/{keys.GROUP}"
    layout = read_array_document(load(storage, where), where=where)
    if layout is None:  # Written by another program.
        array = open_zarr_array(storage, key)
        return array, array.chunks
    files = StoredArray(layout, files_of(storage, key, layout), where=key)
    return files, layout.chunk_shape


def _staged_array(tree: Tree, layout: ArrayDocument) -> StoredArray:
    last: dict[str, bytes] = {}

    @contextlib.contextmanager
    def opened(key: str) -> Iterator[Parts]:
        # Blocks are read one after the other, several of them from one file.
        if key not in last:
            last.clear()
            last[key] = tree.read(key)
        yield InMemory(last[key])

    return StoredArray(layout, opened, where="pyramid")


def write_levels(
    array: ArrayLike,
    layout: ArrayDocument,
    pixels: PixelsDocument,
    target: Target,
    *,
    axes: Sequence[Axis] | None,
    dimension_names: Sequence[str] | None,
    method: str = "mean",
) -> PyramidDocument | None:
    """Write the levels of an array that was just written, if its planes are large.

    Parameters
    ----------
    array : ArrayLike
        Level 0. Unless it is a NumPy array it is read back from `target`, as some sources can be
        read once only.
    layout : ArrayDocument
        Its layout.
    pixels : PixelsDocument
        Its description.
    target : Target
    axes, dimension_names
        As for :func:`kymflow_zarr.engine.images.pixels.write_pixels`.
    method : str
        ``"mean"`` or, of labels, ``"mode"``.
    """
    plan = plan_levels(pixels.shape, axes)
    if not plan:
        return None
    import numpy as np

    source: ArrayLike = array
    unit: Sequence[int] = (1,) * len(plan[0])
    if not isinstance(array, np.ndarray):
        source, unit = _staged_array(target.tree(pixels.path), layout), layout.chunk_shape
    return make_levels(
        source, unit, plan, pixels, target.tree(keys.pyramid_path(target.generation)),
        axes=axes, dimension_names=dimension_names, method=method,
    )  # fmt: skip


def make_levels(
    source: ArrayLike,
    unit: Sequence[int],
    plan: Sequence[Sequence[int]],
    pixels: PixelsDocument,
    group: Tree,
    *,
    axes: Sequence[Axis] | None,
    dimension_names: Sequence[str] | None,
    method: str,
) -> PyramidDocument:
    """Write levels as planned into a staged group; return their description.

    Parameters
    ----------
    source : ArrayLike
        Level 0.
    unit : sequence of int
        Shape of what it reads at once.
    plan : sequence
        As of :func:`plan_levels`.
    pixels : PixelsDocument
        The description of level 0.
    group : Tree
    axes, dimension_names, method
        As for :func:`write_levels`.
    """
    folder = keys.pyramid_path(pixels.generation)
    group.write(keys.GROUP, dump(plain_group_document()))
    factors = (1,) * len(pixels.shape)
    levels = []
    for number, step in enumerate(plan, start=1):
        level: ArrayLike = ReducedArray(source, step, method, unit)
        layout = array_layout(level, axes=axes, chunks=None)
        is_small = math.prod(layout.shape) * level.dtype.itemsize <= _KEPT_BYTES
        if is_small:
            level = level[tuple(slice(0, n) for n in layout.shape)]
        tree = Below(group, str(number))
        written = write_array(
            level, layout, tree, path=f"{folder}/{number}", generation=pixels.generation,
            dimension_names=dimension_names,
        )  # fmt: skip
        factors = tuple(f * s for f, s in zip(factors, step, strict=True))
        levels.append(LevelDocument(**msgspec.structs.asdict(written), factors=list(factors)))
        source = level if is_small else _staged_array(tree, layout)
        unit = (1,) * len(factors) if is_small else layout.chunk_shape
    return PyramidDocument(of=pixels.sha256, method=method, levels=levels)


def rebuild_pyramid(
    storage: Storage, change: Change, prefix: str, document: ImageDocument
) -> PyramidDocument | None:
    """Add the levels of stored pixels to a change, in place of any; return their description.

    Parameters
    ----------
    storage : Storage
    change : Change
        A change of the image, whose lock the caller holds.
    prefix : str
        Key of the image.
    document : ImageDocument
        Its current document, which gets the description.
    """
    pixels, axes = document.pixels, document.axis_values()
    plan = plan_levels(pixels.shape, axes)
    folder = keys.pyramid_path(pixels.generation)
    pyramid = None
    if plan:
        source, unit = stored_array(storage, f"{prefix}/{pixels.path}")
        pyramid = make_levels(
            source, unit, plan, pixels, change.stage(folder), axes=axes,
            dimension_names=array_dimension_names(axes), method="mean",
        )  # fmt: skip
    elif storage.is_folder(f"{prefix}/{folder}"):
        change.remove(folder)
    set_pyramid(document, pyramid)
    return pyramid


def updated_ome(document: ImageDocument, ome: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return OME-Zarr metadata with the current axes and levels of an image; the rest stays."""
    rebuilt = ome_attributes(
        document.axis_values(), path=document.pixels.path, name=document.image_id,
        pyramid=document.current_pyramid,
    )  # fmt: skip
    return rebuilt if rebuilt is None else {**(ome or {}), **rebuilt}


def write_image(storage: Storage, change: Change, prefix: str, document: ImageDocument) -> None:
    """Add the document of an image whose levels have changed to a change of the image."""
    raw = load(storage, f"{prefix}/{keys.GROUP}") or {}
    ome = updated_ome(document, raw.get("attributes", {}).get("ome"))
    change.write_group("", document.to_group(ome=ome))


def build_pyramids(
    dataset: OpenDataset,
    image_ids: Iterable[str] | None = None,
    *,
    progress: Progress | None = None,
) -> list[str]:
    """Add the levels that are missing; see :meth:`kymflow_zarr.ZarrDataset.build_pyramids`."""
    dataset.require_writable()
    wanted = dataset.chosen_ids(image_ids)
    built = []
    for done, image_id in enumerate(wanted):
        if progress is not None:
            progress(done, len(wanted), image_id)
        if dataset.record(image_id).build_pyramid():
            built.append(image_id)
    if progress is not None:
        progress(len(wanted), len(wanted), "")
    return built


def disagreeing_levels(
    storage: Storage, prefix: str, pixels: PixelsDocument, pyramid: PyramidDocument
) -> Iterator[str]:
    """Yield the path of each level that is not the level before it, reduced.

    Parameters
    ----------
    storage : Storage
    prefix : str
        Key of the group.
    pixels : PixelsDocument
    pyramid : PyramidDocument
        The current one.
    """
    import numpy as np

    before: PixelsDocument = pixels
    factors = [1] * len(pixels.shape)
    if pyramid.method not in METHODS:
        return  # Of a later version.
    for level in pyramid.levels:
        source, unit = stored_array(storage, f"{prefix}/{before.path}")
        stored, _ = stored_array(storage, f"{prefix}/{level.path}")
        steps = [f // g for f, g in zip(level.factors, factors, strict=True)]
        wanted = ReducedArray(source, steps, pyramid.method, unit)
        if wanted.shape != tuple(stored.shape) or not all(
            np.array_equal(values, stored[region], equal_nan=values.dtype.kind in "fc")
            for region, values in wanted.blocks()
        ):
            yield level.path
        before, factors = level, level.factors
