"""Sources into records: image files, folders of them, other programs' objects."""

from importlib import import_module

# Documented here in 0.1, and now names of the package; they leave with the next release.
_MOVED = ("MigrationItem", "MigrationReport", "migrate_dataset", "migrate_in_place")


def __getattr__(name: str) -> object:
    if name in _MOVED:
        return getattr(import_module("kymflow_zarr"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
