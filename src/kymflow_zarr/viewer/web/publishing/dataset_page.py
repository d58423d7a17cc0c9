"""What the page shows of a whole dataset: its list of images, its tables, and the HTML."""

from __future__ import annotations

import hashlib
import html
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from kymflow_zarr._version import __version__
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.viewer.web.answers import STATIC, plain
from kymflow_zarr.viewer.web.image.artifacts import unit_of
from kymflow_zarr.viewer.web.lists.gallery import picture_version

if TYPE_CHECKING:
    from kymflow_zarr.viewer.web.lists.rows import Rows
    from kymflow_zarr.viewer.web.site import Site

# A table is loaded as a whole by the page.
_MAX_CELLS: Final = 2**20
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)


def packed(value: Any) -> bytes:
    """Return a value as compressed JSON."""
    return zlib.compress(msgspec.json.encode(plain(value)), 6)


def image_rows(site: Site) -> dict[str, list[Any]]:
    """Return the row of each image in the list, by id, in the order of the list."""
    rows = site.gallery.rows()
    names = list(rows.columns)
    at = names.index("image_id")
    return {row[at]: row for row in plain(rows.rows(range(len(rows)), names))}


def dataset_list(
    site: Site,
    rows: Mapping[str, Sequence[Any]],
    facts: Mapping[str, str],
    thumbnails: Mapping[str, str],
    tables: Mapping[str, tuple[str | None, str | None]],
) -> bytes:
    """Return the file from which the page knows all images and tables.

    Parameters
    ----------
    site : Site
    rows : mapping
        The row of each image.
    facts, thumbnails : mapping of str to str
        The file with the facts about each image that was published, and its picture.
    tables : mapping of str to (str or None, str or None)
        The file of each table, and why there is none.
    """
    listed = site.gallery.rows()
    columns = [{"name": name, "kind": kind} for name, kind in listed.kinds().items()]
    names = [column["name"] for column in columns]
    return packed(
        {
            "info": {
                "name": site.dataset.location.replace("\\", "/").rstrip("/").rpartition("/")[2],
                "dataset_id": site.dataset.dataset_id,
                "created_utc": site.dataset.created_utc,
                "editable": False,
                "who": None,
                "n_images": len(rows),
                "tables": site.tables.described(),
                "columns": columns,
                "version": __version__,
            },
            "images": {
                "columns": columns,
                "rows": list(rows.values()),
                "searched": listed.searched,
            },
            "facts": [facts.get(image_id) for image_id in rows],
            "thumbnails": [
                _thumbnail(thumbnails.get(image_id), dict(zip(names, row, strict=True)))
                for image_id, row in rows.items()
            ],
            "tables": {
                name: {"file": file, "error": error} for name, (file, error) in tables.items()
            },
        }
    )


def _thumbnail(file: str | None, row: dict[str, Any]) -> str | None:
    if file is None or row["error"]:
        return None
    return f"{quote(file)}?v={picture_version(row)}"


def table_pages(
    site: Site, tables: Mapping[str, str]
) -> Iterator[tuple[str, bytes | None, str | None]]:
    """Yield each table as the page loads it: name, file, and why there is none."""
    for name, file in tables.items():
        try:
            rows = site.tables.rows(name)
            edited = site.tables.edited_since(name)
            cells = len(rows) * len(rows.columns)
            if cells > _MAX_CELLS:
                yield name, None, _too_large(file, len(rows))
            else:
                yield name, packed(_table(rows, file, edited)), None
        except KymflowZarrError as error:
            yield name, None, str(error)


def _too_large(file: str, n_rows: int) -> str:
    return (
        f"The table has {n_rows:,} rows, which are too many for a page without a server. "
        f"Its file is {file} beside this page; DuckDB and pandas read it there."
    )


def _table(rows: Rows, file: str, edited_since: int) -> dict[str, Any]:
    names = list(rows.columns)
    return {
        "columns": [
            {"name": n, "kind": kind, "unit": unit_of(n)} for n, kind in rows.kinds().items()
        ],
        "rows": rows.rows(range(len(rows)), names),
        "edited_since": edited_since,
        "href": quote(file),
    }


def page_files() -> Iterator[tuple[str, bytes]]:
    """Yield the files of the page itself but its HTML: name below its folder, and bytes."""
    for path in sorted(STATIC.rglob("*")):
        name = path.relative_to(STATIC).as_posix()
        if path.is_file() and name != "index.html":
            yield name, path.read_bytes()


def page_html(folder: str, list_file: str) -> bytes:
    """Return the page's HTML for files instead of a server.

    Parameters
    ----------
    folder : str
        The folder of its files.
    list_file : str
        Where the list of the images is.
    """
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    text = re.sub(r'(href|src)="/', rf'\1="{folder}/', text)
    name = html.escape(list_file, quote=True)
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}" />\n'
        f'    <meta name="kymflow-zarr-published" content="{name}" />\n'
        f'    <link rel="preload" href="{name}" as="fetch" crossorigin />\n    '
    )
    return text.replace("<title>", f"{head}<title>", 1).encode()


def digest_of(data: bytes) -> str:
    """Return 16 hexadecimal digits that change with bytes."""
    return hashlib.sha256(data).hexdigest()[:16]
