"""Add the images of an OME-Zarr to a dataset."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from kymflow_zarr._version import __version__
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.images.draft import RecordDraft
from kymflow_zarr.errors import (
    KymflowZarrError,
    SourceFileError,
    StorageError,
    UnsupportedDataError,
)
from kymflow_zarr.ingest.adopt import adopt
from kymflow_zarr.ingest.ome_zarr.acqstore import artifacts_of_image, names_of_collection
from kymflow_zarr.ingest.ome_zarr.find import FoundImage, child, find_images, ome_of, open_root
from kymflow_zarr.ingest.ome_zarr.levels import level_notes
from kymflow_zarr.ingest.ome_zarr.multiscales import label_names, read_multiscale
from kymflow_zarr.ingest.recipe import save_artifact
from kymflow_zarr.ingest.report import IngestItem, IngestReport
from kymflow_zarr.ingest.sidecars.artifacts import SourceArtifact
from kymflow_zarr.ingest.sidecars.metadata import build_payload
from kymflow_zarr.runtime.limits import check_limit, pixels_memory
from kymflow_zarr.schema.payload import stated_axes
from kymflow_zarr.types import Progress, StrPath

ATTRIBUTES: Final = "ome_zarr"
_TABLES: Final = (".parquet", ".csv")


def ingest_ome_zarr(
    dataset: OpenDataset, path: StrPath, *, progress: Progress | None = None
) -> IngestReport:
    """Add all images of an OME-Zarr; see :meth:`kymflow_zarr.ZarrDataset.ingest_ome_zarr`."""
    dataset.require_writable()
    root = Path(path).absolute()
    group = open_root(root)
    names = names_of_collection(root)
    images = list(find_images(group))
    if not images:
        raise SourceFileError(
            "holds no image: no group in it has multiscales",
            where=str(root),
            hint="Give the folder of an OME-Zarr image, plate or collection.",
        )
    items = []
    for done, image in enumerate(images):
        if progress is not None:
            progress(done, len(images), image.path or root.name)
        items.append(_added(dataset, root, image, names.get(image.path)))
    if progress is not None:
        progress(len(images), len(images), "")
    return IngestReport(str(root), tuple(items))


def _added(dataset: OpenDataset, root: Path, image: FoundImage, source: str | None) -> IngestItem:
    """Add one image; an error of its own is its line of the report."""
    place = root / image.path if image.path else root
    name = f"{dataset.dataset_id}/ome-zarr/{place}"
    image_id = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    if image_id in dataset:
        return IngestItem("unchanged", str(place), image_id)
    try:
        with dataset.new_record(image_id) as draft:
            notes = _stage(draft, image, place, source)
            results = adopt(draft, image_id)
            draft.commit()
    except StorageError:
        raise  # A full disk has nothing to do with this image: stop.
    except Exception as error:  # noqa: BLE001 - zarr and codecs raise many types on damaged data
        return IngestItem("failed", str(place), None, str(error))
    return IngestItem("ingested", str(place), image_id, "; ".join(notes) or None, results)


def _stage(draft: RecordDraft, image: FoundImage, place: Path, source: str | None) -> list[str]:
    """Write an image and all that belongs to it into a draft; return notes."""
    multiscale = read_multiscale(image)
    notes = multiscale.notes
    payload, artifacts = artifacts_of_image(place)
    shape = tuple(multiscale.pixels.shape)
    axes = stated_axes(multiscale.axes, shape, payload)
    size = math.prod(shape) * multiscale.pixels.dtype.itemsize
    with pixels_memory.reserve(2 * size):
        pixels = multiscale.pixels[...]
        draft.set_pixels(pixels, axes=axes, channel_names=multiscale.channel_names)
        notes += level_notes(pixels, multiscale.levels, are_labels=False)
        del pixels
    provenance = {
        "original_path": str(place),
        "source_primary_path": str(place),
        "rel_path": source or image.path or place.name,
        "ome_version": image.ome.get("version") or _version(image.ome),
        "source_name": multiscale.name,
        "ingested_by": f"kymflow_zarr {__version__}",
    }
    attributes = dict(image.group.attrs)
    artifacts = [
        SourceArtifact("json", "metadata", build_payload(payload, None, axes, shape), ()),
        SourceArtifact("json", "provenance", provenance, ()),
        SourceArtifact("json", ATTRIBUTES, attributes, ()),
        *artifacts,
        *_tables(place, notes),
    ]
    save = partial(save_artifact, draft)
    for artifact in artifacts:
        try:
            save(artifact)
        except StorageError:
            raise
        except KymflowZarrError as error:
            notes.append(f"{artifact.name} was left out: {error.what}")
    for name in label_names(image):
        try:
            notes += _stage_label(draft, image, name)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            notes.append(f"the labels {name!r} were left out: {error}")
    return notes


def _version(ome: Mapping[str, Any]) -> Any:
    """Return the version of metadata before 0.5, which each multiscale states."""
    entry = ome["multiscales"][0]
    return entry.get("version") if isinstance(entry, Mapping) else None


def _stage_label(draft: RecordDraft, image: FoundImage, name: str) -> list[str]:
    """Write the labels of one name into a draft; return notes on their levels."""
    group = child(image.group, f"labels/{name}")
    multiscale = read_multiscale(FoundImage(f"{image.path}/labels/{name}", group, ome_of(group)))
    size = math.prod(multiscale.pixels.shape) * multiscale.pixels.dtype.itemsize
    check_limit("array_bytes", size, "the labels have", where=name)
    pixels = multiscale.pixels[...]
    try:
        draft.save_labels(name, pixels)
    except UnsupportedDataError:  # Such as labels of every channel.
        draft.save_array(f"labels/{name}", pixels, axes=[axis.name for axis in multiscale.axes])
    wrong = level_notes(pixels, multiscale.levels, are_labels=True)
    return [f"labels {name!r}: {note}" for note in (*multiscale.notes, *wrong)]


def _tables(place: Path, notes: list[str]) -> list[SourceArtifact]:
    """Return the Parquet and CSV files of the tables below an image, as ngio writes them."""
    from kymflow_zarr.formats.dataframe.csv_foreign import decode_csv
    from kymflow_zarr.formats.dataframe.parquet import decode_parquet

    artifacts = []
    for path in sorted((place / "tables").glob("*/*")):
        if path.suffix not in _TABLES or not path.is_file():
            continue
        name = f"tables/{path.parent.name}"
        try:
            data = path.read_bytes()
            is_csv = path.suffix == ".csv"
            frame = decode_csv(data) if is_csv else decode_parquet(data, where=str(path))
        except (KymflowZarrError, ValueError, OSError) as error:
            notes.append(f"the table {path.parent.name!r} was left out: {error}")
            continue
        artifacts.append(SourceArtifact("parquet", name, frame, (path.name,)))
    return artifacts
