"""The example notebook runs, and says what it says in the docs."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.docs.example_notebook import NOTEBOOK

MOST_BYTES = 600_000
missing = [
    name
    for name in ("nbclient", "ipykernel", "matplotlib", "duckdb", "xarray")
    if importlib.util.find_spec(name) is None
]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def said(cell: Any) -> list[str]:
    """Return what a cell says as text, without what differs between runs."""
    found = []
    for output in cell["outputs"]:
        text = "".join(output.get("text", output.get("data", {}).get("text/plain", "")))
        text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", text)
        text = re.sub(r"\d+ bytes", "<n> bytes", text)
        found.append(f"{output['output_type']}: {text.replace(chr(92) * 2, '/')}")
    return found


def kinds(cell: Any) -> list[list[str]]:
    return [sorted(output.get("data", {})) for output in cell["outputs"]]


@pytest.mark.skipif(missing != [], reason=f"not installed: {', '.join(missing)}")
def test_it_runs_and_says_what_is_in_the_docs(tmp_path: Path) -> None:
    target = tmp_path / "again.ipynb"
    # A process of its own, as Jupyter starts threads and loops that it does not end.
    run = subprocess.run(
        [sys.executable, "-m", "tests.helpers.docs.example_notebook", str(target)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=NOTEBOOK.parents[1],
    )
    assert run.returncode == 0, run.stderr
    kept, again = code_cells(read(NOTEBOOK)), code_cells(read(target))
    assert [said(cell) for cell in again] == [said(cell) for cell in kept]
    assert [kinds(cell) for cell in again] == [kinds(cell) for cell in kept]


def test_all_its_cells_have_run_in_order_without_an_error() -> None:
    cells = code_cells(read(NOTEBOOK))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {
        "stream", "execute_result", "display_data"
    }  # fmt: skip
    # Warnings go there.
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert shown == {"text/plain", "text/html", "image/png"}


def test_it_is_small_and_names_nothing_of_the_machine_it_ran_on() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < MOST_BYTES
    pages = re.sub(r'"image/png": "[^"]*"|base64,[\w+/=]*', "", text)
    absolute = r"(?<![\w.<])/(?:home|tmp|root|work|Users|var|private)\b|[A-Z]:\\\\"
    assert re.findall(absolute, pages) == []


def test_its_links_lead_somewhere() -> None:
    for cell in read(NOTEBOOK)["cells"]:
        if cell["cell_type"] == "markdown":
            for target in re.findall(r"\]\(([^)#\s]+)", "".join(cell["source"])):
                assert (NOTEBOOK.parent / target).exists(), target
