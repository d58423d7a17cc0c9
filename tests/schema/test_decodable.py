"""Documents that several threads read at once, each for the first time in the process."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import kymflow_zarr

SOURCE = Path(kymflow_zarr.__file__).parent
# Types without a class of documents: values of the payload's fields, and numbers by name.
PLAIN = {"field.type", "dict[str, float]"}

THREADS = """
import sys, threading
from kymflow_zarr.schema.artifacts.lineage import read_lineage_document

sys.setswitchinterval(1e-6)
made_of = {"kind": "pixels", "key": "", "sha256": None}
result = {"name": "a", "status": "ok", "computed_utc": "2026-11-30T00:00:00Z", "inputs": [made_of]}
raw = {"format": "kymflow_zarr", "document": "lineage", "version": "1.0", "results": [result]}
together = threading.Barrier(8)
def read():
    together.wait()
    names.append(read_lineage_document(raw, where="x").results[0].name)
names = []
threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert names == ["a"] * 8
"""


def test_threads_that_read_a_first_document_at_once_do_not_end_the_process() -> None:
    for _ in range(6):
        done = subprocess.run(
            [sys.executable, "-c", THREADS], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_every_type_that_is_decoded_is_made_decodable_first() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            types = [keyword.value for keyword in node.keywords if keyword.arg == "type"]
            if called == "msgspec.convert":
                types += node.args[1:2]
            elif called == "msgspec.json.Decoder":
                types += node.args[:1]
            elif called != "msgspec.json.decode":
                continue
            wrong += [
                f"{path.relative_to(SOURCE)}:{node.lineno}: {ast.unparse(node)}"
                for cls in types
                if not ast.unparse(cls).startswith("decodable(")
                and ast.unparse(cls) not in PLAIN
                and path.name != "base.py"
            ]
    assert wrong == []
