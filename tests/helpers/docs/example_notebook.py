"""Runs the example notebook and writes what its cells say into it.

``python -m tests.helpers.docs.example_notebook`` updates ``docs/example.ipynb`` after a change of
its cells or of the code; with the name of a file it writes there.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parents[3] / "docs" / "example.ipynb"


def run(target: Path) -> None:
    """Run the notebook in an empty folder, and write it with its outputs to `target`."""
    import nbformat
    from nbclient import NotebookClient

    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as name:
        # As the kernel sees it: a temporary folder may lie behind a link.
        folder = Path(name).resolve()
        work = folder / "work"
        work.mkdir()
        # What Jupyter leaves behind goes there too.
        os.environ |= {
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "COLUMNS": "120",
        }
        NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": str(work)}},
            record_timing=False,
        ).execute()
        for cell in notebook.cells:
            outputs = [without(str(work), out) for out in cell.get("outputs", ())]
            cell["outputs"] = joined(outputs)
            if cell["cell_type"] != "code":
                del cell["outputs"]
    # The version of Python at hand is no business of the notebook.
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, target)


def joined(outputs: list[Any]) -> list[Any]:
    """Return outputs with what is printed in one: a slow kernel sends it in several pieces."""
    found: list[Any] = []
    for output in outputs:
        last = found[-1] if found else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            found.append(output)
    return found


def without(folder: str, value: Any) -> Any:
    """Return an output with its paths as the cells give them: relative to the folder."""
    if isinstance(value, dict):
        return type(value)({key: without(folder, item) for key, item in value.items()})
    if isinstance(value, list):
        return [without(folder, item) for item in value]
    if isinstance(value, str):
        return value.replace(folder + os.sep, "").replace(folder, ".")
    return value


if __name__ == "__main__":
    run(Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK)
