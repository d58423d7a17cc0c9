"""What is on a disk after a power loss, as far as what was synced leaves it open."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from kymflow_zarr.testing.faults import FaultKind, FaultyDisk
from kymflow_zarr.types import StrPath

Order: TypeAlias = Literal["any", "prefix"]


class _Entry(NamedTuple):
    """A change of names: what leaves a folder, and what comes into one."""

    inode: int
    out_of: tuple[int, str] | None
    into: tuple[int, str] | None


class PowerLossDisk(FaultyDisk):
    """Writes down what is done below a folder, and tells what a power loss may leave of it.

    Content of a file is safe once the file was synced; before, it may be there, be missing, or
    end anywhere. A change of names is safe once a folder that it changed was synced. Files are
    inodes here: one that is written, synced, and renamed is safe under the one name or the other.

    Parameters
    ----------
    top : Path
        The folder; what is in it now is safe.
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
        """Let another process go on after a crash; power is not lost yet."""
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
        """Note that the content of a file is safe."""
        super().sync(path)
        with self._guard:
            inode = self._inode(path)
            if inode in self._content:
                self._safe_content[inode] = self._content[inode]

    def sync_folder(self, path: StrPath) -> None:
        """Note that the names in a folder are safe."""
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
                return  # A lock file: the operating system's, not ours.
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
        """Make a folder as `top` may be after power is lost now.

        Parameters
        ----------
        target : Path
            Where; nothing must be there.
        seed : int
            0: whatever is not safe is lost. 1: all names are kept, and no content that is not
            safe. 2: all is kept, and files end in their middle. Others: by chance.
        order : {"any", "prefix"}
            Whether changes of names that are not safe are lost each by itself, or the last of
            them, as a file system with a journal does.
        """
        chance = random.Random(seed)
        folders = {inode: dict(names) for inode, names in self._before.items()}
        for entry, kept in zip(self._log, self._kept(chance, seed, order), strict=True):
            if kept:
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
