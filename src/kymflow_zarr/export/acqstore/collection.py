"""Write a collection of acqstore (``AcqImageCollection``, version 1) of a dataset's images.

Source: collections written by acqstore 0.2.0, which its own JSON Schema accepts.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import utc_now
from kymflow_zarr.errors import MetadataNotFoundError, TargetExistsError
from kymflow_zarr.export.acqstore import pools
from kymflow_zarr.export.report import ExportDifference, ExportReport
from kymflow_zarr.formats import acqstore
from kymflow_zarr.runtime.limits import pixels_memory
from kymflow_zarr.storage.local.files import os_errors
from kymflow_zarr.types import Progress, StrPath

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr.engine.image import StoredImage

_VERSION: Final = "0.2.0"
_CHUNK: Final = 256
_SHORT: Final = {"second": "s", "micrometer": "um"}
_SIDECAR: Final = "acqstore/acq_image.json"
_MANIFEST: Final = "acqstore/manifest.json"
_POOLS: Final = {
    "velocity": (pools.VELOCITY_COLUMNS, pools.velocity_rows),
    "sum_intensity": (pools.INTENSITY_COLUMNS, pools.intensity_rows),
}


def export_acq_collection(
    dataset: OpenDataset,
    path: StrPath,
    *,
    image_ids: Collection[str] | None,
    progress: Progress | None,
) -> ExportReport:
    """Write a collection; see :meth:`kymflow_zarr.ZarrDataset.export_acq_collection`."""
    names = dataset.image_names()
    by_name = sorted(names, key=names.__getitem__)
    ids = by_name if image_ids is None else dataset.chosen_ids(image_ids)
    images = [dataset.record(image_id).snapshot() for image_id in ids]
    target = Path(path).expanduser().absolute()
    if target.exists():
        raise TargetExistsError(
            "there is something already", where=str(target), hint="Choose another path."
        )
    name = target.name.removesuffix(".zarr").removesuffix(".ome")
    with os_errors("write", str(target)):
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            collection = _Collection(part, name)
            for done, image in enumerate(images):
                if progress is not None:
                    progress(done, len(images), names[image.image_id])
                collection.add(image)
            collection.finish()
            part.rename(target)
        finally:
            _remove(part)
    if progress is not None:
        progress(len(images), len(images), "")
    files = tuple(
        sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file())
    )
    return ExportReport(str(target), files, written=files, differences=tuple(collection.lost))


def _remove(folder: Path) -> None:
    import shutil

    if folder.exists():
        shutil.rmtree(folder)


class _Collection:
    """A collection while it is written."""

    def __init__(self, folder: Path, name: str) -> None:
        import zarr

        self._folder = folder
        self._name = name
        self._images: list[dict[str, Any]] = []
        self._pooled: list[pools.PooledImage] = []
        self.lost: list[ExportDifference] = []
        zarr.open_group(folder, mode="w-", zarr_format=3)
        zarr.open_group(folder / "acq_images", mode="w-", zarr_format=3)

    def add(self, image: StoredImage) -> None:
        """Write an image with its sidecar, tables and manifest."""
        image_id = f"acq_image_{len(self._images):03d}"
        place = f"acq_images/{image_id}"
        source, full_path = _source(image)
        sidecar = self._sidecar(image, place, source)
        attributes = self._pixels(
            image, self._folder / place, sidecar, full_path, len(self._images)
        )
        full_path = attributes["source_path"]
        self._write(f"{place}/{_SIDECAR}", acqstore.sidecar_bytes(sidecar))
        manifest = {
            "format": "acqstore-native-ome-zarr", "version": 2, "image_group": ".",
            "sidecar": _SIDECAR, "zarr_format": 3,
            "analyses": sorted(
                (self._run(image, place, run) for run in sidecar["analysis"]),
                key=lambda run: str(run["id"]),
            ),
        }  # fmt: skip
        self._write(f"{place}/{_MANIFEST}", acqstore.sidecar_bytes(manifest))
        dims = [axis.name for axis in image.axes]
        n_channels = dict(zip(dims, image.shape, strict=True)).get("c", 1)
        header = sidecar["image_header_metadata"]
        self._pooled.append(
            pools.PooledImage(PurePosixPath(source).name, full_path, n_channels, sidecar)
        )
        self._images.append(
            {
                "id": image_id,
                "name": PurePosixPath(source).name,
                "source": {"filename": PurePosixPath(source).name, "relative_path": source},
                "ome_zarr_path": place,
                "sidecar_path": f"{place}/{_SIDECAR}",
                "manifest_path": f"{place}/{_MANIFEST}",
                "summary": {
                    "shape": list(image.shape), "dims": dims,
                    "sizes": dict(zip(dims, image.shape, strict=True)),
                    "dtype": image.dtype.name, "num_channels": n_channels,
                    "num_rois": len(sidecar["rois"]),
                    "analysis_types": sorted({run["analysis_name"] for run in sidecar["analysis"]}),
                    "acquisition": {key: header.get(key, "") for key in ("date", "time")},
                    "accepted": sidecar["accepted"], "has_reference_image": False,
                },
            }
        )  # fmt: skip

    def finish(self) -> None:
        """Write the pools and the document of the collection."""
        tables = {}
        for name, (columns, rows) in _POOLS.items():
            tables[name] = f"acqstore/analysis_tables/{name}.csv"
            self._write(tables[name], pools.csv_bytes(columns, rows(self._pooled)))
        document = {
            "format": "acqstore-acq-image-collection", "version": 1, "zarr_format": 3,
            "name": self._name, "created_utc": f"{utc_now()[:19]}Z", "acqstore_version": _VERSION,
            "acq_images": self._images, "analysis_tables": tables,
        }  # fmt: skip
        data = acqstore.sidecar_bytes(document)
        self._write("acqstore/acq_image_collection.json", data + b"\n")

    def _sidecar(self, image: StoredImage, place: str, source: str) -> dict[str, Any]:
        try:
            kept = image.load_json("source_metadata")
        except KeyError:
            kept = None
        try:
            payload = image.load_metadata_payload()
        except MetadataNotFoundError:
            payload = {}
        header = payload.get("header")
        if not acqstore.is_sidecar(kept) and not (
            isinstance(header, Mapping) and header.get("voxels")
        ):
            payload = payload | {"header": _steps(image)}
        sidecar, lost = acqstore.sidecar_of_payload(
            payload,
            kept if acqstore.is_sidecar(kept) else None,
            suffix=".zarr" if _attributes(image) else PurePosixPath(source).suffix.casefold(),
            shape=image.shape,
            dims=[axis.name.upper() for axis in image.axes],
            dtype=image.dtype.name,
        )
        if lost:
            self.lost.append(
                ExportDifference(f"{place}/{_SIDECAR}", f"left out: {', '.join(lost)}")
            )
        return sidecar

    def _pixels(
        self, image: StoredImage, folder: Path, sidecar: Mapping[str, Any], path: str, number: int
    ) -> dict[str, Any]:
        """Write the pixels as OME-Zarr 0.5 of one level; return what is said of their source."""
        import zarr
        from zarr.codecs import BloscCodec

        header = sidecar["image_header_metadata"]
        axes: list[Any] = []
        scale: list[float] = []
        for axis in image.axes:
            step = header.get(f"physical_unit_{axis.name}")
            label = header.get(f"physical_label_{axis.name}")
            if axis.quantity == "channel":
                axes.append({"name": axis.name, "type": "channel"})
            elif label is not None:
                # They call the rows of a line scan space, with the unit of the label.
                axes.append({"name": axis.name, "type": "space", "unit": label})
            else:
                kind = "time" if axis.quantity == "time" else "space"
                unit = {} if axis.unit is None else {"unit": axis.unit}
                axes.append({"name": axis.name, "type": kind, **unit})
            scale.append(float(step if step is not None else axis.step or 1.0))
        pixels = _attributes(image).get("acqstore_pixels") or _pixels_header(image, header, path)
        level: dict[str, Any] = {
            "path": "0",
            "coordinateTransformations": [{"type": "scale", "scale": scale}],
        }
        group = zarr.open_group(folder, mode="w-", zarr_format=3)
        group.attrs.put(
            {
                "ome": {
                    "version": "0.5",
                    "multiscales": [
                        {"name": f"image_{number:03d}", "axes": axes, "datasets": [level]}
                    ],
                    "_creator": {"name": "acqstore", "version": "0.1"},
                },
                "acqstore_pixels": pixels,
            }
        )
        n = image.ndim
        with pixels_memory.reserve(2 * image.document().pixels.stored_bytes):
            group.create_array(
                "0",
                data=image.load_array(),
                chunks=tuple(
                    min(_CHUNK, size) if place >= n - 2 else 1
                    for place, size in enumerate(image.shape)
                ),
                compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")],
                dimension_names=[axis.name for axis in image.axes],
            )
        return dict(pixels)

    def _run(self, image: StoredImage, place: str, run: Mapping[str, Any]) -> dict[str, Any]:
        """Write the tables of a run; return its entry of the manifest."""
        name, channel, roi_id = run["analysis_name"], run["channel"], run["roi_id"]
        run_id = f"{name}__c{channel}__r{roi_id}"
        resources: dict[str, str | None] = {"table": None, "peaks": None}
        frame = _table(image, f"{acqstore.PROGRAM}/{name}")
        if frame is not None and name != "event":
            table = acqstore.table_as_written(frame)
            rows = table[(table["channel"] == channel) & (table["roi_id"] == roi_id)]
            resources["table"] = f"acqstore/analysis/{run_id}.table.csv"
            text = rows.drop(columns=["channel", "roi_id"]).to_csv(index=False, lineterminator="\n")
            self._write(f"{place}/{resources['table']}", text.encode())
        if name == "sum_intensity":
            resources["peaks"] = f"acqstore/analysis/{run_id}.peaks.csv"
            data = pools.csv_bytes(pools.PEAK_COLUMNS, pools.peak_rows(run["summary"]))
            self._write(f"{place}/{resources['peaks']}", data)
        return {
            "id": run_id, "analysis_name": name, "channel": channel, "roi_id": roi_id,
            "resources": resources,
        }  # fmt: skip

    def _write(self, key: str, data: bytes) -> None:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _attributes(image: StoredImage) -> dict[str, Any]:
    """Return the attributes that an image had in an OME-Zarr; empty for other images."""
    try:
        attributes = image.load_json("ome_zarr")
    except KeyError:
        return {}
    return attributes if isinstance(attributes, dict) else {}


def _source(image: StoredImage) -> tuple[str, str]:
    """Return the path of an image's file below its folder, and in full."""
    source = image.document().source
    if source is not None:
        return source.rel_path, source.path
    try:
        provenance = image.load_json("provenance")
    except KeyError:
        provenance = {}
    stated = provenance if isinstance(provenance, dict) else {}
    name = str(stated.get("rel_path") or image.image_id)
    return name, str(stated.get("original_path") or name)


def _steps(image: StoredImage) -> dict[str, Any]:
    """Return the steps of the axes as a header of a payload has them."""
    return {
        "voxels": [1.0 if axis.step is None else axis.step for axis in image.axes],
        "voxels_units": [
            "px" if axis.step is None or axis.unit is None else _SHORT.get(axis.unit, axis.unit)
            for axis in image.axes
        ],
    }


def _pixels_header(image: StoredImage, header: Mapping[str, Any], path: str) -> dict[str, Any]:
    source = image.document().source
    dims = [axis.name.upper() for axis in image.axes]
    stated = {
        "path": path, "shape": list(image.shape), "dims": dims,
        "sizes": dict(zip(dims, image.shape, strict=True)), "dtype": image.dtype.name,
        "num_channels": header.get("num_channels", 1),
        "physical_units": [header.get(f"physical_unit_{name.lower()}", 1.0) for name in dims],
        "physical_units_labels": [
            header.get(f"physical_label_{name.lower()}", name) for name in dims
        ],
        "date": header.get("date", ""), "time": header.get("time", ""),
        "file_size": "" if source is None else f"{source.size_bytes / 1024:.0f} KB",
    }  # fmt: skip
    return {
        "header": stated, "source_path": path, "acquisition_metadata": {},
        "source_metadata": {"loader": "kymflow_zarr"},
    }  # fmt: skip


def _table(image: StoredImage, name: str) -> pd.DataFrame | None:
    try:
        return image.load_df_parquet(name)
    except KeyError:
        return None
