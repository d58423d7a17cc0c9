"""Simulate the possible states of a disk after a power loss, given the fsyncs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from kymflow_zarr.testing.faults import FaultKind, FaultyDisk
from kymflow_zarr.types import StrPath

Order: TypeAlias = Literal["any", "prefix"]


class _Entry(NamedTuple):
    """A change of directory entries: removals from and additions to folders."""

    inode: int
    out_of: tuple[int, str] | None
    into: tuple[int, str] | None


class PowerLossDisk(FaultyDisk):
    """Records operations below a folder, and rebuilds possible states after a power loss.

    The content of a file is durable once the file was synced; before, it may be present, missing or
    truncated anywhere. A change of directory entries is durable once a changed folder was synced.
    Files are modeled as inodes: a file that was written, synced and renamed is durable under one of
    the two names.

    Parameters
    ----------
    top : Path
        The folder; its current content counts as durable.
    at, kind
        As of :class:`FaultyDisk`.
    """

    def __init__(self, top: Path, at: int | None = None, kind: FaultKind = "crash") -> None:
        super().__init__(at, kind)
        self._top = top
        self._folders: dict[int, dict[str, int]] = {}
        self._content: dict[int, bytes] = {}
        self._safe_content: dict[int, bytes] = {}
        self._log: list[_Entry] = []
        self._safe: list[bool] = []
        self._count = 0
        self._root = self._take_in(top)
        self._before = {inode: dict(names) for inode, names in self._folders.items()}

    def _take_in(self, path: Path) -> int:
        self._count += 1
        inode = self._count
        if path.is_dir():
            self._folders[inode] = {
                child.name: self._take_in(child) for child in sorted(path.iterdir())
            }
        else:
            self._content[inode] = self._safe_content[inode] = path.read_bytes()
        return inode

    def _inode(self, path: StrPath) -> int | None:
        inode: int | None = self._root
        for name in Path(path).relative_to(self._top).parts:
            inode = self._folders.get(inode or 0, {}).get(name)
        return inode

    def _parent(self, path: StrPath) -> int:
        inode = self._inode(Path(path).parent)
        assert inode is not None, path
        return inode

    def _change(self, entry: _Entry) -> None:
        self._log.append(entry)
        self._safe.append(False)
        _apply(self._folders, entry)

    def revive(self) -> None:
        """Continue as another process after a crash without a power loss."""
        self._at, self.struck = None, False

    # Operations ------------------------------------------------------------------------

    def create(self, path: StrPath, data: bytes | memoryview) -> None:
        """Write a new file."""
        super().create(path, data)
        with self._guard:
            self._count += 1
            self._content[self._count], self._safe_content[self._count] = bytes(data), b""
            self._change(_Entry(self._count, None, (self._parent(path), Path(path).name)))

    def append(self, path: Path, data: bytes) -> None:
        """Add bytes to a file."""
        if not path.exists():
            self.create(path, data)
            return
        super().append(path, data)
        with self._guard:
            inode = self._inode(path)
            if inode is not None:
                self._content[inode] += data

    def sync(self, path: StrPath) -> None:
        """Mark the content of a file as durable."""
        super().sync(path)
        with self._guard:
            inode = self._inode(path)
            if inode in self._content:
                self._safe_content[inode] = self._content[inode]

    def sync_folder(self, path: StrPath) -> None:
        """Mark the entries of a folder as durable."""
        super().sync_folder(path)
        if not Path(path).is_relative_to(self._top):
            return
        with self._guard:
            inode = self._inode(path)
            for i, entry in enumerate(self._log):
                if any(side is not None and side[0] == inode for side in entry[1:]):
                    self._safe[i] = True

    def _moved(self, old: StrPath, new: StrPath) -> None:
        source, target = Path(old), Path(new)
        with self._guard:
            inode = self._inode(source)
            assert inode is not None, source
            out_of, into = self._parent(source), self._parent(target)
            self._change(_Entry(inode, (out_of, source.name), (into, target.name)))

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file."""
        super().replace(source, target)
        self._moved(source, target)

    def link(self, source: StrPath, target: StrPath) -> None:
        """Give a file a second name."""
        super().link(source, target)
        with self._guard:
            inode = self._inode(source)
            assert inode is not None, source
            self._change(_Entry(inode, None, (self._parent(target), Path(target).name)))

    def rename_folder(self, source: StrPath, target: StrPath) -> None:
        """Rename a folder."""
        super().rename_folder(source, target)
        self._moved(source, target)

    def make_folder(self, path: StrPath) -> None:
        """Make a folder."""
        super().make_folder(path)
        with self._guard:
            self._count += 1
            self._folders[self._count] = {}
            self._before[self._count] = {}
            self._change(_Entry(self._count, None, (self._parent(path), Path(path).name)))

    def _gone(self, path: Path) -> None:
        with self._guard:
            inode = self._inode(path)
            if inode is None:
                return  # Lock files are created outside of this class.
            for name in list(self._folders.get(inode, {})):
                self._gone(path / name)
            self._change(_Entry(inode, (self._parent(path), path.name), None))

    def unlink(self, path: Path) -> None:
        """Delete a file."""
        super().unlink(path)
        self._gone(path)

    def remove_folder(self, path: Path) -> None:
        """Delete an empty folder."""
        super().remove_folder(path)
        self._gone(path)

    def remove_tree(self, path: Path) -> None:
        """Delete a folder and all below it."""
        super().remove_tree(path)
        self._gone(path)

    # After the loss --------------------------------------------------------------------

    def rebuild(self, target: Path, *, seed: int, order: Order = "any") -> None:
        """Write a possible state of `top` after a power loss at this point to a folder.

        Parameters
        ----------
        target : Path
            Path of the folder, which must not exist.
        seed : int
            0: everything that is not durable is lost. 1: all entries survive, without content that
            is not durable. 2: everything survives, with truncated files. Others: random.
        order : {"any", "prefix"}
            Whether changes of entries that are not durable are lost independently, or only the
            latest of them, as on a journaling file system.
        """
        chance = random.Random(seed)
        folders = {inode: dict(names) for inode, names in self._before.items()}
        for entry, survives in zip(self._log, self._kept(chance, seed, order), strict=True):
            if survives:
                _apply(folders, entry)
        self._write(self._root, target, folders, chance, seed)

    def _kept(self, chance: random.Random, seed: int, order: Order) -> Iterator[bool]:
        surely = max((i + 1 for i, safe in enumerate(self._safe) if safe), default=0)
        last = {0: surely, 1: len(self._log), 2: len(self._log)}.get(
            seed, chance.randint(surely, len(self._log))
        )
        share = chance.random()
        for i, safe in enumerate(self._safe):
            if order == "prefix":
                yield i < last
            else:
                yield safe or seed in (1, 2) or (seed != 0 and chance.random() < share)

    def _write(
        self,
        inode: int,
        target: Path,
        folders: dict[int, dict[str, int]],
        chance: random.Random,
        seed: int,
    ) -> None:
        if inode in folders:
            target.mkdir()
            for name, child in folders[inode].items():
                self._write(child, target / name, folders, chance, seed)
            return
        safe, content = self._safe_content[inode], self._content[inode]
        rest = len(content) - len(safe)
        ends = {0: 0, 1: 0, 2: rest // 2}.get(
            seed, chance.choice([0, rest // 2, rest, chance.randint(0, rest)])
        )
        target.write_bytes(safe + content[len(safe) : len(safe) + ends])


def _apply(folders: dict[int, dict[str, int]], entry: _Entry) -> None:
    if entry.out_of is not None:
        folder, name = entry.out_of
        if folders[folder].get(name) == entry.inode:
            del folders[folder][name]
        elif entry.into is None:
            return
    if entry.into is not None:
        folder, name = entry.into
        folders[folder][name] = entry.inode
