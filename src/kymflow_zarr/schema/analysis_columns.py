"""Names and types of the columns in files of the flow programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
# The columns that a pooled table adds to those of its file: the image of a row, and the file.
IMAGE_ID: Final = "image_id"
POOLED_PATH: Final = "pooled_path"

# CSV declares no types: a folder named 20250722 looks like a number in one file and not in the
# next. A CSV whose header includes one of these sets has the column types below.
_MARKERS: Final = (
    {"velocity", "parentFolder", "file"},  # kymflow: a table of velocities
    {"rel_path"},  # kymflow: tables pooled over a folder, worklists
    {"channel", "roi_id", "theta_deg"},  # acqstore: tables of its analyses
    {"channel", "roi_id", "qc_score"},
    {"channel", "roi_id", "df_f_signal"},
    {"pool_row_id"},  # acqstore: tables pooled over a folder
    {"_rel_path"},  # acqstore: worklists
)
_TEXT_ENDINGS: Final = (
    "analysis_date", "analysis_time", "_status", "_status_note", "_reason", "_text",
)  # fmt: skip
_TYPES: Final = {
    "text": """
        parentFolder file algorithm parent_folder file_name path rel_path grandparent_folder
        treatment treatment2 condition condition2 date note notes event_type machine_type
        user_type species region cell_type direction sex genotype age name parent
        grandparent status status_note _unique_row_id pool_row_id _rel_path _group
        peak_row_type baseline_method detrend_method detection_method detection_source
        peak_detection_method
    """,
    "integer": """
        roi_id channel numLines pntsPerLine vel_n_nan vel_n_zero vel_n_big img_min img_max
        i_start i_peak i_end n_valid_in_event _random_order _source_index center_row
        branch_order num_windows num_rows num_timepoints num_peaks num_space_pixels
        analysis_version velocity_num_windows velocity_analysis_version hr_analysis_version
        hr_version hr_n_total hr_n_valid event_analysis_version
    """,
    "number": """
        time velocity delx delt cleanVelocity absVelocity vel_min vel_max vel_mean vel_std
        vel_se vel_cv img_mean img_std t_start t_peak t_end score_peak baseline_before
        baseline_after strength nan_fraction_in_event duration_sec depth time_s time_sec
        theta_deg left_edge_px right_edge_px left_edge_um right_edge_um diameter_px
        diameter_um diameter_px_filt diameter_um_filt baseline sum_intensity
        edge_strength_left edge_strength_right qc_score norm_sum_intensity
        filtered_norm_sum_intensity detrended_norm_sum_intensity f0_baseline df_f_signal
        d_df_f_signal step_y step_x onset_index peak_id velocity_mean velocity_median
        velocity_cv hr_valid_frac hr_t_min hr_t_max
    """,
    "boolean": """
        accepted accept is_onset is_peak diameter_was_filtered qc_edge_violation
        qc_diameter_violation qc_center_violation
    """,
}
_PINNED: Final = {name: kind for kind, names in _TYPES.items() for name in names.split()}


def pinned_types(header: Iterable[str]) -> dict[str, str]:
    """Return the fixed types of the columns of a known program's files, by name.

    A type is ``text``, ``integer``, ``number`` or ``boolean``. Columns without a known type,
    and those of unknown programs, are left out.
    """
    names = set(header)
    if not any(marker <= names for marker in _MARKERS):
        return {}
    text = {name: "text" for name in names if name.endswith(_TEXT_ENDINGS)}
    return text | {name: _PINNED[name] for name in names if name in _PINNED}


def is_known_text(name: str) -> bool:
    """Return True if a column, by its name in the program or dataset, is always text."""
    return _PINNED.get(name) == "text" or name.endswith(_TEXT_ENDINGS)


def names_in_table(columns: Sequence[str]) -> dict[str, str]:
    """Return new names for columns of a pooled file that clash with the two added columns.

    A lab's own ``image_id`` becomes ``file_image_id`` in the table.
    """
    renamed: dict[str, str] = {}
    for name in (IMAGE_ID, POOLED_PATH):
        if name in columns:
            new = f"file_{name}"
            while new in columns:
                new = f"file_{new}"
            renamed[name] = new
    return renamed
