"""The only room that touches bytes: atomic writes, durability, locks, listing.

Everything above speaks of keys (``images/<id>/zarr.json``), never of paths, so that
another kind of storage can take the place of :class:`LocalStorage`.
"""

from kymflow_zarr._storage._aside import aside, threads
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
from kymflow_zarr._storage._v1 import V1_NAMES, V1Storage, is_v1, reading_storage
from kymflow_zarr._storage._zarr import open_zarr_array

__all__ = [
    "V1_NAMES",
    "Disk",
    "LocalStorage",
    "StagedTree",
    "Stat",
    "V1Storage",
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
