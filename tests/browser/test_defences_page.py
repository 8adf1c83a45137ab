"""Notebook 08 in a real JupyterLab: it runs through, and the league table follows its filters."""

from playwright.sync_api import expect

from tests.browser.driver import ROOT, choose, figure_texts, open_notebook, run_all, screenshot


def test_the_league_table_follows_its_filters(page, lab):
    open_notebook(page, lab, lab.add(ROOT / "notebooks" / "08_defences_compared.ipynb", fast=True))
    run_all(page)

    figure_texts(page, 8)

    status = page.locator(".widget-html [role=status]")
    status.scroll_into_view_if_needed()
    expect(status).to_contain_text("attack: worst of those that took")
    table = page.locator(".widget-html table")
    expect(table).to_contain_text("ortho_purify")

    page.get_by_label("you have the weights from before fine-tuning").uncheck()
    page.get_by_label("you run the training").uncheck()
    expect(table).not_to_contain_text("ortho_purify")
    expect(table).to_contain_text("racer")
    choose(page, "Attack", "sig")
    expect(status).to_contain_text("attack: sig")
    choose(page, "Settings", "its paper")
    expect(table).not_to_contain_text("racer")
    screenshot(page, "league")
