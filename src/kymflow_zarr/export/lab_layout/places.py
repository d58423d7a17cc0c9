"""Where the files of the original folders go. Pure.

A document names a file by its path below the folder that was ingested; whoever edited it may
have written anything there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from kymflow_zarr import layout
from kymflow_zarr.errors import ArgumentError, InvalidNameError
from kymflow_zarr.export.dataset_layout.places import source_segment
from kymflow_zarr.schema.image import SourceFileDocument

__all__ = ["Names", "Roots", "legal_path", "root_of", "sidecar_name"]

_WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")
# What a sidecar's name cannot hold on one system or another.
_NOT_IN_NAMES: Final = frozenset('<>:"|?*\\/') | {chr(i) for i in range(32)}


def root_of(document: SourceFileDocument) -> str | None:
    """Return the folder that a file was ingested with, None if its two paths do not agree."""
    path = document.path
    if _WINDOWS_PATH.match(path):
        path = path.replace("\\", "/")
    end = f"/{document.rel_path}"
    return path[: -len(end)] if path.endswith(end) else None


def legal_path(rel_path: str, *, windows: bool = sys.platform == "win32") -> str:
    """Return a path below the target, as this system can have it.

    Parameters
    ----------
    rel_path : str
        From a document.
    windows : bool
        Whether names that Windows does not take are spelled otherwise.

    Raises
    ------
    ArgumentError
        If it leads out of the target, or is none.
    """
    if layout.leads_out(rel_path, windows=False):
        raise ArgumentError(f"the path {rel_path!r} leads out of the folder")
    try:
        rel_path.encode()
    except UnicodeEncodeError:
        raise ArgumentError(f"the path {rel_path!r} is not valid Unicode") from None
    return "/".join(map(_windows_segment, rel_path.split("/"))) if windows else rel_path


def _windows_segment(segment: str) -> str:
    try:
        layout.check_name(segment, what="file name")
        legal = layout.is_legal_on_windows(segment)
    except InvalidNameError:
        legal = False
    return segment if legal else source_segment(segment)


def sidecar_name(name: str) -> str:
    """Return the name of an artifact as a part of a file name: ``a/b`` is ``a%2fb``."""
    return "".join(f"%{ord(c):02x}" if c in _NOT_IN_NAMES else c for c in name)


class Roots:
    """The folders that files were ingested with, and where each of them goes.

    One alone is the target itself. Of several each is a folder of its own name in the target;
    one that lies in another stays there.

    Parameters
    ----------
    documents : iterable of SourceFileDocument
        All files of the dataset.
    """

    def __init__(self, documents: Iterable[SourceFileDocument]) -> None:
        roots = {root_of(document) for document in documents}
        known = sorted(root for root in roots if root is not None)
        tops: list[str] = []
        for root in known:
            if not any(root.startswith(f"{top}/") for top in tops):
                tops.append(root)
        self._tops = tops
        several = len(tops) + (None in roots) > 1
        names = Names()
        self._folders = {
            top: names.take(_windows_segment(PurePosixPath(top).name or "root"), "-")
            if several
            else ""
            for top in tops
        }
        self._other = names.take("files", "-") if several else ""

    def place(self, document: SourceFileDocument) -> str:
        """Return where in the target a file goes.

        Raises
        ------
        ArgumentError
            If that would be outside.
        """
        root = root_of(document)
        relative, folder = document.rel_path, self._other
        if root is not None:
            top = next(t for t in self._tops if root == t or root.startswith(f"{t}/"))
            folder = self._folders[top]
            relative = f"{root[len(top) + 1 :]}/{relative}".lstrip("/") if root != top else relative
        legal = legal_path(relative)
        return f"{folder}/{legal}" if folder else legal


class Names:
    """Names that are taken, on disks too that do not tell capitals from small letters."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def claim(self, path: str) -> None:
        """Take a path as it is."""
        self._taken.add(path.casefold())
        self._taken.update(str(parent).casefold() for parent in PurePosixPath(path).parents)

    def has(self, path: str) -> bool:
        """Tell whether a path is taken."""
        return path.casefold() in self._taken

    def take(self, stem: str, separator: str = "_", suffix: str = "") -> str:
        """Return `stem` and `suffix`, with a number between them if that is taken."""
        path, number = f"{stem}{suffix}", 1
        while path.casefold() in self._taken:
            number += 1
            path = f"{stem}{separator}{number}{suffix}"
        self.claim(path)
        return path
