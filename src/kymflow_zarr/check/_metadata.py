"""The metadata payload of an image, and whether it fits the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kymflow_zarr._schema import ImageDocument
from kymflow_zarr.check._findings import Findings

_SHAPES: Final[dict[str, tuple[type, str]]] = {
    "version": (str, "text"),
    "header": (Mapping, "a mapping"),
    "experiment_metadata": (Mapping, "a mapping"),
    "rois": (list, "a list"),
}
# Stops are exclusive; x is the last dimension of the pixels and y the one before.
_RECTANGLE: Final = ("x0", "x1", "y0", "y1")
_FLAT_RECTANGLE: Final = ("dim1_start", "dim1_stop", "dim0_start", "dim0_stop")


def check_metadata(
    findings: Findings, where: str, payload: Any, document: ImageDocument | None
) -> None:
    """Check a payload; all of it comes back as it is, so that nothing here is an error.

    Parameters
    ----------
    findings : Findings
    where : str
        Key of the payload.
    payload : object
        The decoded ``metadata.json``.
    document : ImageDocument, optional
        The image's document, where it can be read.
    """
    # On-disk format: "The payload SHOULD be a mapping with version, header,
    # experiment_metadata and rois."
    if not isinstance(payload, Mapping):
        _wrong(findings, where, f"the payload is {type(payload).__name__}, not a mapping")
        return
    for key, (kind, said) in _SHAPES.items():
        if key not in payload:
            _wrong(findings, where, f"the payload has no {key}")
        elif not isinstance(payload[key], kind):
            _wrong(findings, where, f"{key} is {type(payload[key]).__name__}, not {said}")
    said_rois = payload.get("rois")
    rois: list[Any] = said_rois if isinstance(said_rois, list) else []
    strays = [i for i, roi in enumerate(rois) if not isinstance(roi, Mapping)]
    if strays:
        _wrong(findings, where, f"rois[{strays[0]}] is not a mapping")
    header = payload.get("header")
    if isinstance(header, Mapping):
        _check_header(findings, where, header, document)
    if document is not None and len(document.pixels.shape) >= 2:
        for i, roi in enumerate(rois):
            if isinstance(roi, Mapping):
                _check_roi(findings, where, i, roi, document.pixels.shape)


def _wrong(findings: Findings, where: str, what: str) -> None:
    findings.add(
        "metadata-keys",
        where,
        f"{what}; programs that expect it will fail. save_metadata_payload() replaces it.",
    )


def _check_header(
    findings: Findings, where: str, header: Mapping[Any, Any], document: ImageDocument | None
) -> None:
    shape = header.get("shape")
    if document is not None and shape is not None:
        sizes = document.pixels.shape
        axes = zip(document.axes, sizes, strict=True)
        one_channel = [n for axis, n in axes if axis.quantity != "channel"]
        # On-disk format: "header.shape SHOULD be the shape of the pixels, or of one channel."
        if not isinstance(shape, list) or shape not in (sizes, one_channel):
            findings.add(
                "metadata-shape",
                where,
                f"header.shape is {shape}, the pixels have {sizes}: they were replaced, or the "
                "payload belongs to another image. save_metadata_payload() replaces it.",
            )
    acquired = header.get("acquired_local_epoch_ns")
    # On-disk format: "acquired_local_epoch_ns SHOULD be whole nanoseconds."
    if acquired is not None and (not isinstance(acquired, int) or isinstance(acquired, bool)):
        findings.add(
            "metadata-acquired",
            where,
            f"header.acquired_local_epoch_ns is {acquired!r}, not a whole number of nanoseconds: "
            "the image counts as one of unknown time. save_metadata_payload() replaces it.",
        )


def _check_roi(
    findings: Findings, where: str, number: int, roi: Mapping[Any, Any], shape: list[int]
) -> None:
    data = roi.get("data")
    bounds = _numbers(data, _RECTANGLE) if isinstance(data, Mapping) else None
    bounds = bounds or _numbers(roi, _FLAT_RECTANGLE)
    if bounds is None:
        return  # A mask, or a kind that this code does not know.
    x0, x1, y0, y1 = bounds
    height, width = shape[-2:]
    # On-disk format: "A rectangle SHOULD lie in the plane: 0 <= x0 <= x1 <= width."
    if not (0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height):
        findings.add(
            "roi-outside",
            where,
            f"rois[{number}] reaches from {x0} to {x1} of {width} pixels and from {y0} to {y1} of "
            f"{height} lines. Correct it and save_metadata_payload().",
        )


def _numbers(data: Mapping[Any, Any], keys: tuple[str, ...]) -> list[float] | None:
    values = [data.get(key) for key in keys]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return numbers if len(numbers) == len(keys) else None
