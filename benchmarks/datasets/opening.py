"""A fresh process: importing, opening a dataset and reading one image, against NumPy's import."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.datasets.lists import make_dataset
from benchmarks.measure import Row, interleaved

# As installing leaves it: compiled, wherever the package is and whatever the shell says.
COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

READ = """
from kymflow_zarr import ZarrDataset
ds = ZarrDataset({path!r}, mode="r")
ds[ds.list_image_ids()[0]].load_array()
"""


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    count = 500 if quick else 10_000
    make_dataset(folder / "many.zarr", count)
    programs = {
        "numpy": "import numpy",
        "import": "import kymflow_zarr",
        "read": READ.format(path=str(folder / "many.zarr")),
    }
    environment = {**COMPILED, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    for code in programs.values():
        run_python(code, environment)  # What is not compiled yet is compiled once.
    times = interleaved(
        {
            name: lambda _, code=code: run_python(code, environment)
            for name, code in programs.items()
        },
        repeat=5 if quick else 15,
    )
    yield Row(
        "import kymflow_zarr", "import numpy", times["import"], times["numpy"], 1, at_most=True
    )
    name = f"open {count} images and read one"
    yield Row(name, "import numpy", times["read"], times["numpy"], 2.2, at_most=True)


def run_python(code: str, environment: dict[str, str]) -> None:
    """Run code in a new process."""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
