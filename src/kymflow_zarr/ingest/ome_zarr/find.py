"""Find the images of an OME-Zarr: one image, a plate, a collection, or a folder of images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kymflow_zarr.errors import SourceFileError, SourceNotFoundError
from kymflow_zarr.layout import leads_out

# Plates have wells of fields; collections nest one level more.
_MAX_DEPTH: Final = 6
_MAX_IMAGES: Final = 100_000


@dataclass(frozen=True, slots=True)
class FoundImage:
    """One image of an OME-Zarr.

    Parameters
    ----------
    path : str
        Below the root, with ``/``; empty for the root itself.
    group : zarr.Group
    ome : mapping
        Its OME metadata, of whatever version.
    """

    path: str
    group: Any
    ome: Mapping[str, Any]


def open_root(path: Path) -> Any:
    """Return the root group, read-only.

    Raises
    ------
    SourceNotFoundError
        If there is no such folder.
    SourceFileError
        If it is not a Zarr group.
    """
    import zarr

    if not path.exists():
        raise SourceNotFoundError(
            "there is no such folder", where=str(path), hint="Check the path."
        )
    try:
        return zarr.open_group(str(path), mode="r")
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise SourceFileError(
            f"is no Zarr group: {error}",
            where=str(path),
            hint="Give the folder that holds zarr.json or .zgroup.",
        ) from error


def ome_of(group: Any) -> Mapping[str, Any]:
    """Return the OME metadata of a group: below ``ome`` since 0.5, at the top before."""
    attributes: Mapping[str, Any] = dict(group.attrs)
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def find_images(root: Any) -> Iterator[FoundImage]:
    """Yield the images below a group, in the order that its metadata or names give.

    Labels are not images of their own.
    """
    for count, image in enumerate(_below(root, "", 0)):
        if count == _MAX_IMAGES:
            raise SourceFileError(f"has more than {_MAX_IMAGES} images")
        yield image


def child(group: Any, path: object) -> Any:
    """Return a group or array below a group by a path of its metadata.

    Raises
    ------
    SourceFileError
        If it is not there, or the path leads out.
    """
    if not isinstance(path, str) or not path or leads_out(path.strip("/")):
        raise SourceFileError(f"its metadata name {path!r}, which is no place in it")
    try:
        return group[path.strip("/")]
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise SourceFileError(f"its metadata name {path!r}, which cannot be read") from error


def groups_in(group: Any) -> list[str]:
    """Return the names of the groups in a group, sorted."""
    import zarr

    with warnings.catch_warnings():
        # Folders of other programs, such as tables, are no part of the hierarchy.
        warnings.simplefilter("ignore")
        return sorted(name for name, member in group.members() if isinstance(member, zarr.Group))


def _below(group: Any, path: str, depth: int) -> Iterator[FoundImage]:
    import zarr

    ome = ome_of(group)
    if isinstance(ome.get("multiscales"), list) and ome["multiscales"]:
        yield FoundImage(path, group, ome)
        return
    if depth == _MAX_DEPTH:
        return
    listed = _listed(ome)
    if listed is None:
        listed = groups_in(group)
    for name in listed:
        below = child(group, name)
        if isinstance(below, zarr.Group):
            yield from _below(below, f"{path}/{name}".strip("/"), depth + 1)


def _listed(ome: Mapping[str, Any]) -> list[str] | None:
    """Return the children that a plate or a well names, None if the group names none."""
    for key, entries in (("plate", "wells"), ("well", "images")):
        entry = ome.get(key)
        if isinstance(entry, Mapping) and isinstance(entry.get(entries), list):
            return [str(each.get("path")) for each in entry[entries] if isinstance(each, Mapping)]
    return None
