"""The benchmarks run, say truly whether a goal is met, and the page shows what they found."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[3]
Load = Callable[[str], Any]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import a module of the benchmarks, which are no part of what is installed."""
    monkeypatch.syspath_prepend(ROOT)
    yield lambda name: importlib.import_module(f"benchmarks.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


# Rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "goal", "at_most", "met"),
    [
        (3.0, 1.0, 4.0, True, True),
        (5.0, 1.0, 4.0, True, False),
        (1.0, 4.0, 4.0, False, True),
        (1.0, 3.0, 4.0, False, False),
        (9.0, 1.0, None, True, None),
    ],
)
def test_a_row_says_whether_its_goal_is_met(
    load: Load, ours: float, theirs: float, goal: float | None, at_most: bool, met: bool | None
) -> None:
    row = load("measure").Row("add", "the floor", ours, theirs, goal, at_most)
    assert row.met is met
    assert str(row).split()[0] == {True: "ok", False: "MISS", None: "add"}[met]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00999999, "s", "10.0 ms"),
        (0.0009999, "s", "1.00 ms"),
        (2.5e-7, "s", "0.250 us"),
        (75.0, "s", "75.0 s"),
        (600e6, "B", "600 MB"),
        (40.0, "B", "40.0 B"),
        (12_345.0, "files", "12,345 files"),
    ],
)
def test_a_figure_is_shown_in_a_unit_of_its_size(
    load: Load, value: float, unit: str, text: str
) -> None:
    assert load("measure").shown(value, unit) == text


def test_ways_take_turns_and_are_called_as_often_as_asked(load: Load) -> None:
    calls: list[str] = []
    times = load("measure").interleaved(
        {"a": lambda n: calls.append(f"a{n}"), "b": lambda n: calls.append(f"b{n}")}, repeat=2
    )
    assert calls == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert set(times) == {"a", "b"}


# The command -------------------------------------------------------------------------------


@pytest.fixture
def command(load: Load, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command on a section of a row that is met, one that is missed, and others."""
    measure, main = load("measure"), load("__main__")
    rows = {
        "pixels": [
            measure.Row("quick enough", "<floor>", 1.0, 1.0, 2.0),
            measure.Row("too slow", "floor", 5.0, 1.0, 2.0),
            measure.Row("compared", "a | peer", 1.0, 2.0, at_most=False),
            measure.Skipped("not here", "the peer is not installed"),
        ],
        "growth": [measure.Row("save at 100", "at 10", 2.0, 1.0, points=((10, 1.0), (100, 2.0)))],
    }
    for name, found in rows.items():
        section = ModuleType(f"benchmarks.{main.SECTIONS[name]}.{name}", "An example.")
        section.run = lambda folder, quick, found=found: iter(found)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, section.__name__, section)
    return lambda *arguments: main.main([*rows, *map(str, arguments)])


def test_the_command_counts_goals_and_fails_on_a_miss_only_if_asked(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command() == 0
    printed = capsys.readouterr().out
    assert "1 of 2 goals met, 2 rows without a goal, 1 skipped" in printed
    assert printed.splitlines()[-1].startswith("MISS  too slow")
    assert command("--check") == 1


def test_the_figures_come_back_from_json_as_they_were(
    command: Callable[..., int], load: Load, tmp_path: Path
) -> None:
    command("--json", tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    rows = [row for _, row in load("page").found_in(figures)]
    assert [row.name for row in rows] == [
        "quick enough", "too slow", "compared", "not here", "save at 100",
    ]  # fmt: skip
    assert [row.met for row in rows[:3]] == [True, False, None]
    assert rows[4].points == ((10, 1.0), (100, 2.0))
    assert set(figures["machine"]) >= {"cores", "system", "Python", "numpy", "zarr"}


def test_the_charts_show_each_goal_and_each_curve(
    command: Callable[..., int], load: Load, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    command("--svg", tmp_path / "chart.svg")
    charts = load("charts")
    ratios = (tmp_path / "chart.svg").read_text(encoding="utf-8")
    said = {text.strip() for text in ET.fromstring(ratios).itertext()}
    assert {"quick enough : <floor>", "too slow : floor", "1.00 x the cost"} <= said
    assert "compared" not in "".join(said)
    assert charts.MET in ratios
    assert charts.MISSED in ratios
    growth = ET.parse(tmp_path / "chart-growth.svg")
    assert {"save", "2.00 s"} <= {text.strip() for text in growth.getroot().itertext()}


def test_a_page_is_filled_between_its_marks_only(
    command: Callable[..., int], load: Load, tmp_path: Path
) -> None:
    command("--json", tmp_path / "figures.json")
    figures = [json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))]
    text = (
        "# Title\n<!-- figures -->\nold\n<!-- end -->\nprose\n<!-- growth -->\n<!-- end -->\nend\n"
    )
    filled = load("page").filled(text, figures)
    assert "old" not in filled
    assert "1 of 2 goals are met." in filled
    lines = filled.splitlines()
    assert (
        "| too slow | 5.00 s | floor | 1.00 s | 5.00 x the cost | at most 2 | **missed** |" in lines
    )
    assert "| compared | 1.00 s | a / peer | 2.00 s | 2.00 x as fast |  |  |" in lines
    assert "| save | 1.00 s | 2.00 s |" in lines
    assert "prose" in lines
    assert load("page").filled(filled, figures) == filled


# The page of the docs ----------------------------------------------------------------------


def test_the_page_shows_the_figures_of_the_json_files(load: Load) -> None:
    page = load("page")
    figures = page.kept()
    assert figures
    assert not any(file["quick"] for file in figures)
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.filled(text, figures), "python -m benchmarks --docs"
    sections = {name for file in figures for name, _ in page.found_in(file)}
    assert sections <= set(load("__main__").SECTIONS)


def test_the_page_explains_each_goal_that_is_not_met(load: Load) -> None:
    page = load("page")
    text = page.PAGE.read_text(encoding="utf-8").partition("## Where a goal is not met")[2]
    rows = [row for file in page.kept() for _, row in page.found_in(file)]
    missed = [row.name for row in rows if getattr(row, "met", None) is False]
    assert [name for name in missed if f"**{name}**" not in text] == []


def test_the_page_says_what_each_section_measures(load: Load) -> None:
    text = load("page").PAGE.read_text(encoding="utf-8")
    named = [name for name in load("__main__").SECTIONS if name != "growth"]
    assert [name for name in named if f"**{name}.**" not in text] == []
    assert "## Growth" in text


# The sections ------------------------------------------------------------------------------


@pytest.fixture
def tiny(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time everything once only, on fewer images: whether it runs is what matters here."""
    measure, lists = load("measure"), load("datasets.lists")
    timed, make_dataset = measure.interleaved, lists.make_dataset

    def once(ways: dict[str, Callable[[int], object]], **how: Any) -> dict[str, float]:
        calls = {name: lambda _, call=call: call(1) for name, call in ways.items()}
        found: dict[str, float] = timed(calls, **(how | {"repeat": 1, "warm": 0}))
        return found

    monkeypatch.setattr(measure, "interleaved", once)
    monkeypatch.setattr(lists, "interleaved", once)
    monkeypatch.setattr(lists, "make_dataset", lambda path, n: make_dataset(path, n // 100))
    tables, records = load("datasets.tables"), load("images.records")
    for name in ("_joined", "_gathered"):
        part = getattr(tables, name)
        monkeypatch.setattr(tables, name, lambda where, _, n, part=part: part(where, 20, n))
    whole = tables._whole
    monkeypatch.setattr(tables, "_whole", lambda ds, folder, _, n: whole(ds, folder, 20, n))
    grow = records.grow
    monkeypatch.setattr(records, "grow", lambda folder, n, step: grow(folder, n // 50, step // 50))
    monkeypatch.setattr(load("images.memory"), "QUICK", (20, 2, 2))
    lab_folder = load("images.lab_folder")
    monkeypatch.setattr(lab_folder, "REAL", lab_folder.REAL / "not here")
    monkeypatch.setattr(lab_folder, "QUICK", lab_folder.Sizes(1, 1, 2, 5, 5, 5, 40, 100, 1))
    monkeypatch.setattr(lab_folder, "interleaved", once)
    monkeypatch.setattr(lab_folder, "_RESTS_S", 0)


SECTIONS = [
    "pixels", "codecs", "ingest", "memory", "records", "lists", "opening", "tables", "durability",
    "lab_folder", "results",
]  # fmt: skip


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_runs(load: Load, tmp_path: Path, name: str) -> None:
    rows = list(load("__main__").section(name, tmp_path, quick=True))
    assert rows
    kinds = load("measure")
    for row in rows:
        assert isinstance(row, kinds.Row | kinds.Skipped)
        if isinstance(row, kinds.Row):
            assert 0 < row.ratio < math.inf, row
    assert len({(row.name, getattr(row, "against", "")) for row in rows}) == len(rows)


def test_every_section_is_tried_here(load: Load) -> None:
    # Those of browser, bucket and cluster take a minute; page and storage have tests of their own.
    untried = {"peers", "growth", "viewer", "remote", "clusters"}
    assert {*SECTIONS, *untried} == set(load("__main__").SECTIONS)


def test_growth_has_a_curve_for_each_call(load: Load, tmp_path: Path) -> None:
    growth = load("datasets.growth")
    growth.time = SimpleNamespace(sleep=lambda seconds: None)
    rows = [
        *growth.grow(tmp_path, (3, 6), repeat=1),
        growth.refresh(tmp_path, (2, 4), repeat=1),
    ]
    assert [[size for size, _ in row.points] for row in rows] == [[3, 6]] * 11 + [[2, 4]]
    assert all(seconds > 0 for row in rows for _, seconds in row.points)
    assert len({row.name for row in rows}) == len(rows)


def test_peers_keep_the_same_experiment(load: Load, tmp_path: Path) -> None:
    peers = load("datasets.peers")
    images = list(peers._images(2))
    rows = list(peers._experiment(tmp_path, images, repeat=1))
    assert {row.against for row in rows} == {peers.TIFF, peers.ZARR}
    mine, tiffs, plain = (
        peers._list_ours(tmp_path / "ours-1"),
        peers._list_tiffs(tmp_path / "tiff-1"),
        peers._list_zarr(tmp_path / "zarr-1"),
    )
    for column in ("image_id", "shape", "condition", "depth_um", "day"):
        assert mine[column].tolist() == tiffs[column].tolist() == plain[column].tolist()
    gathered = peers._gather_ours(tmp_path / "ours-1")
    assert gathered["time_s"].tolist() == peers._gather_csv(tmp_path / "tiff-1")["time_s"].tolist()


def test_a_peer_that_is_not_installed_is_skipped(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = load("datasets.peers")
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    (row,) = peers._observations(tmp_path, 100, repeat=1)
    assert "anndata is not installed" in str(row)
    assert str(row).startswith("skip")
