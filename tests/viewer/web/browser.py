"""A real browser, what it asked for and complained of, and datasets to look at."""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from kymflow_zarr import RectRoi, ZarrDataset

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from kymflow_zarr.viewer.web.serving import Viewer

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1280, "height": 760}
HOSTILE = "<img src=x onerror=hacked()><script>hacked()</script>"
PHOTO = '<img src=x onerror=hacked()> "ü" 100% #1'
MANY = 10_000
LINE_S, PIXEL_UM = 0.001, 0.25


# Datasets ----------------------------------------------------------------------------------


def make_many(path: Path, count: int = MANY) -> None:
    """Write a gallery; all but the first image are copies of its files with other facts."""
    with ZarrDataset(path, "w-", durability="relaxed") as ds:
        lines = np.arange(64 * 8, dtype=np.uint16).reshape(64, 8)
        record = ds.add_image(lines, image_id="vessel-00000", line_period_s=0.001)
        record.save_metadata_payload(
            {"version": "2.0", "experiment_metadata": {"condition": "control", "depth": 10_000}}
            | {"header": {}, "rois": []}
        )
        template = path / "images" / "vessel-00000"
        files = [file.relative_to(template) for file in template.rglob("*") if file.is_file()]
        folders = sorted(str(p.relative_to(template)) for p in template.rglob("*") if p.is_dir())
        changing = {
            name: (template / name).read_bytes() for name in files if name.suffix == ".json"
        }
        for i in range(1, count):
            target = f"{template.parent}/vessel-{i:05d}/"
            for folder in ("", *folders):
                os.mkdir(target + folder)  # noqa: PTH102 - a hundred thousand of them
            for name in files:
                text = changing.get(name, b"").replace(b"vessel-00000", b"vessel-%05d" % i)
                text = text.replace(b"10000", b"%d" % (10_000 + i))
                if text == changing.get(name, b""):
                    os.link(template / name, target + str(name))
                    continue
                with open(target + str(name), "wb") as new:  # noqa: PTH123
                    new.write(text.replace(b"control", b"treated") if i % 3 else text)
        # As if they had been there for long, so that the index is trusted at once.
        for kept in template.parent.iterdir():
            os.utime(kept, times=(time.time() - 3600,) * 2)
        ds.update_manifest()


def kymograph() -> npt.NDArray[np.uint16]:
    """Pixels (3000 lines, 40 samples) of which each tells where it is."""
    line, sample = np.mgrid[:3000, :40]
    wave = 1500 * np.sin(line / 130) * np.cos(sample / 9) + 800 * np.sin(line / 700)
    pixels: npt.NDArray[np.uint16] = (2400 + wave + sample * 5).astype(np.uint16)
    return pixels


def make_experiment(path: Path) -> ZarrDataset:
    """Write a kymograph with velocity and events, a stack of 5-D, and a photo; all hostile."""
    ds = ZarrDataset(path, "w-", durability="relaxed")
    flow = ds.add_image(
        kymograph(), image_id="flow-1", line_period_s=LINE_S, pixel_size_um=PIXEL_UM
    )
    flow.save_metadata_payload(
        {
            "version": "2.0",
            "header": {},
            "experiment_metadata": {"condition": HOSTILE, "depth": 40, HOSTILE: HOSTILE},
            "rois": [],
        }
    )
    flow.save_rois([RectRoi(roi_id=1, x0=4, x1=30, y0=100, y1=2500, name=HOSTILE)])
    seconds = np.arange(0, 3, 0.01)
    velocity = pd.DataFrame({"roi_id": 1, "time_s": seconds, "velocity_mm_s": 1 + seconds**2})
    flow.save_df_parquet("velocity", velocity)
    flow.save_df_parquet(
        "velocity_events/events",
        pd.DataFrame(
            {
                "roi_id": 1,
                "event_type": ["stall", "rise", HOSTILE],
                "t_start_s": [0.2, 1.1, 2.4],
                "t_end_s": [0.3, 1.4, 2.5],
                "user_type": ["unreviewed", "unreviewed", HOSTILE],
            }
        ),
    )
    flow.save_json(HOSTILE.replace("/", "|"), {"text": HOSTILE, HOSTILE: [HOSTILE]})
    ds.add_image(
        stack(), image_id="stack", axes="tczyx", channel_names=["nuclei", HOSTILE],
        pixel_size_um=0.5,
    )  # fmt: skip
    ds.add_image(np.full((80, 90), 7, np.uint8), image_id=PHOTO)
    ds.save_table(
        "a/flow",
        pd.DataFrame(
            {
                "image_id": ["flow-1", "flow-1", "stack"] * 50,
                "speed_mm_s": np.arange(150) * 0.5,
                "state": ["rest", "run", HOSTILE] * 50,
            }
        ),
    )
    return ds


def stack() -> npt.NDArray[np.float32]:
    """Values (t 2, c 2, z 3, y 32, x 48) of which each tells its plane and its place."""
    t, c, z, y, x = np.mgrid[:2, :2, :3, :32, :48]
    values: npt.NDArray[np.floating] = t * 4000 + c * 2000 + z * 500 + y * 10 + x * 0.25
    return values.astype(np.float32)


# The browser -------------------------------------------------------------------------------


def chromium() -> str | None:
    """Return where this machine's Chromium is."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def started() -> Iterator[Browser]:
    """Start Chromium; skip where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visits:
    """The pages of a test, and what they did that no page may do.

    Parameters
    ----------
    browser : Browser
    expected : list of str
        Complaints of the browser that a test is about hold one of these.
    """

    browser: Browser
    expected: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _contexts: list[BrowserContext] = field(default_factory=list)
    _origins: set[str] = field(default_factory=set)

    def open(
        self, server: Viewer, path: str = "/", without: str | None = None, **options: Any
    ) -> Page:
        """Open a page in a window of its own, with nothing kept from others.

        Requests to addresses that match `without`, a regular expression, fail.
        """
        context = self.browser.new_context(viewport=SIZE, **options)  # type: ignore[arg-type]
        context.set_default_timeout(20_000)
        self._contexts.append(context)
        if without is not None:
            self.expected.append("ERR_FAILED")
            context.route(re.compile(without), lambda route: route.abort())
        self._origins.add(origin(server.url))
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("console", self._said)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("dialog", lambda dialog: self.complaints.append(f"a dialog: {dialog.message}"))
        # What is hidden in names and texts would call it.
        context.add_init_script("window.hacked = () => console.error('script of a dataset ran')")
        page = context.new_page()
        page.goto(server.url.rstrip("/") + path)
        return page

    def _said(self, message: Any) -> None:
        # A browser complains of each stream that is cut, as by a server that ends while a page is
        # open; the page asks again then.
        cut = "/api/live" in message.location["url"] and "net::ERR_" in message.text
        if message.type in {"error", "warning"} and not cut:
            self.complaints.append(message.text)

    def leave(self) -> None:
        """Close the pages; a page that outlives its server complains that nothing answers."""
        while self._contexts:
            self._contexts.pop().close()

    def close(self) -> None:
        """Close the pages; what they did is judged."""
        self.leave()
        local = ("data:", "blob:", "about:")
        foreign = [
            url
            for url in self.requests
            if not url.startswith(local) and origin(url) not in self._origins
        ]
        assert foreign == [], "requests left the machine"
        unexpected = [
            said for said in self.complaints if not any(text in said for text in self.expected)
        ]
        assert unexpected == [], unexpected


def origin(url: str) -> str:
    """Return scheme, host and port of an address."""
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


# What is seen --------------------------------------------------------------------------------


def drawn(page: Page) -> Any:
    """Return the canvas of an image, once all of what is in view is drawn."""
    canvas = page.get_by_test_id("image-canvas")
    page.locator('[data-testid=image-canvas][data-drawn="true"]').wait_for()
    return canvas


def loaded(page: Page, events: int = 3) -> None:
    """Wait for what comes beside the pixels of a kymograph: its events and its curve."""
    drawn(page)
    page.get_by_test_id("event-row").nth(events - 1).wait_for()
    page.locator(".chart-head .legend").first.wait_for()
    settle(page)


def view_of(page: Page) -> tuple[float, ...]:
    """Return x0, x1, y0, y1 of what is seen, in samples as drawn."""
    return tuple(map(float, drawn(page).get_attribute("data-view").split(",")))


def until(page: Page, function: str, arg: Any = None, seconds: float = 20) -> None:
    """Wait until a function in the page says true; Playwright's own way is no match for its CSP."""
    end = time.monotonic() + seconds
    while not page.evaluate(function, arg):
        assert time.monotonic() < end, f"never true: {function}"
        page.wait_for_timeout(20)


def settle(page: Page) -> None:
    """Wait until what was done before is painted."""
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")


def point_at(page: Page, across: float, down: float) -> dict[str, str]:
    """Put the mouse at a share of the canvas's width and height; return what is read there."""
    box = drawn(page).bounding_box()
    page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
    settle(page)
    found: dict[str, str] = page.evaluate(
        """() => {
          const all = document.querySelectorAll('[data-testid^="readout-"]');
          const read = Object.fromEntries(
            [...all].map((e) => [e.dataset.testid.slice(8), e.textContent]));
          read.text = document.querySelector('[data-testid=readout]').textContent;
          return read;
        }"""
    )
    return found


def picture(page: Page) -> npt.NDArray[np.uint8]:
    """Return the canvas as it is seen, (rows, columns, 3)."""
    box = drawn(page).bounding_box()
    png = page.screenshot(clip=box)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
