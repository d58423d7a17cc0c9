"""How columns of the flow programs' files are called in the dataset. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

VELOCITY_COLUMNS: Final = {
    "time": "time_s",
    "velocity": "velocity_mm_s",
    "cleanVelocity": "clean_velocity_mm_s",
    "absVelocity": "abs_velocity_mm_s",
    "delx": "pixel_size_um",
    "delt": "line_period_s",
    "numLines": "num_lines",
    "pntsPerLine": "num_pixels",
    "parentFolder": "parent_folder",
    "file": "file_name",
}
EVENT_COLUMNS: Final = {
    "t_start": "t_start_s",
    "t_peak": "t_peak_s",
    "t_end": "t_end_s",
    "duration_sec": "duration_s",
}
# What a pooled table has beside the columns of its file: the image a row means, and the file.
IMAGE_ID: Final = "image_id"
POOLED_PATH: Final = "pooled_path"


def names_in_table(columns: Sequence[object]) -> dict[object, str]:
    """Return the new names of columns of a pooled file that are called as the two added ones.

    A lab may have its own ``image_id``: its column is ``file_image_id`` in the table.
    """
    renamed: dict[object, str] = {}
    for name in (IMAGE_ID, POOLED_PATH):
        if name in columns:
            new = f"file_{name}"
            while new in columns:
                new = f"file_{new}"
            renamed[name] = new
    return renamed
