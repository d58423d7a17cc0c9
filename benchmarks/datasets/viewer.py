"""What a person waits for in the browser: an image, a frame while zooming, a search."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets.lists import make_dataset
from benchmarks.measure import Row, Skipped
from kymflow_zarr import ZarrDataset

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
# In seconds. What takes 100 ms is felt as at once; half a second is no wait. A browser without a
# graphics card has to draw each frame itself, so frames are allowed three times those of a screen.
# All of the wide image, 60 MB, is read and averaged before it is seen: it is allowed twice of both.
FOUND = 0.1
DRAWN = {"kymograph": 0.5, "wide": 1.0}
FRAME = {"kymograph": 0.05, "wide": 0.1}

# From the click until all tiles in view are drawn and on the screen.
CLICK = """
(id) => new Promise((done) => {
  const begun = performance.now();
  document.querySelector(`[data-testid=card][data-image-id="${id}"]`).click();
  const look = () => {
    const drawn = document.querySelector('[data-testid=image-canvas][data-drawn=true]');
    if (drawn) requestAnimationFrame(() => done((performance.now() - begun) / 1000));
    else requestAnimationFrame(look);
  };
  look();
})
"""
# A turn of the wheel in each frame, nearer and farther again.
ZOOM = """
(count) => new Promise((done) => {
  const canvas = document.querySelector('[data-testid=image-canvas]');
  const box = canvas.getBoundingClientRect();
  const times = [];
  let before = null;
  const frame = (now) => {
    if (before !== null) times.push((now - before) / 1000);
    before = now;
    if (times.length >= count) return done(times);
    canvas.dispatchEvent(new WheelEvent('wheel', {
      deltaY: times.length % 80 < 40 ? -60 : 60, bubbles: true, cancelable: true,
      clientX: box.x + box.width * 0.6, clientY: box.y + box.height / 2,
    }));
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})
"""
# From a key in the field of the search until the answer is shown.
SEARCH = """
(text) => new Promise((done) => {
  const field = document.querySelector('[data-testid=gallery-search]');
  const count = document.querySelector('[data-testid=gallery-count]');
  const before = count.dataset.total;
  const begun = performance.now();
  field.value = text;
  field.dispatchEvent(new InputEvent('input', { bubbles: true }));
  const look = () => {
    if (count.dataset.total !== before) done((performance.now() - begun) / 1000);
    else requestAnimationFrame(look);
  };
  look();
})
"""


def run(folder: Path, *, quick: bool) -> Iterator[Row | Skipped]:
    """Yield the comparisons; everything is written below `folder`."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None or find_spec("playwright") is None:
        what = "there is no Chromium" if path is None else "playwright is not installed"
        yield Skipped("the page in a browser", what)
        return
    repeat = 2 if quick else 9
    make_images(folder / "images.zarr")
    make_dataset(folder / "many.zarr", 500 if quick else 10_000)
    with started(path) as browser:
        with ZarrDataset(folder / "images.zarr", "r+") as ds:
            for image_id in ("kymograph", "wide"):
                size = " x ".join(map(str, ds[image_id].shape))
                times = [clicked(browser, ds, image_id) for _ in range(repeat)]
                name = f"click to a drawn image, {size}"
                yield Row(name, "what is no wait", statistics.median(times), DRAWN[image_id], 1)
                frames = zoomed(browser, ds, image_id, 60 if quick else 400)
                name = f"frame while zooming, {size}, median"
                yield Row(name, "60 a second", statistics.median(frames), 1 / 60)
                name = f"frame while zooming, {size}, 95th percentile"
                slow = float(np.percentile(frames, 95))
                yield Row(name, "what is smooth", slow, FRAME[image_id], 1)
        with ZarrDataset(folder / "many.zarr", "r+") as ds:
            times = searched(browser, ds, repeat)
            name = f"key to the images found, of {len(ds.list_image_ids()):,}"
            yield Row(name, "as fast as typing", statistics.median(times), FOUND, 1)


def make_images(path: Path) -> None:
    """Write two long kymographs: one as they are, and a wide one."""
    with ZarrDataset(path, "w-", durability="relaxed") as ds:
        for image_id, width in (("kymograph", 38), ("wide", 1000)):
            lines, samples = np.arange(30_000)[:, None], np.arange(width)
            noise = np.random.default_rng(0).integers(0, 300, (30_000, width))
            pixels = 2000 + 1500 * np.sin(lines / 40 + samples / 5) + noise
            ds.add_image(
                pixels.astype(np.uint16), image_id=image_id, line_period_s=0.001, pixel_size_um=0.3
            )


@contextmanager
def started(path: str) -> Iterator[Any]:
    """Start Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, address: str) -> Iterator[Any]:
    """Open a page that knows of no other."""
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    try:
        page = context.new_page()
        page.goto(address)
        yield page
    finally:
        context.close()


def clicked(browser: Any, ds: ZarrDataset, image_id: str) -> float:
    """Return how long an image takes, with a server that has not yet read it."""
    with ds.view() as server, opened(browser, server.url) as page:
        page.locator(f'[data-testid=card][data-image-id="{image_id}"]').wait_for()
        page.wait_for_load_state("networkidle")
        return float(page.evaluate(CLICK, image_id))


def zoomed(browser: Any, ds: ZarrDataset, image_id: str, count: int) -> list[float]:
    """Return how long each frame takes while the wheel turns."""
    with ds.view() as server, opened(browser, server.address_of(image_id)) as page:
        page.locator('[data-testid=image-canvas][data-drawn="true"]').wait_for()
        times: list[float] = page.evaluate(ZOOM, count)
        return times


def searched(browser: Any, ds: ZarrDataset, repeat: int) -> list[float]:
    """Return how long a search takes, the first one left out."""
    with ds.view() as server, opened(browser, server.url) as page:
        page.locator("[data-testid=card]").first.wait_for()
        page.wait_for_load_state("networkidle")
        texts = [text for i in range(repeat) for text in (f"{i:x}{i:x}", "")]
        return [float(page.evaluate(SEARCH, text)) for text in ["abc", "", *texts]][2::2]
