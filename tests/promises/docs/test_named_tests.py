"""The pages that name a test for each promise name tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "docs" / name for name in ("security.md", "durability.md")]
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_test_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    names = set(re.findall(r"`(test_\w+)`", text))
    assert names
    assert {name for name in names if f"def {name}(" not in TESTS} == set()
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    assert {file for file in files if not (ROOT / file).is_file()} == set()


def test_each_thing_that_a_stranger_cannot_do_names_its_test() -> None:
    lines = PAGES[0].read_text().splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("|") and "---" not in line]
    promises = [row for row in rows if "Shown by" not in row[-1] and "**can**" not in row[0]]
    assert len(promises) > 25
    assert [what for what, *_, shown in promises if "`test" not in shown] == []
