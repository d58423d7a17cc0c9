"""Damaged bytes in every reader: an error of the package's tree, or a value, never anything else.

A longer run: ``KYMFLOW_ZARR_FUZZ_EXAMPLES=100000 pytest tests/promises/hostile/test_fuzz.py``.
What a run finds is saved below the folder in ``KYMFLOW_ZARR_FUZZ_FOUND``; a file moved from
there to
``tests/corpus/<reader>/`` is read by each run from then on.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promises.hostile.fuzz_readers import READERS, check, damaged, seeds_are_read

EXAMPLES = int(os.environ.get("KYMFLOW_ZARR_FUZZ_EXAMPLES", "0"))
ROOT = Path(__file__).parents[3]
CORPUS = ROOT / "tests" / "corpus"
# Those with native decoders behind them, which could take the process along.
NATIVE = ["tiff", "parquet", "csv_gz", "csv_gz_text", "json", "npy", "chunk"]
# Blosc as zarr-python decodes it: only where a crash is seen as one.
ZARR = ["v1_blosc_chunk", "foreign_chunk"]
# Each reads a whole dataset, or ingests a folder.
SLOW = [name for name in READERS if name not in {*NATIVE, *ZARR, "instrument_header", "csv"}]
needs_limits = pytest.mark.skipif(
    importlib.util.find_spec("resource") is None,
    reason="this system has no module resource, by which a process bounds its memory",
)


def cases() -> list[Path]:
    return sorted(path for path in CORPUS.rglob("*.bin"))


@pytest.mark.parametrize("name", READERS)
def test_valid_bytes_are_read(name: str) -> None:
    assert seeds_are_read(name)


@pytest.mark.parametrize("path", cases(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_was_found_before_is_refused(path: Path) -> None:
    name = path.parent.name
    # Of a dataset, what is not damaged is read all the same.
    assert check(name, path.read_bytes()) is (name in SLOW)


@pytest.mark.parametrize("name", [*NATIVE, "instrument_header", "csv"])
@settings(max_examples=max(60, EXAMPLES))
@given(seed=st.integers(0, 2**32))
def test_damaged_bytes_are_an_error_of_ours(name: str, seed: int) -> None:
    rng = random.Random(seed)
    seeds = READERS[name].seeds()
    check(name, damaged(rng.choice(seeds), seeds, rng))


@pytest.mark.parametrize("name", SLOW)
@settings(max_examples=max(6, EXAMPLES // 100))
@given(seed=st.integers(0, 2**32))
def test_a_dataset_or_folder_with_a_damaged_file(name: str, seed: int) -> None:
    rng = random.Random(seed)
    seeds = READERS[name].seeds()
    check(name, damaged(rng.choice(seeds), seeds, rng))


@needs_limits
@pytest.mark.parametrize("name", [*NATIVE, *ZARR])
def test_no_input_ends_the_process_hangs_or_takes_the_memory(name: str, tmp_path: Path) -> None:
    found = Path(os.environ.get("KYMFLOW_ZARR_FUZZ_FOUND", tmp_path)) / name
    # Always the same inputs in a short run, so that it fails for a change and not by chance.
    seed = random.randrange(2**32) if EXAMPLES else 1
    arguments = [name, str(seed), str(max(300, EXAMPLES)), str(found)]
    run = subprocess.run(
        [sys.executable, "-m", "tests.promises.hostile.fuzz_worker", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, f"the input is in {found / 'current'}:\n{run.stderr}"
    said = json.loads(run.stdout)
    reasons = [path.read_text() for path in found.glob("*.txt")]
    assert said["found"] == 0, f"the inputs are in {found}:\n" + "\n".join(reasons)
    assert said["read"] < said["inputs"]
