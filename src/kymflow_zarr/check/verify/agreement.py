"""Whether documents and lists of checksums speak of the same files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from kymflow_zarr import layout as keys
from kymflow_zarr.engine.documents import load, load_image
from kymflow_zarr.engine.source_files import KeptFiles
from kymflow_zarr.errors import KymflowZarrError, StorageError
from kymflow_zarr.formats.array.write import FilesDigest, chunk_keys
from kymflow_zarr.schema.array import read_array_document
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.schema.image import PixelsDocument, read_array_artifact_document
from kymflow_zarr.storage.interface import Storage


def disagreements(
    storage: Storage, prefix: str, image_id: str | None, listed: Mapping[str, FileSum]
) -> Iterator[tuple[str, str]]:
    """Yield the key below the group of what disagrees, and how.

    The files are those of the list; so they are not read again for their digests.
    """
    where = f"{keys.SOURCE_FILES}/files.json" if image_id is None else keys.GROUP
    try:
        if image_id is None:
            documents = list(KeptFiles(storage).documents().values())
        else:
            document = load_image(storage, image_id)
            documents = document.source_files
            if document.image_id != image_id:
                yield where, f"it is that of the image {document.image_id!r}"
            yield from _of_array(storage, prefix, "", document.pixels, listed)
    except StorageError:
        raise
    except KymflowZarrError as error:
        yield where, error.what
        return
    for file in documents:
        for key in (file.kept_as, file.frame_as):
            if key is not None and key not in listed:
                yield where, f"it speaks of {key}, which is none of the files"
    if image_id is not None:
        yield from _array_artifacts(storage, prefix, listed)


def _array_artifacts(
    storage: Storage, prefix: str, listed: Mapping[str, FileSum]
) -> Iterator[tuple[str, str]]:
    folder = f"{keys.ANALYSIS_ARRAYS}/"
    names = {key.split("/")[1] for key in listed if key.startswith(folder) and key.count("/") > 1}
    for name in sorted(names):
        where = f"{folder}{name}/{keys.GROUP}"
        try:
            raw = load(storage, f"{prefix}/{where}")
            document = read_array_artifact_document(raw, where=where)
            yield from _of_array(storage, prefix, f"{folder}{name}/", document.pixels, listed)
        except StorageError:
            raise
        except KymflowZarrError as error:
            yield where, error.what


def _of_array(
    storage: Storage,
    prefix: str,
    group: str,
    pixels: PixelsDocument,
    listed: Mapping[str, FileSum],
) -> Iterator[tuple[str, str]]:
    folder = f"{group}{pixels.path}"
    where = f"{folder}/{keys.GROUP}"
    layout = read_array_document(load(storage, f"{prefix}/{where}"), where=where)
    if layout is None:
        return  # Of another program, which left chunks out where it pleased.
    said = (pixels.shape, pixels.dtype)
    if said != (list(layout.shape), layout.data_type):
        yield where, f"it is an array of {layout.data_type} {list(layout.shape)}, not of {said}"
        return
    count = math.prod(layout.file_grid)
    if count != sum(key.startswith(f"{folder}/c") for key in listed):
        yield folder, f"it has not {count} chunk files, as its shape makes it"
        return
    digest = FilesDigest()
    for name in (keys.GROUP, *chunk_keys(layout)):
        found = listed.get(f"{folder}/{name}")
        if found is None:
            yield f"{folder}/{name}", "it is missing"
            return
        digest.add(found)
    if digest.hexdigest() != pixels.sha256:
        yield folder, "its files are not those that its document was written for"


def digest_of_files(files: Mapping[str, FileSum], folder: str) -> str:
    """Return the ``pixels.sha256`` that the files of an array make, given all of them."""
    chunks = [key.removeprefix(f"{folder}/") for key in files]
    chunks = [key for key in chunks if key.startswith("c")]
    digest = FilesDigest()
    if f"{folder}/{keys.GROUP}" in files:
        digest.add(files[f"{folder}/{keys.GROUP}"])
    for name in sorted(chunks, key=lambda key: [int(n) for n in key.split("/")[1:]]):
        digest.add(files[f"{folder}/{name}"])
    return digest.hexdigest()
