"""Where in the target folder each part of a dataset goes. Pure.

Names are spelled as in the dataset (:mod:`kymflow_zarr._layout`), so that no two of them
share a file on any disk, and :func:`kymflow_zarr._layout.decode_name` gives them back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kymflow_zarr import _layout
from kymflow_zarr._types import ArtifactInfo, ArtifactKind

MANIFEST: Final = "kymflow_zarr_export.json"
WORK: Final = ".kymflow_zarr_export"
ARRAYS: Final = "array_artifacts"

# A folder of one of these names could be where a file of another artifact has to go.
_FILE_SUFFIXES: Final = (".csv", ".npy", ".tif")


@dataclass(frozen=True, slots=True)
class ArtifactPlace:
    """Where an artifact goes.

    Parameters
    ----------
    name, kind, key
        As of :class:`kymflow_zarr.ArtifactInfo`.
    exact : str
        The file that holds all of it, as the dataset does.
    plain : str, optional
        The CSV of a data frame. Where it loses nothing, `exact` is not written.
    """

    name: str
    kind: ArtifactKind
    key: str
    exact: str
    plain: str | None

    @property
    def paths(self) -> tuple[str, ...]:
        """All files it may need."""
        return (self.exact,) if self.plain is None else (self.plain, self.exact)


def image_folder(image_id: str) -> str:
    """Return the folder of an image."""
    return f"{_layout.IMAGES}/{_layout.encode_segment(image_id, what='image id')}"


def pixels_place(image_id: str, *, empty: bool) -> str:
    """Return where the pixels go; an image without any is no TIFF, but NumPy can tell of it."""
    return f"{image_folder(image_id)}/image.{'npy' if empty else 'tif'}"


def artifact_places(image_id: str, artifacts: Iterable[ArtifactInfo]) -> list[ArtifactPlace]:
    """Return where the JSON and data-frame artifacts of an image go.

    ``<name>.csv`` belongs to the Parquet artifact of that name; where there is one, a gzip
    CSV artifact of the same name is written as ``<name>.csv.gz`` alone.
    """
    listed = list(artifacts)
    parquet = {info.name for info in listed if info.kind == "parquet"}
    places = []
    for info in listed:
        stem = f"{image_folder(image_id)}/{_stem(info.name, 'artifact name')}"
        has_csv = info.kind == "parquet" or (info.kind == "csv_gz" and info.name not in parquet)
        places.append(
            ArtifactPlace(
                info.name,
                info.kind,
                info.key,
                exact=f"{stem}{_layout.SUFFIXES[info.kind]}",
                plain=f"{stem}.csv" if has_csv else None,
            )
        )
    return places


def array_place(image_id: str, name: str) -> str:
    """Return where an array artifact goes."""
    return f"{image_folder(image_id)}/{ARRAYS}/{_stem(name, 'artifact name')}.npy"


def table_place(name: str) -> ArtifactPlace:
    """Return where a table goes."""
    stem = f"{_layout.TABLES}/{_stem(name, 'table name')}"
    return ArtifactPlace(
        name,
        "parquet",
        _layout.table_key(name),
        exact=f"{stem}{_layout.SUFFIXES['parquet']}",
        plain=f"{stem}.csv",
    )


def _stem(name: str, what: str) -> str:
    *folders, last = _layout.encode_name(name, what=what).split("/")
    return "/".join([*map(_folder, folders), last])


def _folder(encoded: str) -> str:
    for suffix in _FILE_SUFFIXES:
        if encoded.endswith(suffix):
            return f"{encoded.removesuffix(suffix)}%2e{suffix[1:]}"
    return encoded
