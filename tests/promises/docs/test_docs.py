"""The pages run: their Python, their shell lines, their SQL, their links and their examples."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest

import kymflow_zarr
from kymflow_zarr import errors

ROOT = Path(__file__).parents[3]
SOURCE = Path(kymflow_zarr.__file__).parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
# tests/promises/docs/test_workflows.py runs that one, with its absolute paths put elsewhere.
RUN_HERE = [page for page in PAGES if page.name != "workflows.md"]
CI = ROOT / ".ci"
# What differs from one run to the next, or from one machine to another.
VOLATILE = {
    "computed_utc",
    "machine",
    "changed_ns",
    "created_by",
    "created_utc",
    "dataset_id",
    "edit_id",
    "exported_utc",
    "ingested_by",
    "made_from",
    "mtime_ns",
    "sha256",
    "size_bytes",
    "source_mtime_ns",
    "source_sha256",
    "source_size_bytes",
    "stored_bytes",
    "updated_utc",
    "when_utc",
}
needs_duckdb = pytest.mark.skipif(
    importlib.util.find_spec("duckdb") is None, reason="the package duckdb is not installed"
)


@dataclass
class Block:
    """A fenced block of a page: its language, its text, the prose before it, its first line."""

    language: str
    text: str
    before: str
    line: int


@functools.cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks_of(page: Path) -> list[Block]:
    text = text_of(page)
    fences = re.finditer(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    found, end = [], 0
    for fence in fences:
        line = text.count("\n", 0, fence.start()) + 2
        found.append(Block(fence[1], fence[2], text[end : fence.start()].strip(), line))
        end = fence.end()
    return found


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def run_page(page: Path, *, sql: bool = False) -> None:
    """Run the blocks of a page in order in the current folder, and compare what they print."""
    variables: dict[str, Any] = {"__name__": "__main__"}
    said: str | None = None
    for block in blocks_of(page):
        where = f"{page_id(page)}:{block.line}"
        if block.language == "text":
            # A text block right after a block that ran is what that one says.
            if said is not None and not block.before:
                expect(block.text, said, where)
            said = None
        elif block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
            output = io.StringIO()
            said = None
            with contextlib.redirect_stdout(output):
                try:
                    exec(code, variables)
                except errors.KymflowZarrError as error:
                    said = f"{type(error).__name__}: {error}"
                    assert expects_error(page, block), f"{where}: {said}"
                else:
                    assert not expects_error(page, block), f"{where}: no error was raised"
            said = output.getvalue() if said is None else said
        elif block.language == "sh":
            said = "".join(run_shell(line, where) for line in block.text.splitlines())
        elif block.language == "sql":
            said = run_sql(block.text) if sql else None
        else:
            said = None


def expects_error(page: Path, block: Block) -> bool:
    following = blocks_of(page)
    position = next(i for i, other in enumerate(following) if other.line == block.line) + 1
    if position == len(following):
        return False
    after = following[position]
    return (
        after.language == "text"
        and not after.before
        and re.match(r"\w+Error: ", after.text) is not None
    )


def expect(wanted: str, said: str, where: str) -> None:
    """Compare line by line; an ellipsis in a page stands for anything."""
    lines = [line.rstrip() for line in said.strip("\n").splitlines()]
    patterns = [line.rstrip() for line in wanted.strip("\n").splitlines()]
    assert len(lines) == len(patterns), f"{where}: it says\n{said}"
    for line, pattern in zip(lines, patterns, strict=True):
        expression = ".*".join(map(re.escape, pattern.split("…")))
        assert re.fullmatch(expression, line), f"{where}: it says {line!r}, not {pattern!r}"


def run_shell(line: str, where: str) -> str:
    """Run what a line says to our program; other commands are left to their reader."""
    ours = re.search(r"(?:^|\.venv/bin/)kymflow-zarr (.*)", line)
    if ours is None:
        return ""
    command = [sys.executable, "-m", "kymflow_zarr", *shlex.split(ours[1], comments=True)]
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert run.returncode == 0, f"{where}: {line}\n{run.stdout}{run.stderr}"
    return run.stdout


def run_sql(query: str) -> str:
    import duckdb

    return str(duckdb.sql(query))


@pytest.fixture(autouse=True)
def _utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.setenv("COLUMNS", "150")


@pytest.mark.parametrize("page", RUN_HERE, ids=page_id)
def test_what_a_page_shows_runs_and_says_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page)


@needs_duckdb
def test_the_queries_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert any(block.language == "sql" for block in blocks_of(ROOT / "README.md"))
    run_page(ROOT / "README.md", sql=True)


# The format --------------------------------------------------------------------------------


def test_the_examples_of_the_format_are_what_the_code_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "format.md"
    monkeypatch.chdir(tmp_path)
    run_page(page)
    examples = [block for block in blocks_of(page) if block.language == "json"]
    assert len(examples) >= 8
    for block in examples:
        keys = re.findall(r"`([^`\s]+\.json)`", block.before)
        assert keys, f"{page_id(page)}:{block.line}: the prose before names no document"
        written = json.loads((tmp_path / "example.zarr" / keys[-1]).read_text(encoding="utf-8"))
        assert steady(json.loads(block.text)) == steady(written), keys[-1]


def steady(value: Any) -> Any:
    """Return a document without what differs between runs; of absolute paths the last part."""
    if isinstance(value, dict):
        return {
            key: "volatile" if key in VOLATILE and item is not None else steady(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [steady(item) for item in value]
    if isinstance(value, str):
        if re.fullmatch("[0-9a-f]{64}", value):
            return "digest"
        for flavor in (PurePosixPath, PureWindowsPath):
            if flavor(value).is_absolute():
                return flavor(value).name
    return value


def rules_in_code() -> Iterator[tuple[str, str]]:
    """Yield each rule of the format that a comment quotes, and where."""
    for path in sorted(SOURCE.rglob("*.py")):
        text = re.sub(r"\n\s*#? ?", " ", path.read_text(encoding="utf-8"))
        for quote in re.findall(r'On-disk format: "([^"]+)"', text):
            yield path.relative_to(SOURCE).as_posix(), " ".join(quote.split())


def test_every_rule_that_the_code_quotes_is_in_the_format() -> None:
    page = text_of(ROOT / "docs" / "format.md")
    plain = " ".join(page.replace("`", "").replace("**", "").split())
    missing = [(where, rule) for where, rule in rules_in_code() if rule.rstrip(".") not in plain]
    assert missing == []


def test_the_errors_page_lists_every_error() -> None:
    page = text_of(ROOT / "docs" / "errors.md")
    headings = re.findall(r"^### (\w+)$", page, flags=re.MULTILINE)
    assert sorted(headings) == sorted(errors.__all__)
    for name in errors.__all__:
        section = page.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        for base in getattr(errors, name).__mro__:
            if base.__module__ == "builtins" and base.__bases__ not in ((), (object,)):
                if base in (Exception, OSError, LookupError):
                    continue
                assert f"`{base.__name__}`" in section, f"{name}: {base.__name__} is not named"


def test_the_table_of_codes_is_that_of_the_checks() -> None:
    from kymflow_zarr.check.validate.findings import SEVERITIES

    page = text_of(ROOT / "docs" / "errors.md")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (error|warning) \|", page, flags=re.MULTILINE)
    assert dict(rows) == SEVERITIES


# Links and commands ------------------------------------------------------------------------


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{page_id(page)} links to {target}"
        if anchor:
            assert anchor in anchors_of(other), f"{page_id(page)} links to {target}"


def test_the_index_links_to_every_page() -> None:
    index = text_of(ROOT / "docs" / "index.md")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "index.md" or f"]({name})" in index


def test_the_commands_of_the_readme_are_there_and_the_ones_that_ci_runs() -> None:
    commands = {
        name: block.text.splitlines()
        for block in blocks_of(ROOT / "README.md")
        for name in re.findall(r"<!-- (\w+)-command -->$", block.before)
    }
    assert sorted(commands) == ["main", "test"]
    # One line each, on any machine that has Python.
    assert all(len(lines) == 1 and lines[0].startswith("python3 ") for lines in commands.values())
    assert commands["main"][0].endswith(".venv/bin/kymflow-zarr demo")
    if CI.is_dir():  # A source archive has none.
        assert "<!-- test-command -->" in text_of(CI / "run")
        assert (ROOT / "requirements-dev.lock").is_file()
        assert "-r requirements-dev.lock" in commands["test"][0]
