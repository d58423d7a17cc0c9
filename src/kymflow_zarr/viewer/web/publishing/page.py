"""The page as files: what its server would answer, computed beforehand."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from kymflow_zarr.errors import KymflowZarrError, extra_module

if TYPE_CHECKING:
    from kymflow_zarr import ZarrDataset

_HTML = "index.html"
Write = Callable[[str, bytes], None]


class StaticPage:
    """The page of one dataset; `kymflow_zarr.export.publishing` writes it beside the dataset.

    Parameters
    ----------
    dataset : ZarrDataset

    Raises
    ------
    MissingDependencyError
        If Starlette is not installed.
    """

    def __init__(self, dataset: ZarrDataset) -> None:
        extra_module("starlette", extra="view", needs="the page needs the package starlette")
        from kymflow_zarr.viewer.web.app import make_app
        from kymflow_zarr.viewer.web.publishing.dataset_page import image_rows
        from kymflow_zarr.viewer.web.security import Rules

        self._dataset = dataset
        self._app = make_app(dataset, Rules("127.0.0.1", 0))
        self._site = self._app.state.site
        self._rows = image_rows(self._site)

    def rows(self) -> Mapping[str, bytes]:
        """Return what the list shows of each image, by id."""
        return {image_id: msgspec.json.encode(row) for image_id, row in self._rows.items()}

    def thumbnail(self, image_id: str) -> bytes | None:
        """Return the picture of an image, None if it cannot be drawn."""
        try:
            return self._dataset.record(image_id).thumbnail()
        except KymflowZarrError:
            return None  # The list says that the image is damaged.

    def write_image(
        self,
        image_id: str,
        prefix: str,
        digest: str,
        write: Write,
        earlier: Callable[[str | None], tuple[list[str], bytes] | None],
    ) -> tuple[str, list[str], int, str | None]:
        """Write facts, tiles, curves, events and artifacts of an image."""
        from kymflow_zarr.viewer.web.publishing.dataset_page import packed
        from kymflow_zarr.viewer.web.publishing.image_page import (
            Pack,
            facts_of,
            pack_answers,
            pack_pixels,
            pixels_key,
        )

        record = self._dataset.record(image_id)
        facts = facts_of(self._site, image_id, prefix)
        key = pixels_key(record, self._site)
        published = _pixels_in(earlier(key))
        if published is None:
            pixels = Pack(write, f"{prefix}/p{key}")
            with contextlib.suppress(KymflowZarrError):  # The facts say what cannot be read.
                pack_pixels(self._site, image_id, pixels)
            pixels.close()
            published = pixels.files, pixels.parts
        files, parts = published
        answers = Pack(write, f"{prefix}/a{digest}", first=len(files))
        pack_answers(self._app, record, facts, answers)
        answers.close()
        packs = [*files, *answers.files]
        name = f"{prefix}/{digest}.bin"
        write(name, packed({"image": facts, "packs": packs, "parts": {**parts, **answers.parts}}))
        return name, packs, len(files), key

    def files(
        self,
        folder: str,
        facts: Mapping[str, str],
        thumbnails: Mapping[str, str],
        tables: Mapping[str, str],
    ) -> Iterator[tuple[str, bytes]]:
        """Yield name and bytes of all files that belong to no image, the HTML last."""
        from kymflow_zarr.viewer.web.publishing import dataset_page

        listed: dict[str, tuple[str | None, str | None]] = {}
        for name, data, error in dataset_page.table_pages(self._site, tables):
            file = None if data is None else f"tables/{dataset_page.digest_of(data)}.bin"
            listed[name] = file, error
            if data is not None:
                yield f"{folder}/{file}", data
        for name, data in dataset_page.page_files():
            yield f"{folder}/{name}", data
        images = dataset_page.dataset_list(self._site, self._rows, facts, thumbnails, listed)
        list_file = f"{folder}/list-{dataset_page.digest_of(images)}.bin"
        yield list_file, images
        yield _HTML, dataset_page.page_html(folder, list_file)


def _pixels_in(
    earlier: tuple[list[str], bytes] | None,
) -> tuple[list[str], dict[str, Any]] | None:
    """Return the packs of pixels that are published already and their parts; None if unreadable."""
    if earlier is None:
        return None
    packs, data = earlier
    try:
        facts: Any = msgspec.json.decode(zlib.decompress(data))
        return packs, {key: part for key, part in facts["parts"].items() if part[0] < len(packs)}
    except (zlib.error, msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return None
