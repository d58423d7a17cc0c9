"""Everybody can use the page: axe finds nothing on any view, keys reach all, colors differ."""

from __future__ import annotations

from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from tests.viewer.web.browser import Visits, drawn, loaded, settle

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from kymflow_zarr.viewer.web.serving import Viewer

axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PHONE = {"width": 390, "height": 800}


def faults(page: Page) -> list[str]:
    """Return what axe finds against WCAG 2.2, levels A and AA, on a page as it is."""
    settle(page)
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found: dict[str, Any] = page.evaluate(
        "(tags) => axe.run(document, {runOnly: tags, resultTypes: ['violations']})", RULES
    )
    return [
        f"{fault['id']}: {node['html'][:160]} | {node['failureSummary']}"
        for fault in found["violations"]
        for node in fault["nodes"]
    ]


def shows(page: Page, path: str) -> None:
    if path.startswith("/image/flow"):
        loaded(page)
    elif path.startswith("/image"):
        drawn(page)
    elif path.startswith("/compare"):
        page.locator("[data-testid=image-canvas][data-drawn=true]").nth(1).wait_for()
        page.locator(".chart-head .legend").first.wait_for()
    elif path == "/about":
        page.get_by_test_id("version").wait_for()
    else:
        page.locator("[data-testid$=card], [data-testid$=-row]").first.wait_for()


@pytest.mark.parametrize(
    ("path", "theme"),
    [
        ("/", "light"), ("/", "dark"), ("/?as=list", "light"), ("/image/flow-1?event=1", "light"),
        ("/image/flow-1?event=1", "dark"), ("/image/stack", "light"), ("/tables/a%2Fflow", "dark"),
        ("/about", "light"), ("/compare?a=flow-1&b=stack", "light"), ("/sheet", "dark"),
    ],
)  # fmt: skip
def test_axe_finds_no_fault(editing: Viewer, visits: Visits, path: str, theme: str) -> None:
    page = visits.open(editing, path, color_scheme=theme)
    shows(page, path)
    if theme == "light":
        assert faults(page) == []
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert faults(page) == []


def test_axe_finds_no_fault_in_help_forms_and_messages(
    editing: Viewer, visits: Visits, mine: ZarrDataset
) -> None:
    visits.expected = ["409"]
    page = visits.open(editing, "/")
    page.get_by_test_id("choose").first.click()
    page.get_by_test_id("filter-add").click()
    assert faults(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.get_by_test_id("help").wait_for()
    assert faults(page) == []
    page = visits.open(editing, "/image/stack", without="/api/(changes|live)")
    drawn(page)
    page.keyboard.press("d")
    page.keyboard.press("Enter")
    page.get_by_test_id("roi-form").wait_for()
    assert faults(page) == []
    page.keyboard.press("Escape")
    with mine["stack"].edit(who="bob") as edit:
        edit.set_verdict("accepted")
    page.get_by_test_id("verdict-reject").click()
    page.get_by_test_id("conflict").wait_for()
    assert faults(page) == []


@pytest.mark.parametrize("path", ["/", "/image/flow-1", "/tables/a%2Fflow"])
def test_the_tab_key_reaches_every_control_and_shows_where_it_is(
    shown: Viewer, visits: Visits, path: str
) -> None:
    page = visits.open(shown, path)
    shows(page, path)
    count = page.evaluate(
        """() => {
          const all = [...document.querySelectorAll('a, button, input, select, textarea, summary')];
          const open = all.filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0
            && !(e.type === 'radio' && !e.checked));
          for (const e of open) e.dataset.toReach = '';
          return open.length;
        }"""
    )
    hidden = []
    for _ in range(3 * count):
        page.keyboard.press("Tab")
        state = page.evaluate(
            """() => {
              const e = document.activeElement;
              const had = e.dataset.toReach !== undefined;
              delete e.dataset.toReach;
              const lit = (e) => getComputedStyle(e).outlineStyle !== 'none';
              const seen = lit(e) || lit(e.parentElement);
              return [had && !seen ? e.outerHTML.slice(0, 120) : null,
                      document.querySelectorAll('[data-to-reach]').length];
            }"""
        )
        hidden += [state[0]] if state[0] else []
        if state[1] == 0:
            break
    left = page.evaluate(
        "() => [...document.querySelectorAll('[data-to-reach]')].map((e) => e.outerHTML)"
    )
    assert (left, hidden) == ([], [])


# Machado, Oliveira and Fernandes, A physiologically-based model for simulation of color vision
# deficiency, IEEE Transactions on Visualization and Computer Graphics 15 (2009) 1291-1298,
# table 1, severity 1; on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritan": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def lab(color: str, seen: Any) -> Any:
    """Return L*, a*, b* (D65) of a color such as #e69f00 as it is seen."""
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(seen @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("name", ["EVENT_DARK", "EVENT_LIGHT"])
def test_the_colors_of_events_differ_for_the_color_blind(name: str, kind: str) -> None:
    source = Path(__file__).parents[4] / "frontend" / "src" / "lib" / "theme.ts"
    (line,) = [row for row in source.read_text("utf-8").splitlines() if f"const {name} =" in row]
    colors = line.split('"')[1::2]
    assert len(colors) == 8
    # A difference of 2 is just seen where the colors touch, one of 10 at a glance.
    near = {
        (a, b): round(float(np.linalg.norm(lab(a, BLINDNESS[kind]) - lab(b, BLINDNESS[kind]))), 1)
        for a, b in combinations(colors, 2)
    }
    assert min(near.values()) > 10, sorted(near.items(), key=lambda item: item[1])[:3]
