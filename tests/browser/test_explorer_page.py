"""Notebook 07 in a real JupyterLab: it runs through, the sliders work by keyboard, and a point is trained and shown."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.driver import (
    ROOT,
    figure_texts,
    open_notebook,
    run_all,
    screenshot,
    slider,
    source_of,
    wait_for_change,
)

_TRAIN = 300_000  # milliseconds for six steps and what is measured after them, on a busy machine
_DRAW = 60_000  # for three figures, or for the kernel to take a click after them


@pytest.mark.timeout(900)
def test_the_grid_follows_its_sliders_and_a_point_is_trained_beside_it(page, lab):
    open_notebook(page, lab, lab.add(ROOT / "notebooks" / "07_explorer.ipynb", fast=True))
    run_all(page, timeout=400)

    figure_texts(page, 5)

    images = page.locator("img.widget-image")
    expect(images).to_have_count(3)
    scatter = images.first
    scatter.scroll_into_view_if_needed()
    words = page.locator(".widget-html [role=status]").first
    expect(words).to_contain_text("attack success")
    said, before = words.inner_text(), source_of(scatter)
    screenshot(page, "explorer")

    handle = slider(page, "Share of patches").locator(".noUi-handle")
    handle.focus()
    handle.press("Home")
    expect(words).to_contain_text("Share of patches 0.3", timeout=_DRAW)
    wait_for_change(scatter, before, timeout=_DRAW / 1000)
    assert words.inner_text() != said

    progress = page.locator(".widget-html [role]").nth(1)
    expect(progress).to_contain_text("6 steps on 64 samples", timeout=_DRAW)
    train, cancel = (page.get_by_role("button", name=name, exact=True) for name in ("Train here", "Cancel"))
    expect(cancel).to_be_disabled(timeout=_DRAW)
    train.click()
    expect(train).to_be_disabled(timeout=_DRAW)
    expect(cancel).to_be_enabled(timeout=_DRAW)
    before = source_of(scatter)
    expect(progress).to_contain_text("Done in", timeout=_TRAIN)
    expect(words).to_contain_text("trained here: ", timeout=_DRAW)
    wait_for_change(scatter, before, timeout=_DRAW / 1000)
    expect(scatter).to_have_attribute("title", re.compile("trained here: attack success"), timeout=_DRAW)
    expect(train).to_be_enabled(timeout=_DRAW)
    screenshot(page, "explorer-trained")

    train.click()
    cancel.click()
    expect(progress).to_contain_text("Called off: nothing was added", timeout=_TRAIN)
    expect(train).to_be_enabled(timeout=_DRAW)
    assert not page.locator(".widget-html [role=alert]").count()
