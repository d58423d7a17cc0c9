"""Make the frozen dataset of format version 3 in a folder of several hosts.

    python -m tests.frozen.make_v3_shared

What is checked in stays as it is: a test reads it for ever. Run it again only as long as no
version 3 has been released.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from kymflow_zarr import ZarrDataset, copy_dataset
from kymflow_zarr.storage.object.heads import Pending, State, decode_head, encode_head, next_head
from kymflow_zarr.storage.shares.folder import KEPT, SharedFolder
from tests.frozen.make_v2 import STORE as STORE_V2

STORE = Path(__file__).parent / "v3_shared" / "experiment.zarr"
CHANGE = "0123456789abcdef0123456789abcdef"


def main() -> None:
    """Write it."""
    shutil.rmtree(STORE.parent, ignore_errors=True)
    assert copy_dataset(STORE_V2, STORE, shared=True).ok
    with ZarrDataset(STORE) as ds:
        ds.add_image([[1, 2]], image_id="gone")
        for number in range(KEPT + 3):  # Some files of its head are deleted.
            ds["gone"].save_json("note", number)
        ds.delete_image("gone")
    folder = SharedFolder(STORE, durable=True)
    # A writer died after it had committed a change of several heads.
    name = "heads/images/empty.json"
    data, tag = folder.get(name) or (b"", "")
    head = decode_head(data, where=name)
    pending = Pending(change=CHANGE, then=head.state)
    assert folder.put_if(name, encode_head(next_head(head, State(), pending)), tag)
    folder.put(f"changes/{CHANGE}.json", b'{"outcome": "committed"}')
    # A file that was deleted while a host had it open.
    (STORE / "heads" / "top" / ".nfs000000000a1b2c3d00000001").write_bytes(b"{")


if __name__ == "__main__":
    main()
