"""Run one journaled transaction: commit, apply, and roll back or hand over on failure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from kymflow_zarr.storage.local.disk import disk
from kymflow_zarr.storage.local.journal import Journal, Remove
from kymflow_zarr.storage.local.pending_changes import PendingChanges
from kymflow_zarr.storage.local.staging import StagedTree


class JournaledTransaction(msgspec.Struct, frozen=True):
    """A transaction whose files are staged and whose journal is not written yet.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    path : Path
        Where the journal goes.
    journal : Journal
    durable : bool
    """

    root: Path
    path: Path
    journal: Journal
    durable: bool

    def make(
        self, folder: Path, staged: list[Path], trees: Sequence[StagedTree], pending: PendingChanges
    ) -> None:
        """Write the journal, which commits; apply its operations; delete it.

        Parameters
        ----------
        folder : Path
            Folders that are left empty are removed below this one.
        staged : list of Path
            The staged files; emptied where the journal needs them after an error.
        trees : sequence of StagedTree
            The staged folders; committed from here on, except after an error that leaves
            nothing.
        pending : PendingChanges
            Gets the journal if it can be neither applied nor rolled back now.
        """
        # The journal owns the staged folders from here on, even after Ctrl-C.
        for tree in trees:
            tree.committed = True
        try:
            self.journal.write(self.root, self.path, durable=self.durable)
            self._carry_out()
        except BaseException:
            if self.journal.is_begun(self.root):
                # It cannot be rolled back; the next writer finds the journal and its files.
                staged.clear()
                pending.add(self.path, self.journal)
            elif self._taken_back():
                for tree in trees:
                    tree.committed = False
                self._remove_empty([operation.key for operation in self.journal.operations], folder)
            else:
                staged.clear()
            raise
        # All is applied. The next writer cleans up what cannot be deleted now.
        with contextlib.suppress(OSError):
            self.journal.finish(self.root, self.path, durable=self.durable)
            removed = [
                operation.key
                for operation in self.journal.operations
                if isinstance(operation, Remove)
            ]
            self._remove_empty(removed, folder)

    def _carry_out(self) -> None:
        try:
            self.journal.carry_out(self.root, durable=self.durable, first=True)
        except FileNotFoundError:
            # A concurrent delete removed a staged file. Do not retry: a retry would treat the
            # missing file as already applied.
            raise
        except BaseException as error:
            # The journal is committed: completing it is better than stopping halfway.
            self.journal.carry_out(self.root, durable=self.durable)
            if not isinstance(error, OSError):
                raise

    def _taken_back(self) -> bool:
        """Delete the journal, none of which was applied; False if the disk refuses that too."""
        try:
            with contextlib.suppress(FileNotFoundError):
                disk().unlink(self.path)
            if self.durable:
                # It must not reappear after a power cut, when its staged files are deleted.
                disk().sync_folder(self.path.parent)
        except OSError:
            return False
        return True

    def _remove_empty(self, keys: Iterable[str], top: Path) -> None:
        for key in keys:
            folder = self.root.joinpath(*key.split("/")).parent
            with contextlib.suppress(OSError):  # Not empty: another writer's file is there.
                while folder.is_relative_to(top) and folder != top:
                    disk().remove_folder(folder)
                    folder = folder.parent
