"""Make docs/tour.gif, the moving picture of the README, from two notebooks on a real JupyterLab page.

    make workbook ARGS='--only 00' && PYTHONPATH=. python tools/animation.py

Notebook 00 is shown as executed; in notebook 02 the cells down to the trigger explorer run, and its sliders move.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

from pcvr.utils.terminal import run_command
from tests.browser.driver import (
    ROOT,
    choose,
    open_notebook,
    running_lab,
    set_slider,
    source_of,
    wait_for_change,
    wait_idle,
)

SIZE = (1000, 640)
COLOURS = 96
PATIENCE = 300_000  # milliseconds that a page may take on a busy machine
PAUSE = {"read": 3500, "look": 1400}  # milliseconds
LARGEST = 1_500_000  # bytes, so that the README opens fast
TARGET = ROOT / "docs" / "tour.gif"
_EXECUTED = ROOT / "build" / "workbook" / "00_start_here.ipynb"


def main() -> None:
    """Record the frames and write the animation.

    Raises:
        SystemExit: notebook 00 was not executed, or the file comes out too large.
    """
    if not _EXECUTED.is_file():
        raise SystemExit(f"{_EXECUTED} is missing: run make workbook ARGS='--only 00' first.")
    frames, pauses = [], []
    with (
        tempfile.TemporaryDirectory() as work,
        running_lab(Path(work), ROOT / "none") as lab,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.set_default_timeout(PATIENCE)
        open_notebook(page, lab, lab.add(_EXECUTED))
        for pause in _figures(page):
            frames.append(_shot(page))
            pauses.append(PAUSE[pause])
        open_notebook(page, lab, lab.add(ROOT / "notebooks" / "02_poisoning.ipynb", fast=True))
        for pause in _sliders(page):
            frames.append(_shot(page))
            pauses.append(PAUSE[pause])
        browser.close()
    frames[0].save(TARGET, save_all=True, append_images=frames[1:], duration=pauses, loop=0, optimize=True)
    size = TARGET.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{TARGET} has {size} bytes, and at most {LARGEST} are wanted: use fewer colours or frames.")
    print(f"{len(frames)} frames, {size / 1e6:.2f} MB: {TARGET}")


def _figures(page: Page) -> Iterator[str]:
    """Show the first figures of the executed notebook 00, one after the other."""
    _bare(page)
    yield "read"
    images = page.locator(".jp-OutputArea-output img")
    for number in range(3):
        _seen(page, images.nth(number))
        yield "read"


def _sliders(page: Page) -> Iterator[str]:
    """Run notebook 02 down to the trigger explorer, and move its controls."""
    _bare(page)
    page.locator(".jp-Cell", has_text="explorer, controls = trigger_explorer").last.locator(".cm-content").click()
    for item in ("Run All Above Selected Cell", "Run Selected Cell and Do not Advance"):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name=item).first.click()
        page.wait_for_timeout(1000)
        wait_idle(page, 900)
    image = page.locator("img.widget-image").first
    image.wait_for(timeout=600_000)
    _seen(page, image, "end")  # with its controls above it
    yield "look"
    for label, value in (("Strength", 0.5), ("Strength", 0.2), ("Size (px)", 24), ("Strength", 1.0)):
        if page.locator(".widget-slider").filter(has=page.get_by_text(label, exact=True)).count():
            before = source_of(image)
            set_slider(page, label, value)
            _settled(page, image, before)
            yield "look"
    before = source_of(image)
    choose(page, "Place", "top left")
    _settled(page, image, before)
    yield "read"


def _settled(page: Page, image: Locator, before: str) -> None:
    """Wait until a picture is another one, and drawn; moving a control may have moved the page."""
    wait_for_change(image, before)
    wait_idle(page)
    _seen(page, image, "end")  # with its controls above it


def _seen(page: Page, image: Locator, block: str = "center") -> None:
    image.evaluate("(image, block) => image.scrollIntoView({ block })", block)
    page.wait_for_timeout(1000)


def _bare(page: Page) -> None:
    """Close the file browser: the notebook gets the width."""
    page.keyboard.press("ControlOrMeta+B")
    page.wait_for_timeout(1500)


def _shot(page: Page) -> Image.Image:
    shown = Image.open(BytesIO(page.screenshot())).convert("RGB")
    return shown.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


if __name__ == "__main__":
    run_command(main)
