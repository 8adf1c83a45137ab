"""Notebook 07 in a real JupyterLab: it runs through, the sliders work by keyboard, and a point is trained and shown."""

import re

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

_TRAIN = 600_000  # milliseconds for six steps and what is measured after them, on a busy machine


def test_the_grid_follows_its_sliders_and_a_point_is_trained_beside_it(page, lab):
    open_notebook(page, lab, lab.add(ROOT / "notebooks" / "07_explorer.ipynb", fast=True))
    run_all(page)

    figure_texts(page, 5)

    images = page.locator("img.widget-image")
    expect(images).to_have_count(3)
    scatter = images.first
    scatter.scroll_into_view_if_needed()
    words = page.locator(".widget-html [role=status]").first
    expect(words).to_contain_text("attack success")
    said, before = words.inner_text(), source_of(scatter)
    screenshot(page, "explorer")

    handle = slider(page, "Fraction of patches").locator(".noUi-handle")
    handle.focus()
    handle.press("Home")
    expect(words).to_contain_text("Fraction of patches 0.3")
    wait_for_change(scatter, before)
    assert words.inner_text() != said

    progress = page.locator(".widget-html [role]").nth(1)
    expect(progress).to_contain_text("6 steps on 64 samples")
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    train = page.get_by_role("button", name=re.compile("Train here|Training …"))
    train.click()
    expect(train).to_have_text("Training …")
    expect(train).to_be_focused()  # a disabled button would lose the focus
    before = source_of(scatter)
    expect(progress).to_contain_text("Done in", timeout=_TRAIN)
    expect(words).to_contain_text("trained here: ")
    wait_for_change(scatter, before)
    expect(scatter).to_have_attribute("title", re.compile("trained here: attack success"))
    expect(train).to_have_text("Train here")
    screenshot(page, "explorer-trained")

    train.click()
    cancel.click()
    expect(progress).to_contain_text("Cancelled: nothing was added", timeout=_TRAIN)
    expect(train).to_have_text("Train here")
    assert not page.locator(".widget-html [role=alert]").count()
