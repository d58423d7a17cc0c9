"""Validate one image: its document, arrays, metadata and other files."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from kymflow_zarr import layout
from kymflow_zarr import layout as keys
from kymflow_zarr.check.files import (
    check_digest,
    check_foreign,
    check_group,
    check_source_files,
    check_temporary,
    check_timestamp,
    is_temporary,
    list_names,
    list_tree,
    warn_of_lost,
)
from kymflow_zarr.check.validate.artifacts import check_artifacts
from kymflow_zarr.check.validate.findings import RESTORE, Findings
from kymflow_zarr.engine.documents import load
from kymflow_zarr.engine.images.labels import listed_labels
from kymflow_zarr.engine.images.times import times_name
from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.errors import ArgumentError, SchemaValidationError
from kymflow_zarr.runtime.parallel import in_order
from kymflow_zarr.schema.array import ArrayDocument, chunk_key, read_array_document
from kymflow_zarr.schema.axes import array_dimension_names, channel_count, ome_axes
from kymflow_zarr.schema.base import is_own_group
from kymflow_zarr.schema.image import (
    ArrayArtifactDocument,
    ImageDocument,
    PixelsDocument,
    ome_attributes,
    read_array_artifact_document,
    read_image_document,
)
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.zarr_arrays import open_zarr_array
from kymflow_zarr.types import Axis, Progress

_AGAIN = "Restore the files from a copy of the dataset, or save the array again."


def check_array(
    findings: Findings,
    storage: Storage,
    prefix: str,
    pixels: PixelsDocument,
    folders: Mapping[str, Mapping[str, int]],
    dimension_names: Sequence[str] | None,
) -> None:
    """Check the array of a group against the group's document.

    Parameters
    ----------
    findings : Findings
    storage : Storage
    prefix : str
        Key of the group.
    pixels : PixelsDocument
    folders : mapping of str to mapping
        The files of the group's folders, as of :func:`list_tree`.
    dimension_names : sequence of str, optional
        The names that the array's document must have.
    """
    check_digest(findings, f"{prefix}/{keys.GROUP}", "pixels.sha256", pixels.sha256)
    key = f"{prefix}/{pixels.path}"
    where = f"{key}/{keys.GROUP}"
    files = folders.get(pixels.path, {})
    # On-disk format: "pixels.path MUST name a Zarr v3 array."
    if keys.GROUP not in files:
        findings.add("array-missing", where, f"the document of the array is missing. {_AGAIN}")
        return
    with findings.reading("array-document", where):
        document = load(storage, where)
        _check_names(findings, where, document, dimension_names)
        layout = read_array_document(document, where=where)
        if layout is None:
            _check_foreign(findings, storage, key, pixels)
            return
        _check_equal(
            findings, where, pixels, layout.shape, layout.data_type, chunks=layout.chunk_shape
        )
        _check_files(findings, key, pixels, layout, files)


def _check_names(
    findings: Findings, where: str, document: Any, wanted: Sequence[str] | None
) -> None:
    stated = document.get("dimension_names") if isinstance(document, Mapping) else None
    if stated is not None and not isinstance(stated, list):
        raise SchemaValidationError(f"dimension_names is {stated!r}, not a list", where=where)
    # OME-Zarr 0.5: "The 'dimension_names' attribute MUST be included in the zarr.json of the
    # Zarr array of a multiscale level and MUST match the names in the 'axes' metadata."
    if stated != (None if wanted is None else list(wanted)):
        findings.add(
            "dimension-names",
            where,
            f"dimension_names is {stated}, where the axes make it {wanted}. "
            "Correct it there, or save the array again.",
        )


def _check_foreign(findings: Findings, storage: Storage, key: str, pixels: PixelsDocument) -> None:
    array = open_zarr_array(storage, key, complete=False)
    where = f"{key}/{keys.GROUP}"
    findings.add(
        "array-foreign",
        where,
        "another program wrote the array in a layout of its own, which may leave chunks out: "
        "its files were not checked.",
    )
    _check_equal(findings, where, pixels, array.shape, array.dtype.name, chunks=array.chunks)


def _check_equal(
    findings: Findings,
    where: str,
    pixels: PixelsDocument,
    shape: Sequence[int],
    dtype: str,
    *,
    chunks: Sequence[int],
) -> None:
    # On-disk format: "pixels.shape, dtype and chunks MUST be those of the array."
    expected = (pixels.shape, pixels.dtype, pixels.chunks)
    stated = (list(shape), dtype, list(chunks))
    if expected != stated:
        findings.add(
            "array-mismatch",
            where,
            "shape, dtype and chunks are {} {} {}, its group says {} {} {}. ".format(
                *stated, *expected
            )
            + _AGAIN,
        )


def _check_files(
    findings: Findings,
    key: str,
    pixels: PixelsDocument,
    layout: ArrayDocument,
    files: Mapping[str, int],
) -> None:
    grid = layout.file_grid
    # Loop over the existing files, not over the grid: a damaged document may state any size.
    chunks = {name for name in files if _is_chunk(name, grid)}
    # On-disk format: "Every chunk MUST be written, those of equal values too."
    missing = math.prod(grid) - len(chunks)
    if missing:
        findings.add(
            "chunk-missing",
            f"{key}/{_first_missing(chunks, grid)}",
            f"{missing} of the {math.prod(grid)} chunk files are missing, this first. {_AGAIN}",
        )
    # Zarr v3, codecs: no chunk is encoded as zero bytes.
    empty = [name for name in files if name in chunks and files[name] == 0]
    if empty:
        findings.add(
            "chunk-empty",
            f"{key}/{empty[0]}",
            f"{len(empty)} chunk files are empty, this first. {_AGAIN}",
        )
    # On-disk format: "pixels.stored_bytes MUST be the size of all files of the array."
    size = files[keys.GROUP] + sum(files[name] for name in chunks)
    if not missing and not empty and size != pixels.stored_bytes:
        findings.add(
            "stored-bytes",
            key,
            f"the files hold {size} bytes, where {pixels.stored_bytes} were written: one was "
            f"cut off or changed. {_AGAIN}",
        )
    # Zarr v3 core: "chunk_grid ... defines the keys of the chunks"; no reader looks at others.
    stray = [name for name in files if name not in chunks and name != keys.GROUP]
    if stray:
        findings.add(
            "chunk-stray",
            f"{key}/{stray[0]}",
            f"{len(stray)} files belong to no chunk of the array, this first; nothing reads "
            "them, and they can be deleted.",
        )


def _is_chunk(name: str, grid: tuple[int, ...]) -> bool:
    start, *parts = name.split("/")
    if start != "c" or len(parts) != len(grid) or not all(part.isdecimal() for part in parts):
        return False
    index = tuple(map(int, parts))
    return chunk_key(index) == name and all(i < n for i, n in zip(index, grid, strict=True))


def _first_missing(chunks: Collection[str], grid: tuple[int, ...]) -> str:
    for number in range(len(chunks) + 1):
        index = []
        rest = number
        for n in reversed(grid):
            rest, i = divmod(rest, n)
            index.append(i)
        key = chunk_key(tuple(reversed(index)))
        if key not in chunks:
            break
    return key


def check_ome(
    findings: Findings,
    where: str,
    stated: Any,
    document: ImageDocument,
    folders: Mapping[str, Mapping[str, int]],
) -> None:
    """Check ``attributes.ome``; ignore keys that we do not write.

    Parameters
    ----------
    findings : Findings
    where : str
        Key of the image's document.
    stated : object
        ``attributes.ome``, None if there is none.
    document : ImageDocument
    folders : mapping of str to mapping
        The files of the image's folders, as of :func:`list_tree`.
    """
    axes = document.axis_values()
    wanted = ome_attributes(
        axes,
        path=document.pixels.path,
        name=document.image_id,
        pyramid=document.current_pyramid,
    )
    if wanted is None:
        _not_expressible(findings, where, axes, stated)
        return
    if stated is None and [axis.quantity for axis in axes].count("time") > 1:
        return  # Line scans of several runs had none before.
    faults = [] if isinstance(stated, Mapping) else ["is missing"]
    if isinstance(stated, Mapping):
        # OME-Zarr 0.5: "The OME-Zarr Metadata ... version MUST be '0.5'."
        if stated.get("version") != wanted["version"]:
            faults.append(f"has the version {stated.get('version')!r}, not '0.5'")
        faults += _multiscale_faults(stated, wanted["multiscales"][0], folders)
        faults += _omero_faults(stated, document)
    if faults:
        findings.add(
            "ome",
            where,
            f"attributes.ome {'; it '.join(faults)}; so that other programs see something else "
            "than this one. save_array(load_array()) rewrites it.",
        )


def _not_expressible(findings: Findings, where: str, axes: Sequence[Axis], stated: Any) -> None:
    orders = itertools.permutations(axes)
    order = next((order for order in orders if ome_axes(order) is not None), None)
    if order is None:
        advice = "No order of them would be: that takes two or three axes of space, or one of "
        advice += "space and one of time, and at most one other."
    else:
        better = " ".join(axis.name for axis in order)
        advice = f"In the order {better} they would be: transpose the pixels for that."
    names = " ".join(axis.name for axis in axes)
    # OME-Zarr 0.5: "The 'axes' MUST contain 2 or 3 entries of 'type:space' ... The entries
    # MUST be ordered by 'type'."
    findings.add(
        "ome-not-expressible",
        where,
        f"the axes {names} cannot be written in OME-Zarr: other programs see a plain Zarr array. "
        f"{advice}",
    )
    if stated is not None:
        findings.add(
            "ome",
            where,
            "attributes.ome describes axes that the image has not. Remove it from the document.",
        )


def _multiscale_faults(
    stated: Mapping[str, Any], wanted: Mapping[str, Any], folders: Mapping[str, Mapping[str, int]]
) -> list[str]:
    first = _item(stated.get("multiscales"), 0)
    axes = _list(first.get("axes"))
    compared = ("name", "type", "unit")
    stated_axes = [[_mapping(axis).get(k) for k in compared] for axis in axes]
    faults = []
    if stated_axes != [[axis.get(k) for k in compared] for axis in wanted["axes"]]:
        faults.append(f"has axes {axes}, where the image's make it {wanted['axes']}")
    datasets = _list(first.get("datasets"))
    level = _item(datasets, 0)
    expected, *further = wanted["datasets"]
    # "Each 'datasets' dictionary MUST contain the key 'path', whose value contains the path
    # to the array for this resolution, ... ordered from largest (i.e. highest resolution)."
    if level.get("path") != expected["path"]:
        faults.append(f"has level 0 at {level.get('path')!r}, where it is at {expected['path']!r}")
    # On-disk format: "The levels of the pyramid MUST follow, in their order."
    if datasets[1 : 1 + len(further)] != further:
        faults.append(f"has the levels {datasets[1:]}, where the pyramid makes them {further}")
    for other in datasets[1:]:
        path = _mapping(other).get("path")
        folder, _, below = f"{path}/{layout.GROUP}".partition("/")
        if below not in folders.get(folder, {}):
            faults.append(f"names a level at {path!r}, where there is none")
    # "They MUST contain exactly one 'scale' ... transformation"; for ours the true steps.
    scale = _item(level.get("coordinateTransformations"), 0).get("scale")
    [transformation] = expected["coordinateTransformations"]
    if scale != transformation["scale"]:
        faults.append(f"has the scale {scale}, where the steps make it {transformation['scale']}")
    return faults


def _omero_faults(stated: Mapping[str, Any], document: ImageDocument) -> list[str]:
    channels = _mapping(stated.get("omero")).get("channels")
    if channels is None:
        return []
    count = channel_count(document.axes, document.pixels.shape)
    # OME-Zarr 0.5: the entries of "omero" are those of the channel axis, in its order.
    named = len(_list(channels))
    return [f"displays {named} channels of {count}"] if named != count else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _item(values: Any, index: int) -> Mapping[str, Any]:
    items = _list(values)
    return _mapping(items[index]) if len(items) > index else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


_WAITS_S = (0.0, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


def check_image(findings: Findings, storage: Storage, image_id: str) -> None:
    """Check an image.

    A concurrent writer may change the image between the reads of its documents and files. A finding
    is therefore checked again until two results are equal. A missing image was deleted.
    """
    prefix = layout.image_prefix(image_id)
    of_image = Findings()
    for wait_s in _WAITS_S:
        time.sleep(wait_s)
        storage.recover()
        before = of_image.problems
        of_image = Findings()
        _check(of_image, storage, prefix, image_id)
        if of_image.problems in ((), before):
            break
    else:
        # The image keeps changing: keep only findings that the previous check had too.
        of_image.retain(before)
    if storage.is_folder(prefix):
        findings.extend(of_image)


def _check(findings: Findings, storage: Storage, prefix: str, image_id: str) -> None:
    where = f"{prefix}/{layout.GROUP}"
    document, ome = None, None
    with findings.reading("image-document", where):
        raw: Any = load(storage, where)
        # On-disk format: "Each folder below images/ MUST be an image."
        if raw is None:
            findings.add(
                "image-document-missing",
                where,
                "the document of the image is missing, so that nothing in the folder can be read. "
                "Restore it from a copy of the dataset, or move the folder out of images/.",
            )
        else:
            document = read_image_document(raw, where=where)
            ome = raw["attributes"].get("ome")
    names: list[str] = []
    folders: dict[str, dict[str, int]] = {}
    with findings.reading("unreadable", prefix):
        names = list_names(storage, prefix)
        check_temporary(findings, prefix, sum(map(is_temporary, names)))
        names = [name for name in names if not is_temporary(name)]
        folders = list_tree(storage, prefix, (n for n in names if n not in _ARRAYS))
    if not folders:
        return
    if document is not None:
        _check_document(findings, where, document, image_id)
        check_ome(findings, where, ome, document, folders)
        names_told = array_dimension_names(document.axis_values())
        check_array(findings, storage, prefix, document.pixels, folders, names_told)
        _check_levels(findings, storage, prefix, document, folders, names_told)
        _check_generations(findings, prefix, document.pixels.path, folders)
    artifacts = folders.get(layout.ANALYSIS, {})
    check_artifacts(findings, storage, f"{prefix}/{layout.ANALYSIS}", artifacts, document)
    for folder in _ARRAYS:
        if folder in names:
            _check_array_artifacts(findings, storage, f"{prefix}/{folder}", document)
    if layout.LABELS in names:
        _check_labels(findings, storage, f"{prefix}/{layout.LABELS}")
    known = {
        layout.GROUP,
        layout.CHECKSUMS,
        layout.ANALYSIS,
        *_ARRAYS,
        *_levels(ome),
    }
    if document is not None:
        known |= {document.pixels.path, layout.SOURCE_FILES}
        present = folders.get(layout.SOURCE_FILES, {})
        check_source_files(findings, where, prefix, document.source_files, present)
    _check_others(findings, prefix, names, known)


_ARRAYS = (layout.ANALYSIS_ARRAYS, layout.LABELS)


def _check_labels(findings: Findings, storage: Storage, prefix: str) -> None:
    where = f"{prefix}/{layout.GROUP}"
    with findings.reading("group-document", where):
        listed = set(listed_labels(load(storage, where)))
        folders = {name for name in list_names(storage, prefix) if name != layout.GROUP}
        own = {
            name
            for name in folders
            if is_own_group(load(storage, f"{prefix}/{name}/{layout.GROUP}"))
        }
        # On-disk format: "labels/zarr.json MUST list the folders of all labels."
        if not own <= listed <= folders:
            findings.add(
                "ome",
                where,
                f"it lists the labels {sorted(listed)}, and there are {sorted(own)}. "
                "save_labels() rewrites it.",
            )


def _check_document(findings: Findings, where: str, document: ImageDocument, image_id: str) -> None:
    # On-disk format: "image_id MUST be the id that the folder's name encodes."
    if document.image_id != image_id:
        findings.add(
            "image-id",
            where,
            f"the document is that of the image {document.image_id!r}: the folder was copied or "
            "renamed by hand. Give it its name back, or ingest the image again.",
        )
    check_timestamp(findings, where, "created_utc", document.created_utc)
    check_timestamp(findings, where, "updated_utc", document.updated_utc)
    # On-disk format: "An image MUST have 2 to 5 dimensions."
    if not 2 <= len(document.axes) <= 5:
        findings.add(
            "dimensions",
            where,
            f"the image has {len(document.axes)} dimensions, where 2 to 5 can be. "
            "Keep such an array with save_array_artifact().",
        )
    names = [axis.name for axis in document.axes]
    # OME-Zarr 0.5: "The values [of 'name'] MUST be unique across all 'name' fields."
    if len(set(names)) != len(names) or "" in names:
        findings.add(
            "axis-name",
            where,
            f"the axes {names} are not each named, differently. {RESTORE}",
        )
    for axis in document.axes:
        # On-disk format: "A step MUST be a positive finite number, or null."
        if axis.step is not None and not (math.isfinite(axis.step) and axis.step > 0):
            findings.add(
                "axis-step",
                where,
                f"the step of the axis {axis.name!r} is {axis.step}, not a positive number. "
                "save_array(load_array(), axes=...) sets it.",
            )
    count = channel_count(document.axes, document.pixels.shape)
    # On-disk format: "channel_names MUST have one entry for each channel, or be null."
    if document.channel_names is not None and len(document.channel_names) != count:
        findings.add(
            "channel-names",
            where,
            f"{len(document.channel_names)} channel names for {count} channels. "
            "save_array(load_array(), channel_names=...) sets them.",
        )


def _check_levels(
    findings: Findings,
    storage: Storage,
    prefix: str,
    document: ImageDocument | ArrayArtifactDocument,
    folders: Mapping[str, Mapping[str, int]],
    dimension_names: Sequence[str] | None,
) -> None:
    pyramid = document.current_pyramid
    if pyramid is None:
        return
    check_group(findings, storage, f"{prefix}/{pyramid.path}/{layout.GROUP}")
    files = folders.get(pyramid.path, {})
    for level in pyramid.levels:
        below = f"{level.path.partition('/')[2]}/"
        sizes = {k.removeprefix(below): size for k, size in files.items() if k.startswith(below)}
        check_array(findings, storage, prefix, level, {level.path: sizes}, dimension_names)


def _check_generations(
    findings: Findings, prefix: str, current: str, folders: Mapping[str, Mapping[str, int]]
) -> None:
    others = [
        name for name in folders if name != current and layout.parse_pixels_path(name) is not None
    ]
    # On-disk format: "A writer keeps at most one array before the current one."
    if len(others) > 1:
        size = sum(sum(folders[name].values()) for name in others)
        findings.add(
            "leftover-pixels",
            prefix,
            f"besides the current pixels ({current}) there are {', '.join(others)}: {size} bytes "
            "that nothing reads. The next save_array() removes them.",
        )


def _levels(ome: Any) -> set[str]:
    """Return the folders that the OME-Zarr metadata name, such as pyramid levels."""
    try:
        levels = [level["path"] for scale in ome["multiscales"] for level in scale["datasets"]]
    except (TypeError, KeyError):
        return set()
    return {level.partition("/")[0] for level in levels if isinstance(level, str)}


def _check_array_artifacts(
    findings: Findings, storage: Storage, prefix: str, image: ImageDocument | None
) -> None:
    check_group(findings, storage, f"{prefix}/{layout.GROUP}")
    folders: list[str] = []
    with findings.reading("unreadable", prefix):
        folders = list_names(storage, prefix)
    for folder in folders:
        if folder == layout.GROUP:
            continue
        key = f"{prefix}/{folder}"
        with findings.reading("array-artifact-document", f"{key}/{layout.GROUP}"):
            raw = load(storage, f"{key}/{layout.GROUP}")
            is_label = prefix.endswith(f"/{layout.LABELS}")
            if raw is None or (is_label and not is_own_group(raw)):
                check_foreign(findings, key)
            else:
                _check_array_artifact(findings, storage, key, folder, raw, image)


def _check_array_artifact(
    findings: Findings, storage: Storage, key: str, folder: str, raw: Any,
    image: ImageDocument | None,
) -> None:  # fmt: skip
    where = f"{key}/{layout.GROUP}"
    document = read_array_artifact_document(raw, where=where)
    # On-disk format: "name MUST be the name that the folder's name encodes."
    if not _is_folder_of(document.name, key.split("/")[-2], folder):
        findings.add(
            "array-artifact-name",
            where,
            f"the document is that of the array {document.name!r}: the folder was copied or "
            "renamed by hand. Give it its name back.",
        )
    if image is not None:
        _check_times(findings, where, document, image)
    check_timestamp(findings, where, "updated_utc", document.updated_utc)
    folders = list_tree(storage, key, list_names(storage, key))
    check_array(findings, storage, key, document.pixels, folders, document.axes)
    _check_levels(findings, storage, key, document, folders, document.axes)
    _check_generations(findings, key, document.pixels.path, folders)
    _check_others(findings, key, folders, {layout.GROUP, document.pixels.path})


def _check_times(
    findings: Findings, where: str, document: ArrayArtifactDocument, image: ImageDocument
) -> None:
    """Report times of an axis that is none of time, or of another length."""
    for axis, size in zip(image.axes, image.pixels.shape, strict=True):
        if document.name == times_name(axis.name):
            if axis.quantity != "time" or document.pixels.shape != [size]:
                findings.add(
                    "axis-times",
                    where,
                    f"the times have the shape {tuple(document.pixels.shape)}, and the axis "
                    f"{axis.name!r} ({axis.quantity}) {size} samples. "
                    f"save_array_artifact({document.name!r}, times) replaces them.",
                )
            return


def _is_folder_of(name: str, place: str, folder: str) -> bool:
    try:
        keys_of = layout.array_artifact_prefix(name), layout.labels_prefix(name)
        return f"{place}/{folder}" in keys_of
    except ArgumentError:
        return False


def _check_others(
    findings: Findings, key: str, names: Iterable[str], known: Collection[str]
) -> None:
    for name in names:
        of_pixels = layout.parse_pixels_path(name) is not None
        if name not in known and not of_pixels and layout.parse_pyramid_path(name) is None:
            check_foreign(findings, f"{key}/{name}")


def check_each(
    findings: Findings,
    check: Callable[[Findings, Storage, str], None],
    storage: Storage,
    image_ids: Sequence[str],
    progress: Progress | None,
    executor: Executor | None,
) -> None:
    """Add the findings of a check of each image, in their order.

    Parameters
    ----------
    findings : Findings
    check : callable
        A module-level function, which can be pickled.
    storage : Storage
    image_ids : sequence of str
    progress : callable, optional
    executor : concurrent.futures.Executor, optional
        Parsing JSON holds the GIL, so we start no threads of our own.
    """
    call = functools.partial(_found, check, Reading(storage))
    results = in_order(
        call,
        image_ids,
        executor=executor,
        progress=progress,
        threads=1,
        here=lambda _: executor is None,
    )
    lost: list[str] = []
    for image_id, of_image, error in results:
        if of_image is None and executor is not None:
            lost.append(f"{image_id}: {error}")
            of_image = _found(check, Reading(storage), image_id)
        if of_image is None:
            assert error is not None
            error.add_note(f"image {image_id!r}")
            raise error
        findings.extend(of_image)
    warn_of_lost(lost, len(image_ids))


def _found(
    check: Callable[[Findings, Storage, str], None], reading: Reading, image_id: str
) -> Findings:
    findings = Findings()
    check(findings, reading.storage, image_id)
    return findings
