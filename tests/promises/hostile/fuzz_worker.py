"""Fuzz one reader in a process of its own, which may crash.

Run it as ``python -m tests.promises.hostile.fuzz_worker``.
Arguments: the name of a reader, a seed, how many inputs, and a folder for what is found. The
input at hand lies in ``<folder>/current`` at any time, so that a crash of the interpreter leaves
it behind. Memory is bounded by limits of 64 MiB and a hard one on the address space.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import logging
import mmap
import resource
import sys
import traceback
from pathlib import Path

from kymflow_zarr import set_limits
from tests.promises.hostile.fuzz_readers import READERS, check, inputs

HANG_S = 60
LIMIT_BYTES = 64 << 20
ADDRESS_SPACE_BYTES = 6 << 30
# Of what a reader allows, a few copies are alive at a time.
PEAK_BYTES = 12 * LIMIT_BYTES
_CURRENT_BYTES = 8 << 20


def main(name: str, seed: int, count: int, folder: Path) -> None:
    logging.disable(logging.CRITICAL)
    set_limits(
        json_bytes=LIMIT_BYTES, gzip_bytes=LIMIT_BYTES, table_bytes=LIMIT_BYTES,
        array_bytes=LIMIT_BYTES, image_bytes=LIMIT_BYTES, tiff_pages=1000, array_chunks=10_000,
    )  # fmt: skip
    for data in READERS[name].seeds():
        assert check(name, data), "a valid input is refused"
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    folder.mkdir(parents=True, exist_ok=True)
    current = folder / "current"
    current.write_bytes(bytes(_CURRENT_BYTES))
    said = {"inputs": 0, "read": 0, "found": 0}
    peak = _peak()
    with current.open("r+b") as file, mmap.mmap(file.fileno(), 0) as kept:
        for data in inputs(name, seed, count):
            kept[8 : 8 + len(data)] = data
            kept[:8] = len(data).to_bytes(8, "little")
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            try:
                said["read"] += check(name, data)
            except BaseException:  # noqa: BLE001
                said["found"] += 1
                _save(folder, name, data, traceback.format_exc())
            faulthandler.cancel_dump_traceback_later()
            if _peak() > peak + PEAK_BYTES:
                said["found"] += 1
                _save(folder, name, data, f"memory: {_peak() - peak} bytes more than before")
                peak = _peak()
            said["inputs"] += 1
    current.unlink()
    print(json.dumps({"reader": name, **said}))


def left_behind(folder: Path) -> bytes | None:
    """Return the input that a worker died of."""
    current = folder / "current"
    if not current.is_file():
        return None
    data = current.read_bytes()
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _save(folder: Path, name: str, data: bytes, why: str) -> None:
    stem = hashlib.sha256(data).hexdigest()[:12]
    (folder / f"{name}-{stem}.bin").write_bytes(data)
    (folder / f"{name}-{stem}.txt").write_text(why)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
