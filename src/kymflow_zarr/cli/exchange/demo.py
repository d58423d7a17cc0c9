"""``kymflow-zarr demo``, and its example analysis: velocity by cross-correlation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from kymflow_zarr.cli.options import debug_option

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    from rich.console import Console

    from kymflow_zarr import ZarrDataset

__all__ = ["demo", "find_stalls", "measure_velocity"]

_WINDOW_LINES = 32
_STRIDE_LINES = 8
_MIN_STALL_S = 0.2


def measure_velocity(
    pixels: npt.NDArray[Any], *, line_period_s: float, pixel_size_um: float
) -> pd.DataFrame:
    """Measure the displacement of the cells' pattern from line to line.

    Parameters
    ----------
    pixels : ndarray, shape (n_lines, n_pixels)
        The kymograph; it needs 48 lines or more.
    line_period_s, pixel_size_um : float
        Seconds per line and micrometers per pixel.

    Returns
    -------
    DataFrame
        ``time_s`` and ``velocity_mm_s``, one row for each window of 32 lines, every 8 lines;
        positive towards higher pixels.
    """
    import pandas as pd

    image = pixels.astype(np.float64)
    image -= image.mean(axis=0)
    n_pixels = image.shape[1]
    shifts = np.arange(-(n_pixels // 2), n_pixels // 2 + 1)
    scores = []
    for shift in shifts:
        here = image[:-1, max(0, -shift) : n_pixels - max(0, shift)]
        there = image[1:, max(0, shift) : n_pixels + min(0, shift)]
        total = np.concatenate([[0.0], np.cumsum((here * there).mean(axis=1))])
        starts = np.arange(0, len(total) - _WINDOW_LINES, _STRIDE_LINES)
        scores.append(total[starts + _WINDOW_LINES] - total[starts])
    table = np.array(scores)
    peak = np.clip(table.argmax(axis=0), 1, len(shifts) - 2)
    window = np.arange(len(starts))
    below, at, above = (table[peak + step, window] for step in (-1, 0, 1))
    # Find the vertex of the parabola through the best shift and its neighbors.
    shift_pixels = shifts[peak] + 0.5 * (below - above) / (below - 2 * at + above)
    return pd.DataFrame(
        {
            "time_s": (starts + _WINDOW_LINES / 2) * line_period_s,
            "velocity_mm_s": shift_pixels * pixel_size_um / line_period_s / 1000,
        }
    )


def find_stalls(velocity: pd.DataFrame) -> list[tuple[float, float]]:
    """Return start and end, in seconds, of the periods without motion."""
    speed = velocity["velocity_mm_s"].abs().rolling(5, center=True, min_periods=1).median()
    still = (speed < 0.25 * speed.median()).to_numpy()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(int)))
    time_s = velocity["time_s"].to_numpy()
    runs = [(float(time_s[a]), float(time_s[b - 1])) for a, b in edges.reshape(-1, 2)]
    return [(start, stop) for start, stop in runs if stop - start >= _MIN_STALL_S]


# Names of the demo's outputs, and of the suggested export.
_OWN_NAMES = {"experiment", "experiment.zarr", "exported"}


@click.command(short_help="Try it: a synthetic experiment, from TIFFs to a dataset.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("kymflow_zarr_demo"))
@click.option(
    "--keep/--remove",
    default=True,
    show_default=True,
    help="Leave the files for you to look at, or remove them at the end.",
)
@debug_option
def demo(folder: Path, keep: bool) -> None:
    """Make a synthetic experiment in FOLDER, ingest it, and show what came of it.

    FOLDER defaults to ./kymflow_zarr_demo; it must be empty or missing. The experiment is a typical
    lab folder: line scans of blood flow in six capillaries, as TIFFs, with instrument headers,
    metadata, regions and analysis beside them.

    \b
    Examples:
      kymflow-zarr demo
      kymflow-zarr demo ~/try --remove
    """
    import shutil

    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.exchange.ingest import print_ingested
    from kymflow_zarr.cli.look.images import list_images, print_images
    from kymflow_zarr.cli.output.terminal import print_title, progress_bar, screen
    from kymflow_zarr.testing import write_experiment

    was_there = folder.exists()
    _require_empty(folder)
    source, target = folder / "experiment", folder / "experiment.zarr"
    console = screen()
    print_title(console, "A synthetic experiment")
    tiffs = write_experiment(source)
    n_files = sum(path.is_file() for path in source.rglob("*"))
    console.print(f"{len(tiffs)} kymographs of blood flow, {n_files} files in {source}")

    with ZarrDataset(target, mode="a") as ds:
        print_title(console, f"Ingested into {target}")
        with progress_bar("Ingesting") as progress:
            report = ds.ingest_legacy_folder(source, progress=progress)
        print_ingested(console, report)

        print_title(console, "Its images")
        print_images(console, list_images(ds), ds.image_names())

        print_title(console, "Flow by condition, measured in the pixels, pooled in a table")
        _analyze(ds)
        _print_conditions(console, ds)

        print_title(console, "A stall: the cells, dark, come to a stop")
        shown = _print_stall(console, ds)
        if keep:
            print_title(console, "What next")
            _print_next(console, ds, shown)
    if not keep:
        shutil.rmtree(source)
        shutil.rmtree(target)
        if not was_there:
            folder.rmdir()
        console.print()
        console.print(f"Removed what was written to {folder}.")


def _require_empty(folder: Path) -> None:
    """Create the folder if missing; check that it is empty and writable."""
    import tempfile

    from kymflow_zarr.errors import StorageError, TargetExistsError

    other = "kymflow-zarr demo FOLDER takes another."
    try:
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if names or (folder.exists() and not folder.is_dir()):
            earlier = "experiment.zarr" in names and names <= _OWN_NAMES
            raise TargetExistsError(
                "the demo needs a folder that is empty or not there",
                where=str(folder),
                hint=f"It holds an earlier demo: remove it, or {other}" if earlier else other,
            )
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except TargetExistsError:
        raise
    except OSError as error:
        raise StorageError(
            f"the demo cannot write here: {error.strerror or error}", where=str(folder), hint=other
        ) from error


def _analyze(dataset: ZarrDataset) -> None:
    """Measure the velocity in each image; save it as an artifact, and its mean in a table."""
    import pandas as pd

    from kymflow_zarr.cli.exchange.demo import find_stalls, measure_velocity

    means, stalls = [], []
    for record in dataset.iter_records(order_by="acquired_local_epoch_ns"):
        lines, along = record.axes
        velocity = measure_velocity(
            record.load_array(), line_period_s=lines.step or 1.0, pixel_size_um=along.step or 1.0
        )
        record.save_df_parquet("velocity", velocity)
        experiment = record.load_metadata_payload()["experiment_metadata"]
        means.append(
            {
                "image_id": record.image_id,
                "condition": experiment["condition"],
                "mean_speed_mm_s": velocity["velocity_mm_s"].abs().mean(),
                "duration_s": record.shape[0] * (lines.step or 1.0),
            }
        )
        stalls += [
            {"image_id": record.image_id, "start_s": start_s, "stop_s": stop_s}
            for start_s, stop_s in find_stalls(velocity)
        ]
    dataset.save_table("flow", pd.DataFrame(means))
    dataset.save_table("stalls", pd.DataFrame(stalls))


def _print_conditions(console: Console, dataset: ZarrDataset) -> None:
    from kymflow_zarr.cli.output.terminal import add_column, new_table

    flow, stalls = dataset.load_table("flow"), dataset.load_table("stalls")
    table = new_table()
    add_column(table, "condition", keep=True)
    for title in ("images", "speed mm/s", "slowest", "fastest", "stalls", "time stalled"):
        add_column(table, title, justify="right", keep=True)
    for condition, images in flow.groupby("condition", sort=False):
        speed = images["mean_speed_mm_s"]
        here = stalls[stalls["image_id"].isin(images["image_id"])]
        stalled_s = (here["stop_s"] - here["start_s"]).sum()
        table.add_row(
            str(condition),
            str(len(images)),
            f"{speed.mean():.2f}",
            f"{speed.min():.2f}",
            f"{speed.max():.2f}",
            str(len(here)),
            f"{stalled_s / images['duration_s'].sum():.0%}",
        )
    console.print(table)


def _print_stall(console: Console, dataset: ZarrDataset) -> str:
    """Print a picture of the lines around the first stall; return the id of the image."""
    from kymflow_zarr.cli.output.picture import picture

    stall = dataset.load_table("stalls").iloc[0]
    record = dataset.record(str(stall["image_id"]))
    line_period_s = record.axes[0].step or 1.0
    columns = min(console.width, 100)
    first = max(0, round(float(stall["start_s"]) / line_period_s) - columns)
    # Read only these lines, whatever the size of the image.
    lines = record.load_array(slice(first, first + 2 * columns))
    console.print(picture(lines, columns=columns, color=console.color_system is not None))
    console.print(
        f"{first * line_period_s:.2f} s to {(first + len(lines)) * line_period_s:.2f} s, "
        f"from left to right; {record.shape[1]} pixels along the vessel, downwards",
        style="dim",
    )
    return record.image_id


def _print_next(console: Console, dataset: ZarrDataset, image_id: str) -> None:
    from kymflow_zarr.cli.output.terminal import command_line

    path = dataset.path
    console.print("In Python:")
    for line in (
        "from kymflow_zarr import ZarrDataset",
        f'ds = ZarrDataset({_quoted(path)}, mode="r")',
        f"rec = ds.record({_quoted(image_id)})",
        "pixels = rec.load_array()                   # uint16, lines by pixels",
        'velocity = rec.load_df_parquet("velocity")  # a pandas data frame',
        'stalls = ds.load_table("stalls")            # of all images',
    ):
        console.print(f"  {line}", style="cyan", soft_wrap=True)
    console.print("In the shell:")
    for command in (
        command_line("kymflow-zarr", "show", path, image_id[:8]),
        command_line("kymflow-zarr", "validate", path),
        command_line("kymflow-zarr", "export", path, path.parent / "exported"),
    ):
        console.print(f"  {command}", style="cyan", soft_wrap=True)


def _quoted(text: object) -> str:
    """Return a Python string literal in double quotes, like those in the printed code."""
    return json.dumps(str(text), ensure_ascii=False)
