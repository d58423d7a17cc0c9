"""Make the frozen dataset of format version 3, of that of version 2.

    python -m tests.frozen.make_v3

What is checked in stays as it is: a test reads it for ever. Run it again only as long as no
version 3 has been released.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest import mock

from obstore.store import MemoryStore

from kymflow_zarr import ZarrDataset, copy_dataset
from kymflow_zarr.storage.object.bucket import Bucket
from kymflow_zarr.storage.object.heads import Pending as PendingState
from kymflow_zarr.storage.object.heads import State, decode_head, encode_head, next_head
from tests.frozen.make_v2 import STORE as STORE_V2

STORE = Path(__file__).parent / "v3" / "experiment.zarr"
ADDRESS = "s3://frozen/experiment.zarr"
CHANGE = "0123456789abcdef0123456789abcdef"


def main() -> None:
    """Write it."""
    shutil.rmtree(STORE.parent, ignore_errors=True)
    store = MemoryStore()
    with mock.patch.object(Bucket, "_opened", return_value=store):
        assert copy_dataset(STORE_V2, ADDRESS).ok
        with ZarrDataset(ADDRESS) as ds:
            ds.add_image([[1, 2]], image_id="gone")
            ds.delete_image("gone")
        bucket = Bucket(ADDRESS)
        # A writer died after it had committed a change of several heads.
        name = "heads/images/empty.json"
        head = decode_head((bucket.get(name) or (b"",))[0], where=name)
        pending = PendingState(change=CHANGE, then=head.state)
        bucket.put(name, encode_head(next_head(head, State(), pending)))
        bucket.put(f"changes/{CHANGE}.json", b'{"outcome": "committed"}')
        for item in bucket.list_below(""):
            path = STORE / item.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((bucket.get(item.name) or (b"",))[0])


if __name__ == "__main__":
    main()
