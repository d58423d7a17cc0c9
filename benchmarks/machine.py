"""What the figures were taken on, in general terms."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

PACKAGES = ("numpy", "pandas", "pyarrow", "zarr", "tifffile")


def machine() -> dict[str, str]:
    """Return the facts that a ratio may depend on; none of them names the machine."""
    return {
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "used by others": "yes" if _busy() else "no",
    }


def _busy() -> bool:
    """Whether other programs kept more than a fifth of a core busy in the last minute."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.2
