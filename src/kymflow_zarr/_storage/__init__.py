"""The only room that touches bytes: atomic writes, durability, locks, listing.

Everything above speaks of keys (``images/<id>/zarr.json``), never of paths, so that
another kind of storage can take the place of :class:`LocalStorage`.
"""

from typing import TYPE_CHECKING

from kymflow_zarr._late import late
from kymflow_zarr._storage._aside import Content, arrived, aside, threads
from kymflow_zarr._storage._disk import Disk, disk, disk_replaced
from kymflow_zarr._storage._files import (
    digest_of_bytes,
    os_errors,
    remove_tree,
    rename_folder,
    replace,
    sync_folder,
    write_file,
)
from kymflow_zarr._storage._local import LocalStorage, Stat
from kymflow_zarr._storage._staging import StagedTree, commit_trees
from kymflow_zarr._storage._zarr import open_zarr_array

if TYPE_CHECKING:
    from kymflow_zarr._storage._v1 import V1_NAMES, V1Storage, is_v1, reading_storage

__all__ = [
    "V1_NAMES",
    "Content",
    "Disk",
    "LocalStorage",
    "StagedTree",
    "Stat",
    "V1Storage",
    "arrived",
    "aside",
    "commit_trees",
    "digest_of_bytes",
    "disk",
    "disk_replaced",
    "is_v1",
    "open_zarr_array",
    "os_errors",
    "reading_storage",
    "remove_tree",
    "rename_folder",
    "replace",
    "sync_folder",
    "threads",
    "write_file",
]

_FILES = {"_v1": ("V1_NAMES", "V1Storage", "is_v1", "reading_storage")}


if not TYPE_CHECKING:  # A checker is to know the names one by one.
    __getattr__ = late(__name__, _FILES)
