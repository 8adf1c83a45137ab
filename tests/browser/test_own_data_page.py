"""Notebooks 10 and 10b in a real JupyterLab: both run through, and the judge counts what the reader says."""

from playwright.sync_api import expect

from tests.browser.driver import ROOT, open_notebook, run_all, screenshot, set_slider, source_of, wait_for_change


def test_the_chain_runs_through(page, lab):
    open_notebook(page, lab, lab.add(ROOT / "notebooks" / "10_your_own_model.ipynb", fast=True))
    run_all(page)


def test_the_reader_judges(page, lab):
    open_notebook(page, lab, lab.add(ROOT / "notebooks" / "10b_the_judge.ipynb", fast=True))
    run_all(page)

    image = page.locator("img.widget-image")
    expect(image).to_have_count(1)
    image.scroll_into_view_if_needed()
    status = page.locator(".widget-html [role=status]").last
    expect(status).to_contain_text("4 cases, none judged yet")

    page.get_by_role("button", name="Poison", exact=True).click()
    expect(status).to_contain_text("You said poison: ")
    expect(status).to_contain_text("1 of 4 judged: you were right")
    before = source_of(image)
    set_slider(page, "Case", 3)
    wait_for_change(image, before)
    expect(status).to_contain_text("What do you say?")
    before = source_of(image)
    page.get_by_label("Show the map").check()
    wait_for_change(image, before)
    page.get_by_role("button", name="Honest", exact=True).click()
    expect(status).to_contain_text("2 of 4 judged")
    screenshot(page, "judge")
