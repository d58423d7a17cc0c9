"""The benchmarks say truly whether a goal is met."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    yield importlib.import_module("benchmarks.measure")
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("ours", "theirs", "goal", "at_most", "met"),
    [
        (3.0, 1.0, 4.0, True, True),
        (5.0, 1.0, 4.0, True, False),
        (1.0, 4.0, 4.0, False, True),
        (1.0, 3.0, 4.0, False, False),
    ],
)
def test_a_row_tells_whether_its_goal_is_met(
    measure: Any, ours: float, theirs: float, goal: float, at_most: bool, met: bool
) -> None:
    row = measure.Row("add", "the floor", ours, theirs, goal, at_most)
    assert row.met is met
    assert str(row).startswith("ok" if met else "MISS")


def test_ways_take_turns_and_are_called_as_often_as_asked(measure: Any) -> None:
    calls: list[str] = []
    times = measure.interleaved(
        {"a": lambda n: calls.append(f"a{n}"), "b": lambda n: calls.append(f"b{n}")}, repeat=2
    )
    assert calls == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert set(times) == {"a", "b"}


def test_the_chart_has_a_bar_for_each_row(measure: Any, tmp_path: Path) -> None:
    rows = [measure.Row(f"<{i}>", "floor", 1.0, 1.0, 2.0, True) for i in range(3)]
    measure.write_chart(tmp_path / "chart.svg", rows)
    chart = ET.parse(tmp_path / "chart.svg")
    assert len(chart.findall(".//{*}rect")) == 3
