"""Find out from the mount of a folder whether locks reach the other hosts that mount it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ONE_HOST: Final = "KYMFLOW_ZARR_ONE_HOST"
"""Environment variable: 1 if no other host writes to the datasets that this process writes."""
MOUNTS: Path = Path("/proc/self/mountinfo")
# By type of file system: the options with which a host keeps its locks for itself.
_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "nfs": frozenset({"nolock", "local_lock=all", "local_lock=flock"}),
    "nfs4": frozenset({"nolock", "local_lock=all", "local_lock=flock"}),
    "cifs": frozenset({"nobrl"}),
    "smb3": frozenset({"nobrl"}),
    "lustre": frozenset({"localflock"}),
}
# Programs that mount what has no locks, so that the kernel keeps them.
_NONE: Final = frozenset(
    f"fuse.{name}"
    for name in ("sshfs", "rclone", "s3fs", "goofys", "gcsfuse", "blobfuse", "blobfuse2",
                 "mountpoint-s3", "seaweedfs", "curlftpfs", "davfs2", "gvfsd-fuse")
) | {"davfs"}  # fmt: skip


def locks_stay_on_host(path: Path) -> str | None:
    """Return why locks in a folder do not reach other hosts; None if they do, or nothing is known.

    Only Linux shows how a folder is mounted. The folder need not exist yet.
    """
    if sys.platform != "linux" or os.environ.get(ONE_HOST) == "1":
        return None
    while True:
        try:
            device = os.stat(path).st_dev  # noqa: PTH116 - at each opening
            break
        except FileNotFoundError:
            if path == path.parent:
                return None
            path = path.parent
        except OSError:
            return None
    if os.major(device) != 0:
        return None  # A disk of this host; shares and FUSE have no device.
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        fields, _, rest = line.partition(" - ")
        if fields.split(" ")[2:3] != [number]:
            continue
        kind, source, options = (*rest.split(" "), "", "", "")[:3]
        given = {*options.split(","), *fields.split(" ")[5].split(",")}
        local_locks = sorted(_OPTIONS.get(kind, frozenset()) & given)
        if local_locks:
            return f"{source} is mounted with {', '.join(local_locks)}"
        if kind in _NONE:
            return f"{source} is mounted by {kind.removeprefix('fuse.')}, which has none"
    return None
