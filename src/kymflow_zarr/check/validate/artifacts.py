"""Check that artifacts and tables can be read, and the content of metadata payloads."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from kymflow_zarr import layout
from kymflow_zarr.check.files import check_foreign, list_files, stat_of
from kymflow_zarr.check.validate.findings import Findings
from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
from kymflow_zarr.engine.rois.planes import ImagePlanes
from kymflow_zarr.engine.rois.values import roi_from_dict
from kymflow_zarr.errors import (
    ArgumentError,
    ArtifactNotFoundError,
    CorruptDataError,
    InvalidNameError,
    KymflowZarrError,
)
from kymflow_zarr.formats.kinds import KINDS
from kymflow_zarr.schema.artifacts.curation import read_curation_document
from kymflow_zarr.schema.artifacts.lineage import read_lineage_document
from kymflow_zarr.schema.image import ImageDocument
from kymflow_zarr.schema.payload import payload_deviations, upgrade_payload
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.read_only import readable_file
from kymflow_zarr.types import ArtifactKind

_REPLACE: Final = "save_metadata_payload() replaces it."
_RECTANGLE: Final = ("x0", "x1", "y0", "y1")
_BY_AXIS: Final = ("voxels", "voxels_units", "labels", "physical_size")

ArrayShape = Callable[[str], tuple[int, ...]]


def check_metadata(
    findings: Findings,
    where: str,
    payload: Any,
    document: ImageDocument | None,
    array_shape: ArrayShape,
) -> None:
    """Check a payload. All findings are warnings, since any payload is returned unchanged.

    Parameters
    ----------
    findings : Findings
    where : str
        Key of the payload.
    payload : object
        The decoded ``metadata.json``.
    document : ImageDocument, optional
        The image's document, where it can be read.
    array_shape : callable
        Returns the shape of the array artifact of a name, and raises as
        :meth:`ArrayArtifacts.document` does.
    """
    outside: set[int] = set()
    if isinstance(payload, Mapping):
        today = upgrade_payload(payload)
        if isinstance(today["header"], Mapping):
            _check_header(findings, where, today["header"], document)
        if isinstance(today["rois"], list):
            outside = _check_rois(findings, where, today["rois"], document, array_shape)
    for deviation in payload_deviations(payload):
        if deviation.key == "header.acquired_local_epoch_ns":
            # On-disk format: "acquired_local_epoch_ns SHOULD be whole nanoseconds."
            findings.add(
                "metadata-acquired",
                where,
                f"{deviation}. The image counts as one of unknown time. {_REPLACE}",
            )
        elif deviation.readable:
            # On-disk format: "Older forms SHOULD be rewritten in this one."
            findings.add(
                "metadata-form",
                where,
                f"{deviation}; kymflow_zarr reads it, others may not. rec.save_metadata_objects() "
                "writes the version and rec.save_rois(rec.load_rois()) the regions.",
            )
        elif not any(deviation.key.startswith(f"rois[{i}].data.") for i in outside):
            # On-disk format: "The payload SHOULD be a mapping with version, header,
            # experiment_metadata and rois." "Its keys SHOULD have the types of its JSON Schema."
            findings.add(
                "metadata-keys",
                where,
                f"{deviation}; programs that expect it will fail. {_REPLACE}",
            )


def _check_header(
    findings: Findings, where: str, header: Mapping[Any, Any], document: ImageDocument | None
) -> None:
    shape = header.get("shape")
    if document is not None and isinstance(shape, list):
        sizes = document.pixels.shape
        axes = zip(document.axes, sizes, strict=True)
        one_channel = [n for axis, n in axes if axis.quantity != "channel"]
        # On-disk format: "header.shape SHOULD be the shape of the pixels, or of one channel."
        if shape not in (sizes, one_channel):
            findings.add(
                "metadata-shape",
                where,
                f"header.shape is {shape}, the pixels have {sizes}: they were replaced, or the "
                f"payload belongs to another image. {_REPLACE}",
            )
    # On-disk format: "The lists of the header SHOULD have one entry for each axis."
    lengths = {key: len(header[key]) for key in _BY_AXIS if isinstance(header.get(key), list)}
    if isinstance(shape, list):
        wrong = [f"header.{key} has {n} entries" for key, n in lengths.items() if n != len(shape)]
        ndim = header.get("ndim")
        wrong += [f"header.ndim is {ndim}"] * (isinstance(ndim, int) and ndim != len(shape))
        if wrong:
            findings.add(
                "metadata-shape",
                where,
                f"{', '.join(wrong)}, header.shape has {len(shape)}. {_REPLACE}",
            )


def _check_rois(
    findings: Findings,
    where: str,
    rois: list[Any],
    document: ImageDocument | None,
    array_shape: ArrayShape,
) -> set[int]:
    """Check regions in the current form; return the indices of those outside of the plane."""
    seen: dict[int, int] = {}
    outside = set()
    planes = None
    if document is not None and len(document.pixels.shape) >= 2:
        planes = ImagePlanes(document.axis_values(), tuple(document.pixels.shape))
    for number, roi in enumerate(rois):
        if not isinstance(roi, Mapping):
            continue
        roi_id = roi.get("roi_id")
        # On-disk format: "Each region SHOULD have a roi_id of its own."
        if type(roi_id) is int and seen.setdefault(roi_id, number) != number:
            findings.add(
                "roi-id",
                where,
                f"rois[{number}] and rois[{seen[roi_id]}] both have the roi_id {roi_id}: what was "
                "measured in one cannot be told from the other. Correct it and save_rois().",
            )
        if planes is not None:
            fault = _outside(roi, planes)
            if fault is not None:
                outside.add(number)
                findings.add(
                    "roi-outside", where, f"rois[{number}] {fault}. Correct it and save_rois()."
                )
            _check_mask(findings, where, number, roi, planes, array_shape)
    return outside


def _outside(roi: Mapping[Any, Any], planes: ImagePlanes) -> str | None:
    data = roi.get("data")
    height, width = planes.plane_shape
    values = [data.get(key) for key in _RECTANGLE] if isinstance(data, Mapping) else []
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(_RECTANGLE):
        x0, x1, y0, y1 = numbers
        # On-disk format: "A rectangle SHOULD lie in the plane: 0 <= x0 <= x1 <= width."
        if not (0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height):
            return (
                f"reaches from {x0} to {x1} of {width} columns and from {y0} to {y1} of "
                f"{height} rows"
            )
    elif roi.get("roi_type") not in ("rect", "mask"):
        # On-disk format: "Points of lines, polygons and point regions, and the center of an
        # ellipse, SHOULD lie in the plane."
        with contextlib.suppress(ArgumentError):  # The model's deviations tell what is wrong.
            shape = roi_from_dict(roi)
            try:
                shape.check({**planes.bounds, "num_slices": shape.z + 1})
            except ArgumentError as error:
                return error.what
    # On-disk format: "Its channel and its z SHOULD be there."
    channel, z = roi.get("channel"), roi.get("z")
    if isinstance(channel, int) and channel > planes.channels:
        return f"is in channel {channel} of {planes.channels}"
    slices = planes.bounds.num_slices
    if isinstance(z, int) and z >= slices:
        return f"is in plane {z} of {slices}, counted from 0"
    return None


def _check_mask(
    findings: Findings,
    where: str,
    number: int,
    roi: Mapping[Any, Any],
    planes: ImagePlanes,
    array_shape: ArrayShape,
) -> None:
    data = roi.get("data")
    name = data.get("mask_ref") if isinstance(data, Mapping) else None
    if roi.get("roi_type") != "mask" or not isinstance(name, str):
        return
    # On-disk format: "mask_ref SHOULD name an array artifact of the shape of the plane."
    try:
        shape = array_shape(name)
    except (ArtifactNotFoundError, InvalidNameError):
        fault = "which is no array artifact of the image"
    except KymflowZarrError:
        return  # The mask is broken, which the checks of array artifacts report.
    else:
        if shape == planes.plane_shape:
            return
        fault = f"an array of {shape}; the plane has {planes.plane_shape}"
    findings.add(
        "roi-mask",
        where,
        f"rois[{number}].data.mask_ref is {name!r}, {fault}. save_mask() saves it again.",
    )


def check_artifacts(
    findings: Findings,
    storage: Storage,
    prefix: str,
    files: Mapping[str, int],
    document: ImageDocument | None,
) -> None:
    """Check the files below ``analysis/`` of an image.

    Parameters
    ----------
    findings : Findings
    storage : Storage
    prefix : str
        Key of the image's ``analysis``.
    files : mapping of str to int
        Size of each file below it.
    document : ImageDocument, optional
        The image's document, where it can be read.
    """
    arrays = ArrayArtifacts(storage, prefix.removesuffix(f"/{layout.ANALYSIS}"))

    def array_shape(name: str) -> tuple[int, ...]:
        return tuple(arrays.document(name).pixels.shape)

    for name in files:
        key = f"{prefix}/{name}"
        artifact = layout.parse_artifact_key(f"{layout.ANALYSIS}/{name}")
        # On-disk format: "Names of files below analysis/ MUST be those of artifacts."
        if artifact is None:
            check_foreign(findings, key)
            continue
        of_artifact = Findings()
        with of_artifact.reading(artifact[0].replace("_", "-"), key):
            value = _check(storage, key, artifact[0])
            if artifact == ("json", layout.METADATA):
                check_metadata(of_artifact, key, value, document, array_shape)
            if artifact == ("json", layout.CURATION):
                with of_artifact.reading("curation", key):
                    read_curation_document(value, where=key)
            if artifact == ("json", layout.LINEAGE):
                with of_artifact.reading("lineage", key):
                    read_lineage_document(value, where=key)
        # Another process deleted the missing file: replacing a file is atomic.
        if of_artifact.problems and stat_of(storage, key) is not None:
            findings.extend(of_artifact)


def _check(storage: Storage, key: str, kind: ArtifactKind) -> Any:
    """Check the file of an artifact; return its value if the check decoded it."""
    check = KINDS[kind].check
    if check is None:
        data = storage.read(key)
        if data is None:
            raise CorruptDataError("the file has gone", where=key)
        return KINDS[kind].decode(data, where=key)
    with storage.open(key) as opened:
        if opened is None:
            raise CorruptDataError("the file has gone", where=key)
        check(readable_file(opened), key)
    return None


_COLUMN = "image_id"


def check_tables(findings: Findings, storage: Storage, image_ids: Collection[str]) -> None:
    """Check every table, and that its rows name existing images.

    Parameters
    ----------
    findings : Findings
    storage : Storage
    image_ids : set of str
    """
    files: dict[str, int] = {}
    with findings.reading("unreadable", layout.TABLES):
        files = list_files(storage, layout.TABLES)
    for name in files:
        key = f"{layout.TABLES}/{name}"
        # On-disk format: "Names of files below tables/ MUST be those of tables."
        if layout.parse_table_key(key) is None:
            check_foreign(findings, key)
            continue
        of_table = Findings()
        with of_table.reading("parquet", key):
            _check(storage, key, "parquet")
            _check_rows(of_table, storage, key, image_ids)
        if stat_of(storage, key) is not None:
            findings.extend(of_table)


def _check_rows(findings: Findings, storage: Storage, key: str, image_ids: Collection[str]) -> None:
    strays = {
        image_id: count
        for image_id, count in _named_images(storage, key).items()
        if image_id not in image_ids
    }
    # On-disk format: "The column image_id SHOULD name images of the dataset."
    if strays:
        shown = ", ".join(map(repr, sorted(strays)[:3]))
        more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
        findings.add(
            "table-image-id",
            key,
            f"{sum(strays.values())} rows name images that are not in the dataset: {shown}{more}. "
            "replace_rows_for_image_id() with no rows removes them.",
        )


def _named_images(storage: Storage, key: str) -> Counter[str]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    try:
        with storage.open(key) as opened, pq.ParquetFile(readable_file(opened)) as file:
            schema = file.schema_arrow
            if schema.names.count(_COLUMN) != 1:
                return counts
            kind = schema.field(_COLUMN).type
            if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
                return counts
            for batch in file.iter_batches(columns=[_COLUMN]):
                # A missing value refers to no image.
                values, numbers = pc.value_counts(batch.column(0)).flatten()
                for value, number in zip(values.to_pylist(), numbers.to_pylist(), strict=True):
                    if value is not None and number is not None:
                        counts[str(value)] += number
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptDataError(
            f"the column {_COLUMN} cannot be read: {error}",
            where=key,
            hint="Restore it from a copy of the dataset, or save the table again.",
        ) from error
    return counts
