"""Notebook 09 in a real JupyterLab: it runs through, and the explorer of attackers follows its controls."""

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


def test_each_attacker_is_shown_with_what_it_achieved(page, lab):
    open_notebook(page, lab, lab.add(ROOT / "notebooks" / "09_breaking_the_defence.ipynb", fast=True))
    run_all(page)

    figure_texts(page, 5)

    image = page.locator("img.widget-image")
    expect(image).to_have_count(1)
    image.scroll_into_view_if_needed()
    status = page.locator(".widget-html [role=status]")
    expect(status).to_contain_text("Perturbs the patches")

    before = source_of(image)
    choose(page, "Attacker", "covers: the whole trigger")
    wait_for_change(image, before)
    expect(status).to_contain_text("Adds samples with the whole trigger")
    expect(status).to_contain_text("Attack success, none: ")

    before = source_of(image)
    choose(page, "Attack", "sig")
    wait_for_change(image, before)
    before = source_of(image)
    set_slider(page, "Image", 3)
    wait_for_change(image, before)
    screenshot(page, "attackers")

    choose(page, "Attacker", "many copies")
    expect(status).to_contain_text("Repeats the patch all over the image")
