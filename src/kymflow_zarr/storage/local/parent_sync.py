"""The names above a place on the disk: what is written below a name is lost with it."""

from __future__ import annotations

from pathlib import Path

from kymflow_zarr.storage.local.files import sync_all


class ParentSync:
    """Syncs the folders above those that are written to, each once.

    Who gave a folder its name syncs that before he returns. But he may have died before, and
    what another writes there, and acknowledges, must not vanish with the name.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._safe: set[tuple[Path, int]] = set()

    def make_safe(self, folder: Path) -> None:
        """Put the names of a folder, and of those above it, on the disk."""
        # The number tells a folder from one that was deleted and came back.
        found = (folder, folder.stat().st_ino)
        if folder != self._root and found not in self._safe:
            above = [path for path in folder.parents if path.is_relative_to(self._root)]
            sync_all((), above)
            self._safe.add(found)
