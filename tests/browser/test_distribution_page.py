"""Notebook 06 in a real JupyterLab: it runs through, and the distributions follow the controls."""

from playwright.sync_api import expect

from tests.browser.driver import (
    ROOT,
    choose,
    figure_texts,
    open_notebook,
    run_all,
    screenshot,
    set_slider,
    source_of,
    wait_for_change,
)


def test_the_distributions_follow_their_controls(page, lab):
    open_notebook(page, lab, lab.add(ROOT / "notebooks" / "06_output_distributions.ipynb", fast=True))
    run_all(page)

    image = page.locator("img.widget-image")
    expect(image).to_have_count(1)
    image.scroll_into_view_if_needed()
    status = page.locator(".widget-html [role=status]")
    expect(status).to_contain_text("Mean divergence")

    before = source_of(image)
    set_slider(page, "Image", 3)
    wait_for_change(image, before)
    assert "image 3" in (image.get_attribute("title") or "")

    before = source_of(image)
    choose(page, "Model", "defended")
    wait_for_change(image, before)

    said = status.inner_text()
    choose(page, "Read along", "the attacker's target")
    expect(status).not_to_have_text(said)
    expect(status).to_contain_text("the attacker's target")

    before = source_of(image)
    set_slider(page, "Fraction", 0.2)
    wait_for_change(image, before)
    screenshot(page, "distributions")

    figure_texts(page, 9)
