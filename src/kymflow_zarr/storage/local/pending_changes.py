"""Read changes that are committed and not applied yet, without applying them."""

from __future__ import annotations

import os
from pathlib import Path

from kymflow_zarr import layout
from kymflow_zarr.storage.local.journal import Journal, Move, Operation, Remove
from kymflow_zarr.storage.local.scan import first_link


class PendingChanges:
    """The keys whose content is still staged, as the journals on the disk say.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._nothing = root / layout.WORK / "removed"  # Nothing is ever there.
        self._journals: dict[Path, tuple[Operation, ...]] = {}

    def add(self, path: Path, journal: Journal) -> None:
        """Read as a journal says until it is deleted, which happens once it is applied."""
        self._journals[path] = journal.operations

    def _current(self) -> list[Operation]:
        if not self._journals:
            return []
        self._journals = {path: found for path, found in self._journals.items() if path.exists()}
        return [operation for operations in self._journals.values() for operation in operations]

    def __bool__(self) -> bool:
        return bool(self._journals)

    def place(self, key: str) -> Path | None:
        """Return the path at which to read a key, None if that is its own."""
        is_removed = False
        for operation in self._current():
            if isinstance(operation, Move) and f"{key}/".startswith(f"{operation.staged}/"):
                return self._nothing  # It is to be moved to another key.
            if key != operation.key and not key.startswith(f"{operation.key}/"):
                continue
            # An applied operation says nothing more: what is at the key now counts.
            if isinstance(operation, Remove):
                # Another folder may be staged to take the place of the removed one.
                is_removed |= not os.path.lexists(self._root / operation.trash)
                continue
            staged_key = operation.staged + key[len(operation.key) :]
            staged = self._root.joinpath(*staged_key.split("/"))
            if staged.exists() and first_link(self._root, staged_key) is None:
                return staged
        return self._nothing if is_removed else None

    def keys_below(self, key: str) -> list[str]:
        """Return the keys below a key at which something new is put."""
        new = [operation.key for operation in self._current() if not isinstance(operation, Remove)]
        return [found for found in new if not key or found.startswith(f"{key}/")]

    def names_below(self, key: str) -> list[str]:
        """Return the names directly below a key at or below which something new is put."""
        cut = len(key) + 1 if key else 0
        return sorted({new[cut:].partition("/")[0] for new in self.keys_below(key)})
