"""Small files as a microscope and a lab leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

PIXELS = np.arange(600, dtype=np.uint16).reshape(30, 20)
HEADER = (
    '"[General]"\t""\r\n"Name"\t"a.oir"\r\n"Scan Mode"\t"XT"\r\n'
    '"Date"\t"{date}"\r\n'
    '"[Dimensions]"\t""\r\n"X Dimension"\t"20, 0.0 - 5.68 [um], 0.284 [um/pixel]"\r\n'
    '"Channel Dimension"\t"1 [Ch]"\r\n'
    '"T Dimension"\t"1, 0.000 - 0.036 [s], Interval FreeRun"\r\n'
    '"[Image]"\t""\r\n"Primary Dimensions"\t"X * T"\r\n"Image Size"\t"20 * 30 [pixel]"\r\n'
    '"[Reference Image]"\t""\r\n"Image Size"\t"512 * 512 [pixel]"\r\n'
    '"[Channel 1]"\t""\r\n"Channel Name"\t"RNDD2"\r\n"Dye Name"\t"FITC"\r\n'
)
DATE = "11/02/2022 12:30:15.461 PM"


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        tifffile.imwrite(path, content)
    elif isinstance(content, str | bytes):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    else:
        path.write_text(json.dumps(content))
    return path
