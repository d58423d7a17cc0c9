"""Who imports whom in the package: read from the sources, type annotations told apart.

``python -m tests.helpers.docs.imports`` draws the rooms into ``CONTRIBUTING.md``.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import kymflow_zarr

PACKAGE = Path(kymflow_zarr.__file__).parent
CONTRIBUTING = Path(__file__).parents[3] / "CONTRIBUTING.md"
BEGIN, END = "<!-- rooms: begin -->\n", "<!-- rooms: end -->\n"

# A room imports only rooms of the rows below its own; rooms of one row never each other.
ROWS = (
    ("cli", "viewer"),
    ("testing",),
    ("api",),
    ("check",),
    ("export",),
    ("legacy_v1",),
    ("ingest",),
    ("adapters", "views"),
    ("engine",),
    ("formats",),
    ("storage",),
    ("runtime",),
    ("schema",),
    ("layout",),
    ("errors", "types", "_version"),
)
LEVEL = {room: len(ROWS) - i for i, row in enumerate(ROWS) for room in row}
# The package itself and its `python -m` are no rooms: they may import any.
OUTSIDE = {"kymflow_zarr", "kymflow_zarr.__main__"}


@dataclass(frozen=True)
class Import:
    """One module of the package imports another.

    Attributes
    ----------
    importer, imported : str
        Dotted names.
    typing_only : bool
        Whether only type annotations need it.
    """

    importer: str
    imported: str
    typing_only: bool


def modules() -> dict[str, Path]:
    """Return the file of each module of the package, by dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str) -> str:
    """Return the room of a dotted name, "" for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@cache
def imports() -> list[Import]:
    """Return all imports among modules of the package, late ones and `import_module` too."""
    known = modules()
    return [
        Import(module, imported, typing_only)
        for module, path in known.items()
        for imported, typing_only in _imported(path, known)
        if imported != module
    ]


def _imported(path: Path, known: dict[str, Path]) -> Iterator[tuple[str, bool]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and _is_type_checking(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [
                name if (name := f"{node.module}.{alias.name}") in known else node.module
                for alias in node.names
            ]
        elif isinstance(node, ast.Call) and _name(node.func) == "import_module":
            names = [
                value.value
                for value in ast.walk(node)
                if isinstance(value, ast.Constant) and isinstance(value.value, str)
            ]
        for name in names:
            if name.split(".")[0] == "kymflow_zarr" and path != PACKAGE / "__init__.py":
                assert name in known, f"{path.name} imports {name}, which is not there"
                yield name, id(node) in typing_only


def _is_type_checking(test: ast.expr) -> bool:
    return _name(test) == "TYPE_CHECKING"


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def circle() -> list[str]:
    """Return modules that import one another in a circle, however late; none if there is none."""
    graph: dict[str, set[str]] = defaultdict(set)
    for item in imports():
        if not item.typing_only:
            graph[item.importer].add(item.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def drawing() -> str:
    """Return the picture of the rooms, in the form of Mermaid, for a page in Markdown."""
    edges = sorted(
        {
            (room_of(item.importer), room_of(item.imported))
            for item in imports()
            if not item.typing_only
            and room_of(item.importer) in LEVEL
            and room_of(item.imported) in LEVEL
            and LEVEL[room_of(item.importer)] > LEVEL[room_of(item.imported)]
        }
    )
    # Every room may use these, so that arrows to them tell nothing.
    common = {"errors", "types", "_version", "layout"}
    # An arrow that a path of other arrows stands for is left out.
    shown = [(a, b) for a, b in edges if b not in common]
    direct = [
        (a, b)
        for a, b in shown
        if not any(_leads((c, b), shown) for x, c in shown if x == a and c != b)
    ]
    lines = ["```mermaid", "graph TD", *(f"    {a} --> {b}" for a, b in direct), "```", ""]
    return "\n".join(lines)


def _leads(way: tuple[str, str], edges: list[tuple[str, str]]) -> bool:
    start, end = way
    return any(a == start and (b == end or _leads((b, end), edges)) for a, b in edges)


def main() -> None:
    """Write the picture into the page."""
    page = CONTRIBUTING.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    CONTRIBUTING.write_text(f"{before}{BEGIN}{drawing()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
